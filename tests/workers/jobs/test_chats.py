"""Chats with workers in this process: what is said, and what comes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from models import chats, events
from models.agents import Agent
from models.chats import ChatMessage, ChatSession
from models.ledger import Entry
from models.llm_calls import LlmCall
from models.principals import Principal
from models.runs import Run
from tasks import chats as commands

ANNA = Principal("usr_owner", "user")
Work = Callable[..., int]


def play(text: str, **default: Any) -> str:
    """A message that tells the scripted model what to do."""
    return f"{text}\n\n```scripted\n{json.dumps({'default': default})}\n```\n"


@pytest.fixture
def chat(database: str, work: Work) -> ChatSession:
    """A session that has begun."""
    made = commands.start(ANNA, Agent.get_by_id("finn"), {"model": "scripted/demo"})
    work()
    return made


@pytest.fixture
def say(chat: ChatSession, work: Work) -> Callable[..., ChatMessage]:
    """Says something and gives the answer."""

    def asked(text: str, **more: Any) -> ChatMessage:
        _, answer = commands.say(chat, {"message": text, **more})
        work()
        return ChatMessage.get_by_id(answer.id)

    return asked


Say = Callable[..., ChatMessage]


def told(chat: ChatSession) -> list[str]:
    return [event.type for event in events.after(chat.id, 0, 1000)]


def opening(chat: ChatSession) -> list[dict[str, Any]]:
    (entry,) = Entry.select().where(Entry.seq == 0)
    return entry.response["messages"]


def test_an_answer_comes_of_what_was_said(say: Say, chat: ChatSession) -> None:
    answer = say("What is a monad?")
    assert answer.state == chats.COMPLETED
    assert answer.content.endswith("You said: What is a monad?")
    assert told(chat)[-2:] == ["step_complete", "message_ended"] or "message_ended" in told(chat)
    assert LlmCall.select().where(LlmCall.run_id == chat.id).count() == 1
    assert Entry.select().count() == 0  # the record was for who takes a turn over
    assert Run.find(chat.id).state == "running"


def test_answers_come_in_the_order_of_the_messages(chat: ChatSession, work: Work) -> None:
    for number in range(4):
        commands.say(chat, {"message": f"Number {number}"})
    work()
    answers = [each for each in ChatMessage.of(chat.id) if each.role == "assistant"]
    assert [each.content[-8:] for each in answers] == [f"Number {n}" for n in range(4)]
    assert [each.state for each in answers] == [chats.COMPLETED] * 4


def test_the_agent_uses_its_tools_and_the_answer_says_so(say: Say, chat: ChatSession) -> None:
    call = {"name": "write", "arguments": {"path": "a.txt", "content": "one"}}
    answer = say(play("Write it", calls=[call]))
    (used,) = answer.tool_calls
    assert (used["toolName"], used["isError"]) == ("write", False)
    assert answer.content.startswith("One moment.\n\nThis is the scripted")
    assert Run.find(chat.id).workspace_commit
    read = say(play("Read it", calls=[{"name": "read", "arguments": {"path": "a.txt"}}]))
    assert "one" in read.tool_calls[0]["result"]
