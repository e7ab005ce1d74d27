from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.workers.agents.conftest import MakeToolbox
from tests.workers.agents.recital import Reciter, call, calls, opening, says
from workers.agents.events import (
    Asking,
    Called,
    Compacted,
    Ending,
    Event,
    Limits,
    Nudged,
    Replied,
    Returned,
    Spoke,
    TurnStarted,
)
from workers.agents.loop import NOTE_EVERY, converse
from workers.agents.tools import Toolbox
from workers.halting import Halt, Stopped
from workers.llm.base import Call, Overflow, Result, Throttled, Unavailable, Usage

DONE = calls("complete", outputs={"result": "PASS"}, summary="All green.")


@dataclass
class Told:
    """A finished conversation: what was told on the way, and the ending."""

    ending: Ending
    events: list[Event] = field(default_factory=list)

    def of(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]


def held(
    model: Reciter, toolbox: Toolbox, limits: Limits | None = None, halt: Halt | None = None
) -> Told:
    return listened(converse(model, toolbox, opening(), limits or Limits(), halt or Halt()))


def listened(conversation: Generator[Event, None, Ending]) -> Told:
    events: list[Event] = []
    while True:
        try:
            events.append(next(conversation))
        except StopIteration as done:
            return Told(done.value, events)


def test_an_agent_works_with_its_tools_and_hands_over(
    toolbox: MakeToolbox, workspace: Path
) -> None:
    model = Reciter([calls("write", path="a.txt", content="hello"), DONE])
    told = held(model, toolbox("result"), Limits(declared=("result",)))
    assert told.ending == Ending("completed", {"result": "PASS"}, "All green.")
    assert (workspace / "a.txt").read_text() == "hello"
    kinds = [type(event) for event in told.events if not isinstance(event, Spoke)]
    turn = [TurnStarted, Asking, Replied, Called, Returned]
    assert kinds == turn * 2


def test_several_calls_of_one_reply_run_in_order_and_are_answered_together(
    toolbox: MakeToolbox,
) -> None:
    both = says(
        "Two at once.",
        [call("write", "c1", path="a", content="1"), call("read", "c2", path="a")],
    )
    model = Reciter([both, DONE])
    held(model, toolbox())
    answers = model.heard[1].messages[-1]
    assert answers.role == "tool"
    assert answers.parts == (Result("c1", "created a, 1 lines"), Result("c2", "1"))


def test_the_first_completion_wins(toolbox: MakeToolbox) -> None:
    twice = says(
        "",
        [
            call("complete", "c1", outputs={"result": "first"}),
            call("complete", "c2", outputs={"result": "second"}),
        ],
    )
    assert held(Reciter([twice]), toolbox()).ending.outputs == {"result": "first"}


def test_a_completion_that_lacks_outputs_is_sent_back_naming_them(toolbox: MakeToolbox) -> None:
    model = Reciter([calls("complete", outputs={"a": "1", "b": " "}), DONE])
    told = held(model, toolbox("result", "b"), Limits(max_turns=2))
    refused = told.of(Returned)[0].result
    assert refused.is_error
    assert "missing required outputs: result, b" in refused.text


def test_an_agent_may_give_up_with_a_reason(toolbox: MakeToolbox) -> None:
    told = held(Reciter([calls("fail", error="no key", details="tried both")]), toolbox())
    assert told.ending == Ending("failed", error="no key: tried both")


def test_malformed_arguments_are_told_to_the_model(toolbox: MakeToolbox) -> None:
    model = Reciter(
        [
            says("", [Call("c1", "read", '{"path": ')]),
            says("", [Call("c2", "read", "[1]")]),
            says("", [Call("c3", "teleport", "{}")]),
            DONE,
        ]
    )
    told = held(model, toolbox())
    first, second, third, _ = (returned.result for returned in told.of(Returned))
    assert first.is_error and "not valid JSON" in first.text
    assert second.is_error and "do not fit" in second.text
    assert third.is_error and "there is no tool teleport" in third.text
    assert told.ending.kind == "completed"


