from __future__ import annotations

from itertools import pairwise

from models.agents import Agent
from models.chats import ChatMessage
from tests.workers.agents.recital import Reciter, call, opening, says
from workers.agents.asking import size
from workers.agents.compaction import (
    EXCHANGES_KEPT,
    SHORT_CHARS,
    Compaction,
    compact,
    is_full,
)
from workers.agents.small_talk import Talk as SmallTalk
from workers.halting import Halt
from workers.llm.base import Message, Overflow, Result

LONG = "line of output\n" * 4_000  # about 15,000 tokens


def history(results: list[str]) -> list[Message]:
    """A conversation with one call per result."""
    talk = list(opening(user="Build it."))
    for number, text in enumerate(results):
        talk.append(says(f"turn {number}", [call("bash", f"c{number}", command="x")]).message)
        talk.append(Message("tool", (Result(f"c{number}", text),)))
    return talk


def paired(messages: list[Message]) -> bool:
    """Whether every result answers a call of the message before it."""
    for before, message in pairwise(messages):
        if message.role == "tool":
            asked = [made.id for made in before.calls]
            if [part.call_id for part in message.parts if isinstance(part, Result)] != asked:
                return False
    return True


def compacted(model: Reciter, messages: list[Message] | tuple, halt: Halt) -> Compaction | None:
    """What comes of compacting, nobody knowing any answer beforehand."""
    talk = compact(model, messages, halt)
    while True:
        try:
            next(talk)
        except StopIteration as done:
            return done.value


def test_a_window_counts_as_full_before_it_is() -> None:
    model = Reciter([], window=100_000)
    assert not is_full(model, 84_999)
    assert is_full(model, 85_000)


def test_old_tool_results_are_shortened_first_and_new_ones_left_whole() -> None:
    model = Reciter([])
    made = compacted(model, history([LONG] * 6), Halt())
    assert made is not None
    lengths = [len(message.parts[0].text) for message in made.messages if message.role == "tool"]
    assert lengths[-2:] == [len(LONG)] * 2
    assert all(length < SHORT_CHARS + 100 for length in lengths[:3])
    assert made.event.after == size(made.messages) < made.event.before
    assert model.heard == []
    assert paired(made.messages)


def test_when_that_frees_too_little_the_model_condenses_the_old_turns() -> None:
    model = Reciter([says("The tests pass; the docs are left.")])
    made = compacted(model, history(["short"] * 10), Halt())
    assert made is not None
    assert made.event.summary == "The tests pass; the docs are left."
    assert [message.role for message in made.messages] == [
        "system", "user", "user", *["assistant", "tool"] * 3,
    ]  # fmt: skip
    assert made.messages[3].text == "turn 7"
    record = model.heard[0].messages[1].text
    assert "turn 0" in record and "turn 6" in record and "turn 7" not in record
    assert model.heard[0].tools == ()
    assert paired(made.messages)


def test_condensing_again_takes_in_the_earlier_notes() -> None:
    first = compacted(Reciter([says("first notes")]), history(["short"] * 6), Halt())
    assert first is not None
    longer = [*first.messages, *history(["short"] * 4)[2:]]
    model = Reciter([says("second notes")])
    second = compacted(model, longer, Halt())
    assert second is not None
    assert "first notes" in model.heard[0].messages[1].text
    assert sum("notes" in message.text for message in second.messages) == 1


def test_notes_that_cannot_be_made_are_replaced_by_a_list_of_calls() -> None:
    made = compacted(Reciter([Overflow("even that is too long")]), history(["short"] * 6), Halt())
    assert made is not None
    assert "- bash" in made.event.summary
    assert made.event.answer is None


def test_nothing_is_promised_where_nothing_can_be_taken_away() -> None:
    assert compacted(Reciter([]), opening(), Halt()) is None
    assert compacted(Reciter([]), history(["short"]), Halt()) is None


def test_notes_of_a_chat_are_condensed_again_only_with_what_came_after_them() -> None:
    def talk(exchanges: int) -> SmallTalk:
        said = [
            ChatMessage(number=number, role=role, content="word " * 200)
            for number, role in enumerate(("user", "assistant") * exchanges, 5)
        ]
        finn, last = Agent(id="finn", name="Finn"), ChatMessage(role="user", content="And now?")
        return SmallTalk(finn, said, last, summary="They spoke of words.", window=1_000)

    assert talk(EXCHANGES_KEPT).condensable() == 0
    longer = talk(EXCHANGES_KEPT + 1)
    assert (longer.condensable(), longer.condensed_up_to()) == (3, 6)
