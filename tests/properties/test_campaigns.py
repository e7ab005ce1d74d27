"""The fault runner judges the product; here its own judgement is put to the test."""

from __future__ import annotations

import time
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.processes.chaos import mind, schedule
from tests.processes.chaos.followers import Seen, frames_of
from tests.processes.chaos.judging import asked_though_known, begun_anew, last_signs
from tests.processes.chaos.load import draw
from tests.processes.chaos.mind import COUNTED
from tests.processes.chaos.stage import Outages, settled
from tests.processes.chaos.verdict import AMID_GOAL, MUST_BE_EMPTY, Verdict, quantile
from tests.processes.chaos.watching import GIVEN_UP, Lease, Watch
from web import frames

NAMES = [f"F{number:02}" for number in range(1, 13)]
SEEDS = st.integers(0, 10**6)
BASH = [{"function": {"name": "bash"}}]
LOST, UNKNOWN, FAILED, DONE = "nothing came back", "outcome unknown", "exit code 1", COUNTED


@given(SEEDS, st.integers(0, 100))
def test_the_same_seed_gives_the_same_schedule(seed: int, faults: int) -> None:
    planned = schedule.plan(seed, faults, NAMES)
    assert planned == schedule.plan(seed, faults, list(reversed(NAMES)))
    assert len(planned) == faults
    times = [0.0, *(each.at for each in planned)]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(schedule.SHORTEST - 0.002 <= gap <= schedule.LONGEST + 0.002 for gap in gaps)
    assert draw(seed, faults) == draw(seed, faults)


@given(SEEDS, st.integers(1, 100))
def test_no_fault_comes_again_before_every_other_has_come(seed: int, faults: int) -> None:
    counted = Counter(planned.fault for planned in schedule.plan(seed, faults, NAMES))
    numbers = [counted[name] for name in NAMES]
    assert max(numbers) - min(numbers) <= 1


@given(SEEDS, st.lists(st.sampled_from([LOST, UNKNOWN, FAILED, DONE]), max_size=20))
def test_an_agent_sees_to_it_that_each_act_happens_and_repeats_none(
    number: int, fortunes: list[str]
) -> None:
    """Whatever is told of an act: `LOST` and `UNKNOWN` may mean that it happened or not."""
    brief = f"Run run_{number} · step S1 · visit 1 · retry 0 · execution 1\n\nDo chaos-000001-1"
    messages: list[dict[str, Any]] = [{"role": "user", "content": brief}]
    happened: Counter[str] = Counter()
    for turn in range(len(fortunes) + mind.MOST_ACTS + 1):
        body = {"messages": messages, "tools": BASH}
        scene = mind.scene_of(body)
        assert scene is not None
        answer = mind.reply(scene, body, 80, happened.__contains__)
        names = [name for name, _ in answer.calls]
        if "complete" in names:
            break
        assert names[-1] == "bash"
        fortune = fortunes[turn] if turn < len(fortunes) else DONE
        key = mind.ACT.search(answer.calls[-1][1])
        assert key
        if fortune == DONE or (fortune != FAILED and turn % 2 == 0):
            happened[key[1]] += 1
        messages += spoken(answer.calls, fortune)
    assert happened == dict.fromkeys(mind.acts_of(scene), 1)


def spoken(calls: tuple[tuple[str, str], ...], fortune: str) -> list[dict[str, Any]]:
    """An answer with calls and what its last one came to, as messages on the wire."""
    wired = [
        {"id": f"call_{place}", "function": {"name": name, "arguments": arguments}}
        for place, (name, arguments) in enumerate(calls)
    ]
    told = [{"role": "tool", "tool_call_id": call["id"], "content": fortune} for call in wired]
    return [{"role": "assistant", "tool_calls": wired}, *told]


@given(st.lists(st.integers(1, 60), max_size=30))
def test_only_whole_frames_are_taken_wherever_the_stream_is_cut(sizes: list[int]) -> None:
    stream = b"".join(frames.frame({"n": n, "text": "ä🌍"}, str(n)) for n in range(1, 9))
    pieces, place = [], 0
    for size in sizes:
        pieces.append(stream[place : place + size])
        place += size
    taken = [int(number) for number, _, _ in frames_of(iter(pieces))]
    assert taken == list(range(1, stream[:place].count(b"\n\n") + 1))


