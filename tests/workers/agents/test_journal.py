"""Where a conversation stands on its record."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import ledger
from models.ledger import Entry
from workers.agents.journal import Diverged, Journal

KINDS = st.sampled_from([ledger.MODEL, ledger.TOOL])
ACTS = st.lists(st.tuples(KINDS, st.text("ab", min_size=1, max_size=2)), max_size=8)


def entry(seq: int, kind: str, key: str, sealed: bool = True) -> Entry:
    at = 1 if sealed else None
    return Entry(execution_id="exec_1", seq=seq, kind=kind, name=kind, key=key, sealed_at=at)


def journal(acts: list[tuple[str, str]], sealed: int) -> Journal:
    made = [entry(seq, *act, seq < sealed) for seq, act in enumerate(acts)]
    return Journal("exec_1", made)


@given(ACTS, st.integers(0, 8))
def test_the_same_way_gives_the_record_and_then_new_acts(
    acts: list[tuple[str, str]], sealed: int
) -> None:
    record = journal(acts, sealed)
    for seq, (kind, key) in enumerate(acts):
        assert record.ahead
        found = record.next(kind, kind, key)
        assert (found.seq, found.sealed) == (seq, seq < sealed)
    assert not record.ahead
    fresh = record.next(ledger.TOOL, "write", "new")
    assert (fresh.seq, fresh.tries, fresh.sealed) == (len(acts), 0, False)


@given(ACTS.filter(len), st.data())
def test_another_act_than_the_one_on_record_is_another_way(
    acts: list[tuple[str, str]], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(acts) - 1))
    record = journal(acts, len(acts))
    for kind, key in acts[:place]:
        record.next(kind, kind, key)
    with pytest.raises(Diverged) as raised:
        record.next(ledger.TOOL, "tool", "never on record")
    assert raised.value.seq == place


def test_a_question_put_in_other_words_has_the_answer_on_record() -> None:
    record = journal([(ledger.MODEL, "as it was asked")], 1)
    assert record.next(ledger.MODEL, "m", "as it is asked now").sealed


def test_what_an_act_asks_of_others_has_the_same_name_at_each_try() -> None:
    names = set()
    for _ in range(2):
        record = journal([(ledger.TOOL, "a"), (ledger.TOOL, "b")], 1)
        record.next(ledger.TOOL, "t", "a")
        names.add(record.asked_by(record.next(ledger.TOOL, "t", "b")))
    assert names == {"exec_1:1"}


def test_a_record_without_a_sealed_opening_is_none() -> None:
    assert Journal("exec_1").opening is None
    assert Journal("exec_1", [entry(0, ledger.OPENING, "", sealed=False)]).opening is None
    assert Journal("exec_1", [entry(0, ledger.OPENING, "")]).opening is not None


def test_the_files_stood_where_acts_changed_them() -> None:
    changed = entry(1, ledger.TOOL, "a")
    changed.commit, changed.snapshot = "c" * 40, "s" * 64
    record = Journal("exec_1", [entry(0, ledger.OPENING, ""), changed, entry(2, ledger.TOOL, "b")])
    assert [point.commit for point in record.savepoints] == ["c" * 40]