def test_a_character_that_a_server_cut_in_two_is_no_reason_to_fail(toolbox: MakeToolbox) -> None:
    model = Reciter([says("Fine \ud83d", [Call("c", "ls", '{"path": "\ud83d"}')]), DONE])
    told = held(model, toolbox())
    assert [spoken.text for spoken in told.of(Spoke)][:2] == ["Fine", "?"]
    assert told.ending.kind == "completed"
    sent = [part for heard in model.heard for message in heard.messages for part in message.parts]
    for part in sent:  # what has half a character in it cannot be encoded
        (part.arguments if isinstance(part, Call) else part.text).encode()


def test_a_call_cut_off_at_the_output_limit_does_not_run(
    toolbox: MakeToolbox, workspace: Path
) -> None:
    cut = says("", [Call("c1", "write", '{"path": "a", "content": "hal')], stop="length")
    told = held(Reciter([cut, DONE]), toolbox())
    assert "cut off at the output limit" in told.of(Returned)[0].result.text
    assert not (workspace / "a").exists()


def test_a_text_cut_off_at_the_output_limit_is_continued(toolbox: MakeToolbox) -> None:
    told = held(Reciter([says("I was about to", stop="length"), DONE]), toolbox())
    assert "cut off" in told.of(Nudged)[0].text
    assert told.ending.kind == "completed"


def test_outputs_written_as_lines_are_accepted(toolbox: MakeToolbox) -> None:
    text = "All done.\nRESULT: PASS\nnotes: first\n  second\nBye."
    told = held(Reciter([says(text)]), toolbox(), Limits(declared=("result", "notes")))
    assert told.ending.kind == "text"
    assert told.ending.outputs == {"result": "PASS", "notes": "first\nsecond"}


def test_w21_a_model_that_just_stops_has_not_succeeded(toolbox: MakeToolbox) -> None:
    told = held(Reciter([says("I think we are fine.")]), toolbox(), Limits(declared=("result",)))
    assert told.ending.kind == "failed"
    assert told.ending.error == "ended without complete(): missing required outputs: result"


def test_a_model_that_stops_with_nothing_owed_has_succeeded(toolbox: MakeToolbox) -> None:
    told = held(Reciter([says("Here is the answer.")]), toolbox())
    assert (told.ending.kind, told.ending.summary) == ("text", "Here is the answer.")


def test_a_model_that_says_nothing_at_all_has_failed(toolbox: MakeToolbox) -> None:
    model = Reciter([says("")])
    assert held(model, toolbox()).ending.kind == "failed"
    assert all(message.parts for message in model.heard[-1].messages)


def test_an_agent_that_pauses_after_work_is_asked_to_go_on(toolbox: MakeToolbox) -> None:
    told = held(Reciter([calls("ls"), says("Next I will test."), DONE]), toolbox("result"))
    assert [type(event) for event in told.of(Nudged)] == [Nudged]
    assert told.ending.kind == "completed"


def test_nudging_has_an_end(toolbox: MakeToolbox) -> None:
    limits = Limits(declared=("result",))
    model = Reciter([calls("ls"), says("Hm.")])
    told = held(model, toolbox("result"), limits)
    assert told.ending.kind == "failed"
    assert len(told.of(Nudged)) == 3
    restless = Reciter([calls("ls") if turn % 2 else says("Hm.") for turn in range(60)])
    assert len(held(restless, toolbox("result"), Limits(auto_continuations=5)).of(Nudged)) == 5


def test_turns_are_limited_before_another_is_paid_for(toolbox: MakeToolbox) -> None:
    model = Reciter([calls("ls")])
    told = held(model, toolbox(), Limits(max_turns=4))
    assert len(model.heard) == 4
    assert told.ending.kind == "failed"
    assert "all 4 turns" in told.ending.error


def test_a_note_on_progress_is_asked_for_now_and_then(toolbox: MakeToolbox) -> None:
    many = says("", [call("ls", f"c{number}") for number in range(NOTE_EVERY + 1)])
    told = held(Reciter([many, DONE]), toolbox())
    assert f"{NOTE_EVERY + 1} tool calls" in told.of(Nudged)[0].text


