"""Turns of chats with a provider on the loopback: prompts, keys, failures, stops, lost workers."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from models import base, chats, config, steps, streams
from models.chats import ChatMessage, ChatSession
from models.invariants import breaches
from models.ledger import Entry
from models.llm_calls import LlmCall
from models.runs import Run
from models.steps import Step
from tasks import chats as commands
from tests.processes.product import until
from tests.servers.provider import Answer, Provider, Received
from tests.workers.jobs.dying import call, expire
from workers.jobs import steps as jobs

MODEL = "openai/gpt-4o"
SERVER, OWN = "sk-server-0123456789abcdef", "sk-own-abcdef0123456789"
Work = Callable[..., int]


class Adaptive(Provider):
    """Says what `reply` makes of a request, if it makes anything of it."""

    def reply_to(self, received: Received) -> Answer:
        answer = self.reply(received) or self.next()
        self.requests.append(received)
        return answer

    def reply(self, received: Received) -> Answer | None:
        return None


@pytest.fixture
def provider(
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    admin: FlaskClient,
    owner: FlaskClient,
    work: Work,
) -> Iterator[Adaptive]:
    """OpenAI on the loopback, to which the server and the owner have a key."""
    with Adaptive() as server:
        server.answers(Answer(text=("Well ", "said.")))
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("ALLOW_PRIVATE_NETWORKS", "true")
        config.settings.cache_clear()
        admin.put("/v1/settings/providers/openai", json={"apiKey": SERVER})
        owner.put("/v1/settings/user-providers/openai", json={"apiKey": OWN})
        yield server
    monkeypatch.undo()
    config.settings.cache_clear()


@pytest.fixture
def chat(provider: Provider, owner: FlaskClient, work: Work) -> str:
    form = {"agent_id": "finn", "model": MODEL, "system_prompt_supplement": "Speak of tea."}
    made = owner.post("/v1/chat/sessions", json=form).json["id"]
    work()
    return made


def session(chat: str) -> ChatSession:
    return ChatSession.get_by_id(chat)


def say(chat: str, message: str = "Hello", **more: Any) -> str:
    return commands.say(session(chat), {"message": message, **more})[1].id


def answers(chat: str) -> list[ChatMessage]:
    return [each for each in ChatMessage.of(chat) if each.role == "assistant"]


def step_of(chat: str) -> Step:
    return Step.select().where(Step.run == chat).order_by(Step.number.desc()).get()


def heard(provider: Provider) -> list[tuple[str, str]]:
    """Who said what in the latest request."""
    sent = provider.requests[-1].body["messages"]
    return [(each["role"], str(each.get("content"))) for each in sent]


def test_the_model_hears_who_it_is_what_was_said_and_the_message(
    chat: str, provider: Provider, work: Work
) -> None:
    say(chat, "One")
    work()
    say(chat, "Two")
    work()
    (_, system), *said = heard(provider)
    assert "# IDENTITY" in system and "# SKILLS" in system and "Speak of tea." in system
    assert said == [("user", "One"), ("assistant", "Well said."), ("user", "Two")]
    tools = {each["function"]["name"] for each in provider.requests[-1].body["tools"]}
    assert {"read", "bash"} <= tools and not tools & {"complete", "executor_complete"}


def test_the_model_hears_again_what_its_tools_came_to(
    chat: str, provider: Provider, work: Work
) -> None:
    provider.answers(
        Answer(calls=(call("write", path="a.txt", content="x"),)), Answer(text=("Written.",))
    )
    say(chat, "Write")
    work()
    say(chat, "And?")
    work()
    sent = provider.requests[-1].body["messages"][1:]
    assert [each["role"] for each in sent] == ["user", "assistant", "tool", "assistant", "user"]
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"]
    assert sent[3]["content"] == "Written."


def test_the_key_of_whoever_talks_pays(chat: str, provider: Provider, work: Work) -> None:
    say(chat)
    work()
    assert provider.requests[-1].headers["authorization"] == f"Bearer {OWN}"
    (made,) = LlmCall.select().where(LlmCall.run_id == chat)
    assert (made.key_source, made.owner_id) == ("personal", "usr_owner")
    paid = session(chat).key_resolution
    assert (paid["userId"], paid["resolvedProviders"]) == ("usr_owner", ["openai"])
    assert OWN not in str(paid)


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (Answer(status=500, error={"message": "broken"}), ""),
        (Answer(status=429, error={"message": "slow down"}), ""),
        (Answer(status=401, error={"message": "no such key"}), ""),
        (Answer(text=("Half ", "of", " it"), cut=3), "Half of"),
        (Answer(text=()), ""),
    ],
)
def test_a_model_that_fails_ends_its_turn_and_the_session_lives_on(
    chat: str, provider: Provider, work: Work, trouble: Answer, words: str
) -> None:
    provider.answers(trouble)
    say(chat)
    work()
    (failed,) = answers(chat)
    assert (failed.state, failed.content) == (chats.FAILED, words)
    assert failed.error and failed.completed_at
    provider.answers(Answer(text=("Better.",)))
    say(chat, "Again")
    work()
    assert answers(chat)[1].content == "Better."
    assert session(chat).state == chats.RUNNING
    assert breaches(0) == []


def test_a_budget_that_is_reached_fails_the_turn(
    chat: str, provider: Provider, work: Work, admin: FlaskClient, owner: FlaskClient
) -> None:
    owner.delete("/v1/settings/user-providers/openai")
    share = {"providerId": "openai", "targetUserId": "usr_owner", "dailyLimit": 0}
    assert admin.post("/v1/admin/shared-providers", json=share).status_code < 300
    say(chat)
    work()
    (failed,) = answers(chat)
    assert failed.state == chats.FAILED and "budget" in failed.error
    assert Run.find(chat).state == "running"


def test_a_conversation_that_grows_too_long_is_condensed_once_and_for_all(
    chat: str, provider: Adaptive, work: Work
) -> None:
    long = "word " * 18_000

    def reply(received: Received) -> Answer | None:
        system = str(received.body["messages"][0]["content"])
        if system.startswith("You condense"):
            return Answer(text=("They spoke of words.",))
        return None

    provider.reply = reply  # type: ignore[method-assign]
    for number in range(6):
        say(chat, f"Number {number}: {long}")
        work()
    assert session(chat).summary == "They spoke of words."
    summarised = session(chat).summarised
    assert summarised >= 2
    condensing = sum("You condense" in str(each.body["messages"][0]) for each in provider.requests)
    say(chat, "Last")
    work()
    (_, _), (_, first), *_ = heard(provider)
    assert "They spoke of words." in first and "Number 0" not in first
    again = sum("You condense" in str(each.body["messages"][0]) for each in provider.requests)
    assert again == condensing
    shown = "".join(each.content for each in answers(chat))
    assert "They spoke" not in shown


class Working(threading.Thread):
    """A worker of its own at a step."""

    def __init__(self, execution_id: str) -> None:
        super().__init__()
        self.execution_id = execution_id

    def run(self) -> None:
        with base.db.connection_context():
            jobs.execute(self.execution_id)


def test_an_answer_is_stopped_in_the_middle_of_a_silence_and_keeps_its_words(
    chat: str, provider: Provider, work: Work, stream: str
) -> None:
    provider.answers(Answer(text=("One ", "two ", "three"), hang=3))
    say(chat)
    worker = Working(step_of(chat).id)
    worker.start()
    with redis.Redis.from_url(stream) as told:
        until(lambda: "two " in str(told.xrange(streams.KEY)))
    commands.stop(session(chat))
    worker.join(15)  # the provider would be silent for longer
    assert not worker.is_alive()
    (stopped,) = answers(chat)
    assert (stopped.state, stopped.error) == (chats.ABORTED, "user_requested")
    assert stopped.content == "One two "
    provider.answers(Answer(text=("Go on.",)))
    say(chat, "Well?")
    work()
    assert heard(provider)[-2:] == [("assistant", "One two"), ("user", "Well?")]


def test_what_a_stopped_answer_did_to_files_is_kept(
    chat: str, provider: Provider, work: Work
) -> None:
    write = Answer(calls=(call("write", path="a.txt", content="one"),))
    provider.answers(write, Answer(text=("I ", "wait"), hang=2))
    say(chat)
    worker = Working(step_of(chat).id)
    worker.start()
    until(lambda: len(provider.requests) == 2)
    commands.stop(session(chat))
    worker.join(15)
    read = Answer(calls=(call("read", path="a.txt"),))
    provider.answers(read, Answer(text=("There it is.",)))
    say(chat, "Read it")
    work()
    assert "one" in answers(chat)[1].tool_calls[0]["result"]
    assert Run.find(chat).workspace_commit
    assert Run.find(chat).meta.get("carried") == []


def test_a_worker_that_is_lost_costs_no_answer_that_was_paid_for(
    chat: str, provider: Provider, work: Work
) -> None:
    provider.answers(
        Answer(text=("I look.",), calls=(call("ls"),)), Answer(text=("It ", "hangs"), hang=3)
    )
    say(chat)
    step = step_of(chat)
    worker = Working(step.id)
    worker.start()
    until(lambda: len(provider.requests) == 2)
    expire(step.id)
    provider.answers(Answer(text=("It ", "is done.")))
    work()
    worker.join(30)
    assert len(provider.requests) == 3  # the first answer was on record
    (answer,) = answers(chat)
    assert (answer.state, answer.content) == (chats.COMPLETED, "I look.\n\nIt is done.")
    assert len(answer.tool_calls) == 1
    assert Entry.select().count() == 0
    assert breaches(0) == []


def test_stopping_and_completing_at_once_end_a_turn_one_way(
    chat: str, provider: Provider, work: Work
) -> None:
    for _ in range(3):
        say(chat)
        worker = Working(step_of(chat).id)
        worker.start()
        until(lambda: step_of(chat).state != steps.QUEUED)
        commands.stop(session(chat))
        worker.join(20)
        ended = answers(chat)[-1]
        assert ended.state in (chats.ABORTED, chats.COMPLETED)
        assert (ended.state == chats.ABORTED) == (ended.error == "user_requested")
        step = step_of(chat)
        assert (step.state == "cancelled") == (ended.state == chats.ABORTED)
    work()
    assert breaches(0) == []


def test_many_who_speak_at_once_are_answered_in_one_order(
    chat: str, provider: Provider, work: Work
) -> None:
    barrier, said = threading.Barrier(6), []

    def speak(number: int) -> None:
        with base.db.connection_context():
            barrier.wait()
            said.append(say(chat, f"Number {number}"))

    threads = [threading.Thread(target=speak, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [each.number for each in ChatMessage.of(chat)]
    assert numbers == list(range(1, 13))
    active = Step.select().where((Step.run == chat) & (Step.state == "queued"))
    assert active.count() == 1
    work()
    assert {each.id for each in answers(chat)} == set(said)
    assert [each.state for each in answers(chat)] == [chats.COMPLETED] * 6
    assert len(provider.requests) == 6


def test_what_is_said_while_a_session_ends_is_answered_or_refused(
    chat: str, provider: Provider, work: Work
) -> None:
    barrier, refused = threading.Barrier(2), []

    def speak() -> None:
        with base.db.connection_context():
            barrier.wait()
            try:
                say(chat)
            except Exception as error:
                refused.append(error)

    speaker = threading.Thread(target=speak)
    speaker.start()
    barrier.wait()
    commands.end(session(chat))
    speaker.join()
    work()
    assert session(chat).state == chats.COMPLETED
    ended = [each.state for each in answers(chat)]
    assert ended == ([] if refused else [chats.ABORTED])
    assert breaches(0) == []


def test_an_agent_in_a_chat_has_others_do_something(
    chat: str, provider: Adaptive, work: Work
) -> None:
    order = {"execution_prompt": "Do it", "project_id": "p", "task_id": "T1"}

    def reply(received: Received) -> Answer | None:
        names = {each["function"]["name"] for each in received.body.get("tools", ())}
        if "executor_complete" in names:
            return Answer(calls=(call("executor_complete", status="success", summary="Did it."),))
        return None

    provider.reply = reply  # type: ignore[method-assign]
    provider.answers(
        Answer(calls=(call("spawn_executor", **order),)), Answer(text=("It is done.",))
    )
    say(chat)
    work()
    (answer,) = answers(chat)
    assert (answer.state, answer.content) == (chats.COMPLETED, "It is done.")
    assert '"success":true' in answer.tool_calls[0]["result"]


def test_files_that_were_shown_are_in_what_the_model_hears(
    chat: str, provider: Provider, work: Work, owner: FlaskClient
) -> None:
    notes = {"file": (io.BytesIO(b"Earl Grey is black."), "tea.txt"), "session_id": chat}
    shown = owner.post("/v1/attachments/upload", data=notes)
    assert shown.status_code == 200, shown.json
    say(chat, "Read this", attachments=[shown.json["id"]])
    work()
    say(chat, "Well?")
    work()
    told = heard(provider)
    assert "Read this" in told[1][1] and "Earl Grey is black." in told[1][1]
    assert answers(chat)[0].state == chats.COMPLETED