@given(st.lists(st.integers(1, 6), max_size=8))
def test_gaps_and_doubles_are_seen(numbers: list[int]) -> None:
    seen = Seen(draw(1, 1))
    for number in numbers:
        seen.take(f"{seen.last}.5-0")  # words between the events count for nothing
        seen.take(str(number))
    flawless = numbers == list(range(1, len(numbers) + 1))
    assert flawless == (not seen.gaps and not seen.doubles)


@given(st.sampled_from(MUST_BE_EMPTY))
def test_one_fault_of_any_kind_fails_the_campaign(name: str) -> None:
    verdict = Verdict(recoveries=[1.0, 2.0])
    assert verdict.passed
    assert verdict.line().endswith("PASS")
    getattr(verdict, name).append("something")
    assert verdict.line().endswith("FAIL")


def test_takeovers_that_come_late_or_that_nobody_saw_fail_the_campaign() -> None:
    assert not Verdict(recoveries=[5.5]).passed
    assert not Verdict(recoveries=[3.5, 3.5, 1.0]).passed
    assert not Verdict(compound=[AMID_GOAL + 0.1]).passed
    assert not Verdict(drains=[20.1]).passed
    assert not Verdict(kills=1).passed
    assert Verdict(kills=1, compound=[4.0]).passed


def test_a_step_that_nobody_takes_over_counts_as_taken_over_late() -> None:
    watch = Watch(connect=lambda: pytest.fail("not needed"), observe=lambda states: None)
    killed = time.time()
    watch.worker_lost(killed)
    held = {"exec_1": Lease("lease", until=0, queue="agents")}
    for later in (1, 2, GIVEN_UP + 1):
        watch.compare(held, killed + later, cursor=None)
    assert [recovery.seconds > GIVEN_UP for recovery in watch.recoveries] == [True]


def test_what_executors_do_is_done_by_their_swarm() -> None:
    executors = [("swarm_1", "pulse_exec_1"), ("swarm_1", "pulse_exec_2")]
    calls = {"pulse_exec_1": [1.0, 9.0], "run_1": [5.0]}
    signs = last_signs({"pulse_exec_2": 3.0, "run_1": 6.0}, calls, executors)
    assert (signs["swarm_1"], signs["run_1"]) == (9.0, 6.0)


def test_an_answer_that_was_written_down_may_not_be_asked_for_again() -> None:
    asked, sealed, asked_again = 1.0, 2.0, 3.0  # that it was sealed once more is no excuse
    assert len(asked_though_known([asked, asked_again], sealed)) == 1
    assert asked_though_known([asked, 1.5], sealed) == []  # in flight
    assert asked_though_known([asked, asked_again], None) == []


@pytest.mark.parametrize(
    ("at", "excused"), [(95.0, False), (101.0, True), (133.9, True), (134.1, False)]
)
def test_a_step_begun_anew_is_a_fault_but_for_want_of_files_at_that_time(
    at: float, excused: bool
) -> None:
    full = Outages([(100.0, 104.0)])
    lost_files = ("run_1", "S1", 1, "Workspace setup failed: No such file or directory", at)
    timed_out = ("run_1", "S1", 1, "timed out after 120 s", at)
    assert (list(begun_anew([lost_files], full)) == []) == excused
    assert len(list(begun_anew([timed_out], full))) == 1
    assert len(list(begun_anew([lost_files], Outages()))) == 1


SPANS = st.lists(st.tuples(st.floats(0, 50), st.floats(0, 10)), max_size=5)


@given(st.floats(0, 50), SPANS)
def test_what_may_take_seconds_has_them_undisturbed(start: float, outages: list[Any]) -> None:
    spans = [(began, began + lasted) for began, lasted in outages]
    moment = settled(start, 5.0, spans)
    assert moment == start or moment in [ended for _, ended in spans]
    assert not any(began < moment + 5.0 and ended > moment for began, ended in spans)
    if not any(began < start + 5.0 and ended > start for began, ended in spans):
        assert moment == start


@given(st.lists(st.floats(0, 100), min_size=1), st.sampled_from([0.5, 0.99, 1.0]))
def test_a_quantile_is_the_least_value_that_covers_its_share(
    values: list[float], share: float
) -> None:
    found = quantile(values, share)
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values)


def test_what_a_call_is_counted_by_can_be_read_back() -> None:
    brief = "Run run_1 · step S1 · visit 2 · retry 3 · execution 4\n\nchaos-attempt=2"
    scene = mind.scene_of({"messages": [{"role": "user", "content": brief}]})
    assert scene is not None
    assert scene.key == "run_1:S1:2.2.3.4:0"
