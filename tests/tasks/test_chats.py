"""Asking of chats: what each command leaves behind, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from models import base, chats, events, runs
from models.agents import Agent
from models.chats import ChatMessage, ChatSession
from models.errors import Conflict, Malformed, NotFound, TooMany
from models.principals import Principal
from models.runs import Run
from models.steps import Step
from tasks import chats as commands
from tests.conftest import PROJECT
from workers.jobs import runs as jobs
from workers.jobs import steps as step_jobs

ANNA = Principal("usr_anna", "user")
BEN = Principal("usr_ben", "user")
Start = Callable[..., ChatSession]


@pytest.fixture
def start(database: str) -> Start:
    """Starts a session, and lets the engine begin it."""

    def begin(agent: str = "finn", begun: bool = True, **form: Any) -> ChatSession:
        chat = commands.start(ANNA, Agent.get_by_id(agent), {"model": "scripted/demo", **form})
        if begun:
            jobs.advance(chat.id, 1)
        return again(chat)

    return begin


def again(chat: ChatSession) -> ChatSession:
    return ChatSession.get_by_id(chat.id)


def say(chat: ChatSession, text: str = "Hello", **more: Any) -> ChatMessage:
    """Gives the answer to come."""
    return commands.say(chat, {"message": text, **more})[1]


def states(chat: ChatSession) -> list[str]:
    return [message.state for message in ChatMessage.of(chat.id) if message.role == "assistant"]


def queued(chat: ChatSession) -> list[Step]:
    return list(Step.select().where((Step.run == chat.id) & (Step.state == "queued")))


def test_a_session_is_a_run_that_no_list_of_runs_shows(start: Start) -> None:
    chat = start(begun=False)
    assert chat.id.startswith("chat_finn_")
    assert (chat.state, Run.find(chat.id).kind) == (chats.STARTING, runs.CHAT)
    assert Run.visible_to(ANNA).count() == 0
    jobs.advance(chat.id, 1)
    assert (again(chat).state, Run.find(chat.id).state) == (chats.RUNNING, runs.RUNNING)


def test_only_who_began_it_and_admins_see_a_session(start: Start) -> None:
    start()
    admin = Principal("usr_admin", "user", is_admin=True)
    seen = [ChatSession.visible_to(who).count() for who in (ANNA, BEN, admin)]
    assert seen == [1, 0, 1]


def test_the_model_is_the_one_asked_for_or_the_agents_or_the_servers(start: Start) -> None:
    assert start(model="openai/gpt-5").model == "openai/gpt-5"
    assert start(model=None).model == Agent.get_by_id("finn").model or "scripted/demo"


def test_a_project_that_the_caller_does_not_see_is_not_there(start: Start) -> None:
    with pytest.raises(NotFound):
        start(project_id=PROJECT)
    assert Run.select().count() == 0


def test_the_same_idempotency_key_gives_the_same_session_and_the_same_message(
    database: str,
) -> None:
    finn = Agent.get_by_id("finn")
    first, second = (commands.start(ANNA, finn, {}, "k") for _ in range(2))
    assert first.id == second.id
    said = [commands.say(first, {"message": "Hello"}, "m") for _ in range(2)]
    assert said[0][0].id == said[1][0].id
    assert said[0][1].id == said[1][1].id
    assert again(first).message_count == 2
    with pytest.raises(Conflict):
        commands.say(first, {"message": "Something else"}, "m")


def test_what_is_said_before_the_session_has_begun_is_answered_once_it_has(start: Start) -> None:
    chat = start(begun=False)
    answer = say(chat)
    assert queued(chat) == []
    jobs.advance(chat.id, 1)
    (step,) = queued(chat)
    assert ChatMessage.get_by_id(answer.id).execution_id == step.id


def test_one_turn_is_under_way_however_much_was_said(start: Start) -> None:
    chat = start()
    for number in range(3):
        say(chat, f"Message {number}")
    assert len(queued(chat)) == 1
    assert states(chat) == ["queued"] * 3
    assert [message.number for message in ChatMessage.of(chat.id)] == [1, 2, 3, 4, 5, 6]


def test_who_says_too_much_at_once_is_told_to_wait(start: Start) -> None:
    chat = start()
    for _ in range(commands.MOST_WAITING):
        say(chat)
    with pytest.raises(TooMany):
        say(chat)
    assert again(chat).message_count == 2 * commands.MOST_WAITING


def test_a_message_may_bring_another_model_which_stays(start: Start) -> None:
    chat = start()
    assert say(chat, model="openai/gpt-5").model == "openai/gpt-5"
    assert say(chat).model == "openai/gpt-5"
    assert commands.change(chat, {"model": "scripted/demo"}).model == "scripted/demo"
    assert say(chat).model == "scripted/demo"


def test_stopping_calls_off_the_answer_under_way_and_the_next_one_follows(start: Start) -> None:
    chat = start()
    say(chat), say(chat)
    (first,) = queued(chat)
    assert step_jobs.claim(first.id) is not None
    commands.stop(chat)
    assert states(chat) == ["aborted", "queued"]
    (second,) = queued(chat)
    assert second.id != first.id
    commands.stop(chat)
    commands.stop(chat)  # there is nothing left to stop
    assert states(chat) == ["aborted", "aborted"]
    assert again(chat).state == chats.RUNNING


def test_ending_calls_off_everything_and_nothing_more_can_be_said(start: Start) -> None:
    chat = start()
    say(chat), say(chat)
    ended = commands.end(chat)
    assert (ended.state, Run.find(chat.id).state) == (chats.COMPLETED, runs.COMPLETED)
    assert states(chat) == ["aborted", "aborted"]
    assert queued(chat) == []
    with pytest.raises(Malformed):
        say(chat)
    assert commands.end(chat).completed_at == ended.completed_at


def test_a_session_that_was_over_goes_on_with_what_was_said(start: Start) -> None:
    chat = start()
    assert commands.restart(chat).state == chats.RUNNING  # nothing to restart
    say(chat)
    commands.end(chat)
    assert commands.restart(chat).state == chats.STARTING
    say(chat)
    jobs.advance(chat.id, 2)
    assert again(chat).state == chats.RUNNING
    assert states(chat) == ["aborted", "queued"]


def test_ending_a_session_that_has_not_begun_ends_it(start: Start) -> None:
    chat = start(begun=False)
    say(chat)
    assert commands.end(chat).state == chats.COMPLETED
    jobs.advance(chat.id, 1)
    assert queued(chat) == []


def test_purging_leaves_nothing(start: Start) -> None:
    chat = start()
    say(chat)
    commands.purge(chat)
    for model in (ChatSession, ChatMessage, Run, Step, events.Event):
        assert model.select().count() == 0


def test_who_says_nothing_for_too_long_is_done(start: Start) -> None:
    idle, busy, fresh = start(), start(), start()
    say(busy)
    forgotten = ChatSession.id.in_([idle.id, busy.id])
    ChatSession.update(idle_until=1).where(forgotten).execute()
    assert commands.end_idle() == 1
    assert [again(chat).state for chat in (idle, busy, fresh)] == [
        chats.COMPLETED,
        chats.RUNNING,
        chats.RUNNING,
    ]
    told = events.after(idle.id, 0, 100)[-1]
    assert (told.type, told.data["reason"]) == ("run_complete", "idle_timeout")


def test_a_message_that_could_not_be_committed_was_not_said(start: Start) -> None:
    chat = start()
    with pytest.raises(RuntimeError), base.db.atomic():
        say(chat)
        raise RuntimeError("the process dies here")
    assert (again(chat).message_count, queued(chat)) == (0, [])
