"""Runs in lists over HTTP: pages, filters, and what odd clients send."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from models.base import now_ms
from models.runs import Run

Work = Callable[..., int]
Ask = Callable[..., dict[str, Any]]


def test_the_list_shows_the_newest_first_in_pages(ask: Ask, owner: FlaskClient):
    ids = [ask(f"task {number}")["id"] for number in range(5)]
    Run.update(created_at=now_ms()).execute()  # one moment for all: the id breaks ties
    expected = sorted(ids, reverse=True)
    seen, link = [], "/v1/runs?limit=2"
    while link:
        answer = owner.get(link)
        assert answer.headers["X-Total-Count"] == "5"
        seen += [run["id"] for run in answer.json]
        link = answer.headers.get("Link", "").partition(">")[0].lstrip("<")
    assert seen == expected
    assert [run["id"] for run in owner.get("/v1/runs?offset=3").json] == expected[3:]


def test_limit_zero_answers_totals_without_rows(ask: Ask, owner: FlaskClient):
    ask()
    answer = owner.get("/v1/runs?limit=0")
    assert (answer.json, answer.headers["X-Total-Count"]) == ([], "1")


def test_the_list_is_narrowed_by_status_pipeline_and_time(ask: Ask, owner: FlaskClient, work: Work):
    done = ask()["id"]
    work()
    waiting = ask(pipeline="feature")["id"]

    def ids(query: str) -> list[str]:
        return [run["id"] for run in owner.get(f"/v1/runs?{query}").json]

    assert ids("status=completed") == [done]
    assert ids("pipeline_id=feature") == [waiting]
    created = owner.get(f"/v1/runs/{waiting}").json["created_at"]
    assert ids(f"before={created}") == [done]
    assert owner.get("/v1/runs?status=asleep").status_code == 422


@pytest.mark.parametrize(
    "query", ["limit=501", "limit=-1", "limit=x", "cursor=x", "cursor=%E2%82%AC", "before=1e9"]
)
def test_paging_nonsense_is_422(owner: FlaskClient, query: str):
    assert owner.get(f"/v1/runs?{query}").status_code == 422


@pytest.mark.parametrize(
    "position", [[1, 2], ["a", "b"], [None, "a"], [1, None], [[1], "a"], [True, "a"], [1], "ab"]
)
def test_a_cursor_of_the_wrong_kind_is_422(owner: FlaskClient, position: Any):
    text = urlsafe_b64encode(json.dumps(position).encode()).decode()
    assert owner.get(f"/v1/runs?cursor={text}").status_code == 422


def test_a_cursor_with_text_that_postgres_cannot_store_finds_nothing(owner: FlaskClient):
    text = urlsafe_b64encode(b'[1, "a\\u0000"]').decode()
    assert owner.get(f"/v1/runs?cursor={text}").json == []


def test_a_summary_leaves_out_the_outputs(ask: Ask, owner: FlaskClient):
    ask()
    (short,) = owner.get("/v1/runs?fields=summary").json
    (whole,) = owner.get("/v1/runs").json
    assert set(whole) - set(short) == {"outputs"}
