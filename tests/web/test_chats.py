"""Chats over HTTP: begin, say, read, steer, end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

Work = Callable[..., int]
FORM = {"agent_id": "finn", "model": "scripted/demo"}


@pytest.fixture
def chat(owner: FlaskClient, work: Work) -> str:
    """A chat that has begun."""
    answer = owner.post("/v1/chat/sessions/", json=FORM)
    assert answer.status_code == 200, answer.json
    work()
    return answer.json["sessionId"]


def say(client: FlaskClient, chat: str, message: str = "Hello", **more: Any) -> Any:
    return client.post(f"/v1/chat/sessions/{chat}/message", json={"message": message, **more})


def shown(client: FlaskClient, chat: str) -> dict[str, Any]:
    return client.get(f"/v1/chat/sessions/{chat}").json


def test_a_conversation(owner: FlaskClient, chat: str, work: Work) -> None:
    queued = say(owner, chat).json
    assert queued["status"] == "queued"
    assert queued["messageId"] == queued["assistantMessageId"]
    said, answer = shown(owner, chat)["messages"]
    assert (said["id"], said["content"], said["status"]) == (
        queued["userMessageId"],
        "Hello",
        "completed",
    )
    assert (answer["content"], answer["status"], answer["completed_at"]) == ("", "queued", None)
    work()
    told = shown(owner, chat)
    assert told["message_count"] == 2
    assert told["status"] == "running"
    assert told["messages"][1]["content"].endswith("You said: Hello")
    assert told["messages"][1]["status"] == "completed"
    assert told["key_resolution"] is None


def test_both_ways_to_begin_give_both_shapes(owner: FlaskClient) -> None:
    for path, body in (
        ("/v1/chat/sessions", FORM),
        ("/v1/agents/finn/chat/start", None),
        ("/v1/agents/finn/chat/start/", {"model": "scripted/demo"}),
    ):
        begun = owner.post(path, json=body).json
        assert begun["sessionId"] == begun["id"]
        assert (begun["status"], begun["agent_id"]) == ("starting", "finn")
        assert begun["model"] and begun["created_at"] and begun["message"]


def test_nobody_chats_with_an_agent_that_is_not_there(owner: FlaskClient) -> None:
    assert owner.post("/v1/agents/nobody/chat/start").status_code == 404
    assert owner.post("/v1/chat/sessions", json={"agent_id": "nobody"}).status_code == 404
    refused = owner.post("/v1/chat/sessions", json={})
    assert (refused.status_code, refused.json["errors"][0]["loc"][-1]) == (422, "agent_id")


@pytest.mark.parametrize(
    "body", [{}, {"message": "  \n"}, {"message": 7}, {"message": "x" * 100_001}]
)
def test_a_message_that_says_nothing_is_refused_and_changes_nothing(
    owner: FlaskClient, chat: str, body: dict[str, Any]
) -> None:
    answer = owner.post(f"/v1/chat/sessions/{chat}/message", json=body)
    assert answer.status_code == 422
    assert answer.json["errors"][0]["loc"][-1] == "message"
    assert shown(owner, chat)["messages"] == []


def test_the_lists_show_what_is_under_way_or_all_of_an_agents(
    owner: FlaskClient, chat: str, work: Work
) -> None:
    over = owner.post("/v1/chat/sessions", json=FORM).json["id"]
    owner.post(f"/v1/agents/finn/chat/{over}/end")
    other = owner.post("/v1/agents/eric/chat/start").json["id"]
    listed = owner.get("/v1/chat/sessions").json
    assert [row["id"] for row in listed["sessions"]] == [other, chat]
    assert (listed["total"], listed["has_more"]) == (2, False)
    mine = owner.get("/v1/agents/finn/chat/sessions?limit=1").json
    assert [row["id"] for row in mine["sessions"]] == [over]
    assert (mine["total"], mine["has_more"]) == (2, True)
    ended = owner.get("/v1/chat/sessions?status=completed").json
    assert [row["id"] for row in ended["sessions"]] == [over]
    assert owner.get("/v1/chat/sessions?limit=101").status_code == 422


def test_a_chat_is_its_owners_alone_and_the_admins(
    owner: FlaskClient, teammate: FlaskClient, admin: FlaskClient, chat: str
) -> None:
    typo = teammate.get("/v1/chat/sessions/chat_none")
    foreign = teammate.get(f"/v1/chat/sessions/{chat}")
    assert typo.status_code == foreign.status_code == 404
    assert typo.json["detail"].replace("chat_none", chat) == foreign.json["detail"]
    assert teammate.get("/v1/chat/sessions").json["total"] == 0
    assert admin.get("/v1/chat/sessions").json["total"] == 1
    assert admin.get(f"/v1/chat/sessions/{chat}").status_code == 200
    assert owner.get("/v1/runs").json == []
    assert owner.get(f"/v1/runs/{chat}").status_code == 404


def test_what_is_unknown_has_ended_and_is_not_found(
    owner: FlaskClient, stranger: FlaskClient, chat: str
) -> None:
    for who, which in ((owner, "chat_none"), (stranger, chat)):
        assert who.get(f"/v1/agents/finn/chat/{which}/status").json == {
            "sessionId": which,
            "status": "not_found",
            "exists": False,
        }
        assert who.post(f"/v1/agents/finn/chat/{which}/end").json["status"] == "ended"
    assert owner.get(f"/v1/agents/finn/chat/{chat}/status").json["status"] == "running"
    assert owner.delete("/v1/chat/sessions/chat_none").status_code == 404


def test_a_chat_is_with_one_agent(owner: FlaskClient, chat: str) -> None:
    for path in ("message", "stop", "restart"):
        answer = owner.post(f"/v1/agents/eric/chat/{chat}/{path}", json={"message": "x"})
        assert answer.status_code == 400


def test_ending_keeps_what_was_said_and_purging_does_not(
    owner: FlaskClient, chat: str, work: Work
) -> None:
    say(owner, chat)
    work()
    ended = owner.delete(f"/v1/chat/sessions/{chat}").json
    assert (ended["status"], ended["session_id"], ended["sessionId"]) == ("ended", chat, chat)
    assert shown(owner, chat)["status"] == "completed"
    assert len(shown(owner, chat)["messages"]) == 2
    assert say(owner, chat).status_code == 400
    assert owner.post(f"/v1/agents/finn/chat/{chat}/restart").json["status"] == "starting"
    work()
    say(owner, chat, "Again")
    work()
    assert shown(owner, chat)["messages"][3]["content"].endswith("You said: Again")
    assert owner.delete(f"/v1/chat/sessions/{chat}?purge=true").status_code == 200
    assert owner.get(f"/v1/chat/sessions/{chat}").status_code == 404


def test_the_model_can_be_changed_at_any_time(owner: FlaskClient, chat: str, work: Work) -> None:
    path = f"/v1/agents/finn/chat/{chat}/model"
    assert owner.patch(path, query_string={"model": "scripted/none"}).json["status"] == "updated"
    assert owner.patch(path).status_code == 422
    say(owner, chat)
    work()
    failed = shown(owner, chat)["messages"][1]
    assert (failed["status"], failed["model"]) == ("failed", "scripted/none")
    assert "scripted/demo" in failed["error"]
    say(owner, chat, model="scripted/demo")
    work()
    assert shown(owner, chat)["messages"][3]["status"] == "completed"
    row = owner.patch(f"/v1/chat/sessions/{chat}", json={"title": "On models"}).json
    assert (row["title"], row["model"], row["status"]) == ("On models", "scripted/demo", "running")
    assert owner.patch(f"/v1/chat/sessions/{chat}", json={"status": "running"}).status_code == 422
    done = owner.patch(f"/v1/chat/sessions/{chat}", json={"status": "completed"}).json
    assert done["status"] == "completed"


def test_the_same_message_sent_twice_with_a_key_is_said_once(owner: FlaskClient, chat: str) -> None:
    path, body, key = (
        f"/v1/chat/sessions/{chat}/message",
        {"message": "x"},
        {"Idempotency-Key": "k"},
    )
    first, second = (owner.post(path, json=body, headers=key).json for _ in range(2))
    assert first == second
    assert len(shown(owner, chat)["messages"]) == 2
