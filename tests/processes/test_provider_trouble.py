"""Providers that throttle, fail, fall silent, cut off or refuse: what the run makes of it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from tests.processes.agents_at_work import (
    CANARY,
    CLAUDE,
    CUSTOM,
    OPENAI,
    PROTOCOLS,
    Team,
    finish,
    team,
    trouble,
)
from tests.processes.product import until
from tests.servers.provider import Answer

wired = pytest.mark.parametrize("model", PROTOCOLS)


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team(tmp_path_factory.mktemp("trouble"), MODEL_SILENCE_SEC="2") as started:
        yield started


def waited(crew: Team, run: dict[str, Any]) -> float:
    """Seconds from the first failure to the next attempt."""
    failed = crew.told(run, "step_retrying")[0]["timestamp"]
    again = crew.told(run, "step_started")[1]["timestamp"]
    return (again - failed) / 1000


@wired
def test_a_provider_that_asks_to_wait_is_given_the_time(crew: Team, model: str) -> None:
    slow_down = trouble(429, "slow down", "rate_limit_error", **{"Retry-After": "5"})
    run = crew.run(model, slow_down, finish(), maxRetries=0)

    assert run["status"] == "completed", run["error"]
    assert 5 <= waited(crew, run) < 9
    (notice,) = crew.told(run, "step_retrying")
    assert notice["delay"] == 5
    assert "slow down" in notice["feedback"]


def test_the_time_to_wait_may_be_told_as_a_date(crew: Team) -> None:
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=6)
    told = {"Retry-After": format_datetime(moment, usegmt=True)}
    slow_down = trouble(429, "slow down", "rate_limit_error", **told)
    run = crew.run(CLAUDE, slow_down, finish(), maxRetries=0)

    assert run["status"] == "completed", run["error"]
    again = crew.told(run, "step_started")[1]["timestamp"]
    assert again > moment.timestamp() * 1000 - 10
    assert waited(crew, run) < 9


def test_nobody_waits_for_ever_because_a_provider_says_so(crew: Team) -> None:
    slow_down = trouble(429, "slow down", "rate_limit_error", **{"Retry-After": "86400"})
    run_id = crew.start(OPENAI, slow_down, finish())
    until(lambda: crew.told(run_id, "step_retrying"))

    assert crew.told(run_id, "step_retrying")[0]["delay"] == 600
    assert crew.product.post(f"/runs/{run_id}/cancel")["status"] == "cancelled"


@wired
@pytest.mark.parametrize(
    "broken",
    [
        trouble(500, "boom"),
        trouble(529, "overloaded", "overloaded_error"),
        Answer(text=("Half an ans",), cut=3),
        Answer(text=("Then no more",), hang=3),
        Answer(hang=-1),
    ],
    ids=["500", "529", "cut", "silent", "silent-from-the-start"],
)
def test_passing_trouble_costs_no_retry(crew: Team, model: str, broken: Answer) -> None:
    run = crew.run(model, broken, finish(), maxRetries=0)

    assert run["status"] == "completed", run["error"]
    assert crew.steps(run) == 2
    assert len(crew.told(run, "step_queued")) == 1  # it is the same execution that goes on
    assert len(crew.calls(run)) == 1


@wired
@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, "authentication_error", "_API_KEY"),
        (403, "permission_error", "not allowed"),
        (404, "not_found_error", "not allowed"),
        (429, "insufficient_quota", "insufficient_quota"),
        (400, "billing", "billing"),
    ],
)
def test_what_no_repeating_can_change_is_not_repeated(
    crew: Team, model: str, status: int, kind: str, words: str
) -> None:
    run = crew.run(model, trouble(status, f"{CANARY} is not allowed", kind))

    assert run["status"] == "failed"
    assert words in run["error"]
    assert CANARY not in run["error"]
    assert len(crew.provider.requests) == 1
    (failure,) = crew.told(run, "step_failed")
    assert failure["willRetry"] is False


def test_a_provider_without_a_key_is_named_with_what_to_set(crew: Team) -> None:
    run = crew.run("groq/llama-3.3-70b-versatile")

    assert run["status"] == "failed"
    assert "GROQ_API_KEY" in run["error"]
    assert crew.steps(run) == 1


@wired
def test_a_model_that_declines_is_asked_again_as_often_as_the_step_may(
    crew: Team, model: str
) -> None:
    no = Answer(text=("I can't help with that.",), stop="refusal")
    run = crew.run(model, no, maxRetries=1)

    assert run["status"] == "failed"
    assert "declined" in run["error"]
    assert crew.steps(run) == 2


@wired
def test_cancelling_a_run_hangs_up_on_a_silent_provider(crew: Team, model: str) -> None:
    crew.provider.hung_up.clear()
    run_id = crew.start(model, Answer(text=("One", "two"), hang=4))
    until(lambda: crew.provider.requests)
    began = time.monotonic()
    assert crew.product.post(f"/runs/{run_id}/cancel")["status"] == "cancelled"

    assert crew.provider.hung_up.wait(10)
    assert time.monotonic() - began < 10
    assert len(crew.provider.requests) == 1


def test_keys_are_in_nothing_the_product_writes(crew: Team) -> None:
    """After everything above, in which providers and requests were full of them."""
    echo = trouble(401, f"Incorrect API key provided: {CANARY}", "authentication_error")
    for model in (OPENAI, CLAUDE, CUSTOM):
        assert crew.run(model, echo)["status"] == "failed"
        streamed = {"type": "error", "error": {"type": "x", "message": f"no: {CANARY}"}}
        frame = f"event: error\ndata: {json.dumps(streamed)}\n\n".encode()
        assert crew.run(model, Answer(raw=frame), finish())["status"] == "completed"
    snoop = ("bash", json.dumps({"command": "env; cat /proc/*/environ | tr '\\0' '\\n'"}))
    assert crew.run(OPENAI, Answer(calls=(snoop,)), finish())["status"] == "completed"

    product = crew.product
    paths = ("/runs", "/lifecycle/sessions", "/llm-calls", "/lifecycle/timeline", "/status")
    told = [product.client.get(f"/v1{path}", params={"limit": 100}).text for path in paths]
    told += [json.dumps(product.events(run["id"])) for run in product.get("/runs", limit=100)]
    assert all(CANARY not in text for text in told)
    searched = ["grep", "-rlaF", CANARY, str(product.folder)]
    assert subprocess.run(searched, capture_output=True, text=True).stdout == ""
