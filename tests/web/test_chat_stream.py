"""The stream of a chat: every client has every word once, whenever it comes and goes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from models import base, live_text
from models.chats import ChatMessage
from models.config import Settings
from models.runs import Run
from models.steps import Step
from tests.web.listening import Frame, listening, messages
from workers.agents.events import Spoke
from workers.agents.overhearing import Overhearing
from workers.agents.recounting import Recounting
from workers.jobs import steps as jobs
from workers.llm.base import Message, Reply, Text, Thinking, Usage

Work = Callable[..., int]
FORM = {"agent_id": "finn", "model": "scripted/demo"}


@pytest.fixture
def chat(owner: FlaskClient, work: Work) -> str:
    made = owner.post("/v1/chat/sessions", json=FORM).json["id"]
    work()
    return made


@pytest.fixture
def stage(owner: FlaskClient, chat: str, work: Work, settings: Settings) -> Stage:
    """A turn that is under way, its agent played by the test."""
    say(owner, chat, "Hello")
    return Stage(chat, settings, work)


class Stage:
    """An agent that says what the test has it say."""

    def __init__(self, chat: str, settings: Settings, work: Work) -> None:
        self.chat, self.settings, self.work = chat, settings, work
        self.step = Step.select().where(Step.run == chat).get()
        claimed = jobs.claim(self.step.id)
        assert claimed is not None
        self.run, self.step = claimed
        self.publish()
        self.voice = self.successor(again=False)

    def successor(self, again: bool = True) -> Recounting:
        """Whoever gives the reply from its beginning, in place of a worker that was lost."""
        voice = Recounting(self.run, self.step, self.settings.redis_url)
        voice.asked(Run.find(self.chat).event_seq, again)
        return voice

    def publish(self) -> None:
        """Hand on what has committed."""
        self.work()

    def say(self, *words: str, kind: Any = "text", voice: Recounting | None = None) -> None:
        for word in words:
            (voice or self.voice).speak(Spoke(kind, word))
            (voice or self.voice).flush()

    def end_reply(self, text: str, thinking: str = "", voice: Recounting | None = None) -> None:
        parts = (*((Thinking(thinking),) if thinking else ()), Text(text))
        reply = Reply(Message("assistant", parts), Usage(), "end", "demo")
        told = {"stepId": "CHAT", "sessionId": self.step.session_id, "turn": 1, "stop": "end"}
        with base.db.atomic():
            run = Run.locked(self.chat)
            run.record(("turn_end", {**told, **(voice or self.voice).closing(reply)}))
        self.publish()


def say(client: FlaskClient, chat: str, message: str) -> Any:
    return client.post(f"/v1/chat/sessions/{chat}/message", json={"message": message}).json


def play(text: str, **default: Any) -> str:
    return f"{text}\n\n```scripted\n{json.dumps({'default': default})}\n```\n"


def path(chat: str, since: str = "0") -> str:
    return f"/v1/events/sessions/{chat}/events?since={since}"


def until(frames: Iterator[Frame], kind: str) -> list[Frame]:
    """The messages up to the first of this kind, that included."""
    found: list[Frame] = []
    while not found or found[-1].data["type"] != kind:
        found += messages(frames, 1)
    return found


def words(frames: list[Frame], kind: str = "output", name: str = "content") -> str:
    """What a client that only appends has on its screen; what is taken back is gone."""
    text = ""
    for frame in frames:
        if frame.data["type"] == "output_reset":
            text = ""
        elif frame.data["type"] == kind:
            text += frame.data["data"][name]
    return text


def told(frames: list[Frame]) -> list[str]:
    """The kinds of frames, those of words once."""
    kinds = [frame.data["type"] for frame in frames]
    return [kind for place, kind in enumerate(kinds) if place == 0 or kinds[place - 1] != kind]


def test_a_client_that_comes_late_hears_the_whole_conversation(
    owner: FlaskClient, chat: str, work: Work
) -> None:
    call = {"name": "ls", "arguments": {}}
    say(owner, chat, play("Look", calls=[call]))
    say(owner, chat, "Thank you")
    work()
    one, two = [each.content for each in ChatMessage.of(chat) if each.role == "assistant"]
    with listening(owner, path(chat)) as frames:
        first, second = until(frames, "turn_end"), until(frames, "turn_end")
        assert until(frames, "connected")[-1].data["session_id"] == chat
    assert (words(first), words(second)) == (one, two)
    assert told(first)[-6:] == [
        "step_start",
        "output",
        "tool_start",
        "tool_end",
        "output",
        "turn_end",
    ]
    started, ended = (
        next(frame.data["data"] for frame in first if frame.data["type"] == kind)
        for kind in ("tool_start", "tool_end")
    )
    assert started["toolCallId"] == ended["toolCallId"]
    assert (started["args"], ended["success"]) == ({}, True)
    assert first[-1].data["data"]["success"] is True


def test_what_a_command_prints_is_heard_while_it_runs_and_its_result_stands(
    owner: FlaskClient, chat: str, work: Work
) -> None:
    command = {"command": "echo one; sleep 0.5; echo two"}
    with listening(owner, path(chat)) as frames:
        until(frames, "connected")
        say(owner, chat, play("Look", calls=[{"name": "bash", "arguments": command}]))
        work()
        heard = until(frames, "turn_end")
    assert [kind for kind in told(heard) if kind.startswith("tool")] == [
        "tool_start",
        "tool_output",
        "tool_end",
    ]
    assert words(heard, "tool_output") == "one\ntwo\n"
    about = {
        frame.data["data"]["toolCallId"]: frame.data["data"]["requestId"]
        for frame in heard
        if frame.data["type"].startswith("tool")
    }
    assert len(about) == 1
    (ended,) = [each.data["data"] for each in heard if each.data["type"] == "tool_end"]
    assert ended["result"] == "one\ntwo"
    with listening(owner, path(chat)) as frames:
        again = until(frames, "turn_end")
    assert "tool_output" not in told(again)
    (answer,) = [each for each in ChatMessage.of(chat) if each.role == "assistant"]
    assert [call["result"] for call in answer.tool_calls or ()] == ["one\ntwo"]


def test_output_that_overtakes_its_tool_waits_for_it_and_none_comes_after_the_end(
    owner: FlaskClient, stage: Stage, settings: Settings
) -> None:
    call = {"toolName": "bash", "toolCallId": "c-1", "sessionId": stage.step.session_id}

    def happen(kind: str, **more: Any) -> None:
        with base.db.atomic():
            Run.locked(stage.chat).record((kind, {"stepId": "CHAT", **call, **more}))

    with listening(owner, path(stage.chat)) as frames:
        until(frames, "connected")
        happen("tool_call_start", args="{}")
        ear = Overhearing(stage.run, stage.step, settings.redis_url)
        ear.begins({**call, "after": Run.find(stage.chat).event_seq})
        ear.hear("early")  # before the event itself is handed on
        stage.publish()
        happen("tool_call_end", result="early", isError=False, durationMs=1)
        stage.publish()
        ear._flush()
        ear.hear("late")  # of a worker that does not know yet that it was taken over
        ear.ends()
        stage.end_reply("Done")
        happen("message_ended", messageId="m", status="completed", error=None)
        stage.publish()
        heard = until(frames, "turn_end")
    assert [kind for kind in told(heard) if kind.startswith("tool")] == [
        "tool_start",
        "tool_output",
        "tool_end",
    ]
    assert words(heard, "tool_output") == "early"


def test_a_call_that_nobody_could_read_is_told_as_it_was_written(
    owner: FlaskClient, stage: Stage
) -> None:
    call = {"toolName": "ls", "toolCallId": "c-1", "sessionId": stage.step.session_id}
    nested = "[" * 400 + "]" * 400
    with listening(owner, path(stage.chat)) as frames:
        until(frames, "connected")
        for args in (nested, '{"path": "."}'):
            with base.db.atomic():
                told = {"stepId": "CHAT", **call, "args": args}
                Run.locked(stage.chat).record(("tool_call_start", told))
        stage.publish()
        first, second = until(frames, "tool_start"), until(frames, "tool_start")
    assert first[-1].data["data"]["args"] == nested
    assert second[-1].data["data"]["args"] == {"path": "."}


def test_all_four_addresses_give_the_same(owner: FlaskClient, chat: str, work: Work) -> None:
    say(owner, chat, "Hello")
    work()
    found = []
    for address in (
        f"/v1/events/sessions/{chat}/events",
        f"/v1/agents/sessions/{chat}/events",
        f"/v1/sessions/{chat}/events",
        f"/v1/sessions/{chat}/stream",
    ):
        with listening(owner, address) as frames:
            found.append([(each.id, each.data["type"]) for each in until(frames, "turn_end")])
    assert found[1:] == found[:1] * 3


def test_a_client_goes_on_after_any_frame_without_a_gap_or_a_double(
    owner: FlaskClient, chat: str, work: Work
) -> None:
    say(owner, chat, play("Look", calls=[{"name": "ls", "arguments": {}}]))
    work()
    with listening(owner, path(chat)) as frames:
        whole = until(frames, "turn_end")
    assert all(each.id == each.data["stream_id"] for each in whole)
    for place, frame in enumerate(whole[:-1]):
        with listening(owner, path(chat), after=frame.id) as frames:
            rest = until(frames, "turn_end")
        assert [each.data["data"] for each in rest] == [
            each.data["data"] for each in whole[place + 1 :]
        ]


def test_words_come_as_they_are_said_and_a_late_client_gets_those_before(
    owner: FlaskClient, stage: Stage
) -> None:
    with listening(owner, path(stage.chat)) as early:
        first = until(early, "connected")
        stage.say("Let me see", kind="thinking")
        stage.say("One ", "two ")
        first += until(early, "output")
        with listening(owner, path(stage.chat)) as late:
            second = until(late, "connected") + until(late, "output")
            assert words(second) == "One two "
            assert words(second, "thinking", "thinking") == "Let me see"
            stage.say("three")
            stage.end_reply("One two three", "Let me see")
            stage.publish()
            jobs.settle(stage.run, stage.step, jobs.Done(step={"text": "One two three"}))
            stage.publish()
            first, second = first + until(early, "turn_end"), second + until(late, "turn_end")
    assert words(first) == words(second) == "One two three"
    assert words(first, "thinking", "thinking") == "Let me see"
    (answer,) = [each for each in ChatMessage.of(stage.chat) if each.role == "assistant"]
    assert (answer.content, answer.thinking) == ("One two three", "Let me see")


def test_a_client_goes_on_in_the_middle_of_a_reply(owner: FlaskClient, stage: Stage) -> None:
    with listening(owner, path(stage.chat)) as frames:
        until(frames, "connected")
        stage.say("One ")
        at = until(frames, "output")[-1].id
    stage.say("two ")
    with listening(owner, path(stage.chat), after=at) as frames:
        rest = until(frames, "output")
        stage.say("three")
        while words(rest) != "two three":
            rest += messages(frames, 1)
    stage.end_reply("One two three.")
    with listening(owner, path(stage.chat), after=rest[-1].id) as frames:
        until(frames, "connected")
    assert told(rest) == ["connected", "output"]


def test_whoever_empties_redis_takes_no_word_from_anybody(owner: FlaskClient, stage: Stage) -> None:
    with listening(owner, path(stage.chat)) as early:
        first = until(early, "connected")
        stage.say("One ")
        first += until(early, "output")
        redis.Redis.from_url(stage.settings.redis_url).flushall()
        stage.say("two ")
        with listening(owner, path(stage.chat)) as late:
            second = until(late, "connected") + until(late, "output")
            redis.Redis.from_url(stage.settings.redis_url).flushall()
            stage.end_reply("One two ")
            stage.say("ignored")
            for frames, so_far in ((early, first), (late, second)):
                while words(so_far) != "One two ":
                    so_far += messages(frames, 1)


def test_a_successor_that_says_the_same_is_not_noticed(owner: FlaskClient, stage: Stage) -> None:
    with listening(owner, path(stage.chat)) as frames:
        heard = until(frames, "connected")
        stage.say("One ", "two ")
        heard += until(frames, "output")
        successor = stage.successor()
        stage.say("One", " tw", "o thr", "ee", voice=successor)
        while words(heard) != "One two three":
            heard += messages(frames, 1)
    assert "output_reset" not in told(heard)
    assert live_text.kept(stage.settings.redis_url, stage.chat).text == "One two three"


def test_a_successor_that_says_something_else_takes_the_first_words_back(
    owner: FlaskClient, stage: Stage
) -> None:
    with listening(owner, path(stage.chat)) as frames:
        heard = until(frames, "connected")
        stage.say("One ", "two ")
        heard += until(frames, "output")
        with base.db.atomic():  # another worker sits down
            Run.locked(stage.chat).record(("step_started", {"stepId": "CHAT"}))
        stage.publish()
        successor = stage.successor()
        stage.say("One", " and only", voice=successor)
        stage.end_reply("One and only", voice=successor)
        while words(heard) != "One and only":
            heard += messages(frames, 1)
    assert told(heard).count("output_reset") == 1


def test_a_reply_before_has_no_part_in_the_next_one(stage: Stage) -> None:
    stage.say("One ")
    stage.end_reply("One ")
    successor = stage.successor()
    stage.say("One and two", voice=successor)
    assert live_text.kept(stage.settings.redis_url, stage.chat).text == "One and two"


@pytest.mark.slow
def test_nobody_else_hears_a_chat_and_what_is_purged_ends(
    owner: FlaskClient, teammate: FlaskClient, chat: str, work: Work
) -> None:
    assert teammate.get(path(chat)).status_code == 404
    assert owner.get(path("chat_none")).status_code == 404
    assert owner.get(path(chat, "x")).status_code == 422
    with listening(owner, path(chat)) as frames:
        until(frames, "connected")
        assert owner.delete(f"/v1/chat/sessions/{chat}?purge=true").status_code == 200
        work()
        messages(frames)  # which end


def test_a_stopped_answer_says_so_and_nothing_more(owner: FlaskClient, stage: Stage) -> None:
    with listening(owner, path(stage.chat)) as frames:
        heard = until(frames, "connected")
        stage.say("One ")
        heard += until(frames, "output")
        assert owner.post(f"/v1/agents/finn/chat/{stage.chat}/stop").json["status"] == "stopped"
        stage.publish()
        heard += until(frames, "response_aborted")
        stage.say("two ")
        owner.post(f"/v1/agents/finn/chat/{stage.chat}/end")
        stage.publish()
        heard += until(frames, "session_complete")
    assert words(heard) == "One "
    aborted = next(each.data["data"] for each in heard if each.data["type"] == "response_aborted")
    assert aborted["reason"] == "user_requested"
    assert heard[-1].data["data"] == {"reason": "ended"}


def test_the_list_of_chats_is_told_of_what_changes(
    owner: FlaskClient, stranger: FlaskClient, work: Work
) -> None:
    with (
        listening(owner, "/v1/events/chat-sessions") as mine,
        listening(stranger, "/v1/events/chat-sessions") as theirs,
    ):
        next(mine), next(theirs)
        chat = owner.post("/v1/chat/sessions", json=FORM).json["id"]
        work()
        owner.delete(f"/v1/chat/sessions/{chat}?purge=true")
        own = stranger.post("/v1/chat/sessions", json=FORM).json["id"]
        work()
        changes = [frame.data for frame in messages(mine, 4)]
        assert [(each["type"], each.get("newStatus")) for each in changes] == [
            ("status_changed", "starting"),
            ("status_changed", "running"),
            ("status_changed", "completed"),
            ("deleted", None),
        ]
        assert {each["sessionId"] for each in changes} == {chat}
        assert messages(theirs, 1)[0].data["sessionId"] == own


def test_a_page_goes_on_where_what_it_has_read_ends(owner: FlaskClient, stage: Stage) -> None:
    """The messages of a session say from where on its stream tells what they do not."""
    stage.say("One ")
    read = owner.get(f"/v1/chat/sessions/{stage.chat}").json
    assert [each["content"] for each in read["messages"]] == ["Hello", ""]
    with listening(owner, path(stage.chat, read["stream_id"])) as frames:
        heard = until(frames, "output")
        assert told(heard) == ["step_start", "connected", "output"]
