"""What the ledger keeps of answers and messages, and what comes back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import base
from tests.workers.agents.telling import ANY_TEXT, WORDS, answers, messages, parts
from workers.agents import sealing
from workers.agents.events import Answer, Asking
from workers.llm.base import (
    Call,
    Message,
    Options,
    Overflow,
    Reply,
    Result,
    Shape,
    Text,
    Thinking,
    ToolSpec,
    Usage,
)


def kept(row: object) -> object:
    """What the row is after it was written as JSON and read."""
    return json.loads(base.dumps(row))


@given(messages(WORDS))
def test_a_message_comes_back_as_it_was(message: Message) -> None:
    assert sealing.message_of(kept(sealing.message_row(message))) == message


@given(answers(WORDS))
def test_an_answer_comes_back_as_it_was(answer: Answer) -> None:
    assert sealing.answer_of(kept(sealing.answer_row(answer))) == answer


@given(messages(ANY_TEXT))
def test_what_postgres_cannot_store_is_replaced_and_the_rest_stays(message: Message) -> None:
    once = sealing.message_of(kept(sealing.message_row(message)))
    assert sealing.message_row(once) == base.clean(sealing.message_row(message))
    assert sealing.message_of(kept(sealing.message_row(once))) == once


@given(st.builds(Call, ANY_TEXT, ANY_TEXT, ANY_TEXT))
def test_a_call_has_the_same_key_before_and_after_it_was_stored(call: Call) -> None:
    row = kept(sealing.message_row(Message("assistant", (call,))))
    assert sealing.call_key(sealing.message_of(row).calls[0]) == sealing.call_key(call)


@given(ANY_TEXT, st.booleans(), ANY_TEXT)
def test_a_result_answers_the_call_it_is_asked_for(text: str, is_error: bool, name: str) -> None:
    row = kept(sealing.result_row(Result("old", text, is_error), 0.5))
    call = Call("new", name, "{}")
    assert sealing.result_of(row, call) == Result("new", base.clean(text), is_error)


@given(parts(ANY_TEXT))
def test_equal_values_have_equal_digests_whatever_is_in_them(part: object) -> None:
    message = Message("user", (part,))
    row = sealing.message_row(message)
    assert sealing.digest(row) == sealing.digest(dict(reversed(row.items())))


def test_an_overflow_comes_back_as_one() -> None:
    told = sealing.answer_of(kept(sealing.overflow_row("too long")))
    assert isinstance(told, Overflow)
    assert str(told) == "too long"


def test_the_database_gives_back_every_part_of_an_answer(database: str) -> None:
    part = Message(
        "assistant",
        (
            Thinking("Hm.", "c2ln", None),
            Thinking("", None, "cmVk"),
            Text("Ja \N{PILE OF POO} \u2028"),
            Call("call_1", "write", '{"a": "\\u0000", "b": 1e400}', "mark"),
        ),
    )
    usage = Usage(2**31, 7, 6, 5, 4, True)
    answer = Answer(Reply(part, usage, "length", "m", "req"), 0.1 + 0.2, 12)
    with base.db.connection_context():
        text = base.dumps(sealing.answer_row(answer))
        ((row,),) = base.db.execute_sql("SELECT %s::jsonb", (text,)).fetchall()
    assert sealing.answer_of(row) == answer


@pytest.mark.parametrize(
    "other",
    [
        Asking((Message("user", (Text("b"),)),), (), Options()),
        Asking((Message("user", (Text("a"),)),), (ToolSpec("t", "", {}),), Options()),
        Asking((Message("user", (Text("a"),)),), (), Options(temperature=0.5)),
        Asking((Message("user", (Text("a"),)),), (), Options(shape=Shape("s", {}))),
    ],
)
def test_whatever_else_is_asked_has_another_key(other: Asking) -> None:
    asking = Asking((Message("user", (Text("a"),)),), (), Options())
    assert sealing.question_key(asking) != sealing.question_key(other)