def test_a_tool_that_is_not_allowed_is_neither_offered_nor_run(toolbox: MakeToolbox) -> None:
    model = Reciter([calls("bash", command="id"), DONE])
    told = held(model, toolbox(allowed=["read"]))
    assert [spec.name for spec in model.heard[0].tools] == ["read", "complete", "fail"]
    assert told.of(Returned)[0].result.is_error


def test_pieces_are_told_as_they_come(toolbox: MakeToolbox) -> None:
    told = held(Reciter([says("one two three")]), toolbox())
    assert [(event.kind, event.text) for event in told.of(Spoke)][:3] == [
        ("text", "one"),
        ("text", "two"),
        ("text", "three"),
    ]


@pytest.mark.parametrize("error", [Throttled("slow down", 2.0), Unavailable("gone")])
def test_a_provider_that_cannot_answer_is_the_callers_business(
    toolbox: MakeToolbox, error: Throttled | Unavailable
) -> None:
    with pytest.raises(type(error)):
        held(Reciter([error]), toolbox())


def test_a_halt_stops_between_two_calls(toolbox: MakeToolbox, workspace: Path) -> None:
    halt = Halt()
    both = says("", [call("ls", "c1"), call("write", "c2", path="late", content="")])
    conversation = converse(Reciter([both]), toolbox(), opening(), Limits(), halt)
    with pytest.raises(Stopped):
        for event in conversation:
            if isinstance(event, Returned):
                halt.stop("cancelled")
    assert not (workspace / "late").exists()


def test_a_conversation_that_outgrows_the_window_is_condensed_and_goes_on(
    toolbox: MakeToolbox,
) -> None:
    nearly_full = Usage(input=9_000, output=100)
    turns = [says(f"turn {n}", [call("ls")], usage=Usage(1_000, 10)) for n in range(5)]
    full = says("turn 5", [call("ls")], usage=nearly_full)
    model = Reciter([*turns, full, says("Notes: five listings."), DONE], window=10_000)
    told = held(model, toolbox())
    compacted = told.of(Compacted)[0]
    assert compacted.summary == "Notes: five listings."
    assert compacted.answer is not None
    assert told.ending.kind == "completed"
    last = model.heard[-1].messages
    assert [message.role for message in last[:4]] == ["system", "user", "user", "assistant"]
    assert "five listings" in last[2].text


def test_an_overflow_is_answered_by_shortening_and_asking_again(
    toolbox: MakeToolbox, workspace: Path
) -> None:
    (workspace / "long.txt").write_text("word\n" * 5_000)
    model = Reciter([calls("read", path="long.txt", limit=5000), Overflow("too long"), DONE])
    told = held(model, toolbox())
    assert told.ending.kind == "completed"
    compacted = told.of(Compacted)[0]
    assert compacted.after < compacted.before
    assert "characters cut" in model.heard[-1].messages[-1].parts[0].text


def test_an_overflow_nothing_helps_against_is_raised(toolbox: MakeToolbox) -> None:
    with pytest.raises(Overflow):
        held(Reciter([Overflow("too long")]), toolbox())


def test_an_answer_never_asks_for_more_room_than_the_window_has(toolbox: MakeToolbox) -> None:
    model = Reciter([DONE], window=4_096)
    held(model, toolbox())
    assert model.heard[0].options.max_output_tokens < 4_096


def test_a_session_without_an_order_ends_when_the_model_has_no_more_to_say(
    toolbox: MakeToolbox, workspace: Path
) -> None:
    """Chats, pulses and wakes: no nudges, nothing to hand over."""
    (workspace / "a.txt").write_text("x")
    model = Reciter([says("I look.", [call("read", path="a.txt")]), says("It says x.")])
    told = held(model, toolbox(), Limits(open_ended=True))
    assert told.ending == Ending("text", summary="It says x.")
    assert told.of(Nudged) == []


def test_an_answer_of_a_session_without_an_order_that_was_cut_off_goes_on(
    toolbox: MakeToolbox,
) -> None:
    told = held(
        Reciter([says("Half", stop="length"), says("whole")]), toolbox(), Limits(open_ended=True)
    )
    assert told.ending.succeeded
    assert len(told.of(Nudged)) == 1
