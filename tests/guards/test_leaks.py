"""The watch that every test stands under does see what it looks for."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from models import base
from models.accounts import User
from tests import leaks

SECRET = "sk-told-in-confidence-0123456789"


@pytest.fixture
def told(owner: FlaskClient) -> FlaskClient:
    """Somebody who has told the application a secret."""
    owner.put("/v1/settings/user-providers/openai", json={"apiKey": SECRET})
    assert {SECRET} == leaks.TOLD
    return owner


def test_a_secret_in_a_table_is_seen(told: FlaskClient):
    with base.db.connection_context(), base.db.atomic() as trial:
        User.update(display_name=f"is {SECRET}").where(User.id == "usr_owner").execute()
        leaks.search_tables()
        trial.rollback()
    assert seen() == ["table users"]


def test_a_secret_in_an_answer_is_seen(told: FlaskClient):
    told.put("/v1/users/me", json={"displayName": SECRET})
    told.get("/v1/users/me")
    told.put("/v1/users/me", json={"displayName": "nobody"})
    assert "the answer of GET /v1/users/<user_id>" in seen()


def test_a_secret_that_was_printed_fails_the_test(told: FlaskClient, request: Any):
    report = pytest.TestReport("x", ("x", 1, "x"), {}, "passed", None, "teardown")
    request.node.add_report_section("call", "stdout", f"it is {SECRET}")
    leaks.search_report(request.node, report)
    request.node._report_sections.clear()
    assert report.failed
    assert "found in stdout" in str(report.longrepr)


def seen() -> list[str]:
    found, leaks.SEEN[:] = sorted(set(leaks.SEEN)), []
    return found
