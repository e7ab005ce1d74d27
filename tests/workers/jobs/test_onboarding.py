"""An onboarding from the first word to a planned project, its agents at work."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient

from models import invariants
from models.base import db
from models.chats import ChatSession

SESSIONS = "/v1/onboarding/sessions"
Work = Callable[..., int]


def told(words: str, *calls: tuple[str, dict[str, Any]]) -> str:
    """A message that tells the scripted model what to call."""
    acts = [{"name": name, "arguments": arguments} for name, arguments in calls]
    return f"{words}\n\n```scripted\n{json.dumps({'default': {'calls': acts}})}\n```\n"


def say(owner: FlaskClient, key: str, message: str, work: Work) -> dict[str, Any]:
    answer = owner.post(f"{SESSIONS}/{key}/message", json={"message": message})
    assert answer.status_code == 200, answer.json
    work()
    return owner.get(f"{SESSIONS}/{key}").json


def test_a_conversation_becomes_a_planned_project(owner: FlaskClient, work: Work):
    begun = owner.post(SESSIONS, json={"model": "scripted/demo"}).json
    key = begun["id"]
    work()
    greeting = owner.get(f"{SESSIONS}/{key}").json["messages"][-1]
    assert (greeting["agent_id"], greeting["status"]) == ("stas", "completed")
    assert greeting["content"]

    facts = {"context": {"project_name": "Todo", "goal": "Nobody forgets the milk"}}
    page = {"html": "<h1>Todo</h1>", "caption": "A beginning"}
    now = say(
        owner,
        key,
        told(
            "A todo app for families",
            ("update_onboarding_context", facts),
            ("update_onboarding_landing_page", page),
            ("onboarding_handoff", {"next_agent": "jim", "summary": "A shared list"}),
        ),
        work,
    )
    assert (now["current_agent_id"], now["phase"]) == ("jim", "strategy")
    assert now["context"] == {**facts["context"], "summary": "A shared list"}
    assert now["landing_page_state"]["last_agent_id"] == "stas"
    assert now["messages"][-1]["agent_id"] == "jim"
    assert now["messages"][-1]["status"] == "completed"

    now = say(owner, key, told("Go on", ("onboarding_handoff", {"next_agent": "finn"})), work)
    plan = {"planning_context": "One page, one table", "architecture_summary": "Flask"}
    last = ("onboarding_handoff", {"next_agent": "done", "context_update": plan})
    now = say(owner, key, told("That is all", last), work)
    assert (now["status"], now["phase"]) == ("completed", "done")

    project = owner.get(f"/v1/projects/{now['project_id']}").json
    assert project["name"] == "Todo"
    assert "## Technical Architecture\n\nFlask" in project["vision"]
    run = owner.get(f"/v1/runs/{now['planning_run_id']}").json
    assert "One page, one table" in run["human_context"]
    with db.connection_context():
        assert not [chat for chat in ChatSession.select() if chat.source != "onboarding"]
        assert invariants.breaches() == []
    speakers = [each["agent_id"] for each in now["messages"] if each["role"] == "assistant"]
    assert list(dict.fromkeys(speakers)) == ["stas", "jim", "finn"]
