"""Strategies for whatever models and tools may say."""

from __future__ import annotations

from hypothesis import strategies as st

from models.base import clean
from workers.agents.events import Answer
from workers.llm.base import Call, Message, Part, Reply, Result, Text, Thinking, Usage

COUNTS = st.integers(0, 2**31 - 1)
ANY_TEXT = st.text(st.characters(), max_size=40)  # with NUL and lone surrogates
WORDS = ANY_TEXT.map(clean)  # as Postgres can keep it


def parts(words: st.SearchStrategy[str]) -> st.SearchStrategy[Part]:
    maybe = st.none() | words
    return st.one_of(
        st.builds(Text, words),
        st.builds(Thinking, words, maybe, maybe),
        st.builds(Call, words, words, words, maybe),
        st.builds(Result, words, words, st.booleans()),
    )


def messages(words: st.SearchStrategy[str]) -> st.SearchStrategy[Message]:
    roles = st.sampled_from(["system", "user", "assistant", "tool"])
    return st.builds(Message, roles, st.lists(parts(words), max_size=5).map(tuple))


def answers(words: st.SearchStrategy[str]) -> st.SearchStrategy[Answer]:
    usage = st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, st.booleans())
    stops = st.sampled_from(["end", "calls", "length"])
    reply = st.builds(Reply, messages(words), usage, stops, words, st.none() | words)
    return st.builds(Answer, reply, st.floats(0, 1e6), COUNTS)
