"""Steps whose workers are killed, stopped and told to go, on the whole product."""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from collections.abc import Callable, Iterator

import pytest

from tests.contracts.test_sandboxes import processes_with
from tests.processes.agents_at_work import call, finish
from tests.processes.durability import LINES, Stage, staged
from tests.processes.product import until
from tests.servers.provider import Answer
from workers.boot import GRACE_SECONDS

GOES_ON = 5.0  # seconds, at most, from the death of a worker to where another one goes on
STOPS = 5.0  # seconds, at most, from an order to where nothing works on any more


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("durable")) as made:
        yield made


@pytest.fixture(autouse=True)
def reset(stage: Stage) -> Iterator[None]:
    yield
    stage.reset()


def in_a_model_call(stage: Stage, run: str) -> str:
    assert stage.author.asked.wait(20)
    return stage.workers[-1]


def in_a_tool(stage: Stage, run: str) -> str:
    until(lambda: len(stage.told(run, "tool_call_start")) >= 2, 20, 0.02)
    return stage.workers[-1]


def after_the_last_answer(stage: Stage, run: str) -> str:
    until(lambda: len(stage.author.turns) == len(LINES), 20, 0.001)
    name = stage.workers[-1]
    time.sleep(random.uniform(0, 0.08))
    return name


# the turns that may be asked for twice: the call under way, or an answer that nobody had sealed
ALLOWED = {in_a_model_call: ([2],), in_a_tool: ([],), after_the_last_answer: ([], [len(LINES) - 1])}


@pytest.mark.parametrize(
    ("place", "turn"), [(in_a_model_call, 2), (in_a_tool, None), (after_the_last_answer, None)]
)
def test_another_worker_goes_on_within_seconds_where_a_killed_one_was(
    stage: Stage,
    place: Callable[[Stage, str], str],
    turn: int | None,
    record_property: Callable[[str, str], None],
) -> None:
    taken = []
    for _ in range(5):
        stage.author.hanging = set() if turn is None else {turn}
        run = stage.start()
        name = place(stage, run)
        stage.product.kill(name)
        killed = time.time()
        stage.product.start(name)
        stage.finished(run)
        starts = stage.told(run, "step_started")
        if len(starts) > 1:
            taken.append(stage.began(run, 2) - killed)
        repeated = list(stage.author.turns)
        for asked in range(len(LINES)):
            repeated.remove(asked)
        assert repeated in ALLOWED[place]
        stage.product.ready()
    if taken:
        shown = ", ".join(f"{seconds:.2f}" for seconds in sorted(taken))
        record_property(place.__name__, f"median {statistics.median(taken):.2f} s of {shown}")
        assert max(taken) < GOES_ON


@pytest.mark.parametrize(("place", "turn"), [(in_a_model_call, 2), (in_a_tool, None)])
def test_a_stopped_worker_that_wakes_up_writes_nothing(
    stage: Stage, place: Callable[[Stage, str], str], turn: int | None
) -> None:
    stage.author.hanging = set() if turn is None else {turn}
    run = stage.start()
    name = place(stage, run)
    pid = stage.product.processes[name].pid
    os.kill(pid, signal.SIGSTOP)
    stopped = time.time()
    try:
        assert stage.began(run, 2) - stopped < GOES_ON  # waits for no lock of the sleeper's
        stage.finished(run)
        asked, told = len(stage.author.requests), stage.product.events(run)
        time.sleep(max(0.0, stopped + 10 - time.time()))
    finally:
        os.kill(pid, signal.SIGCONT)
    time.sleep(3)
    assert stage.product.events(run) == told
    assert len(stage.author.requests) == asked
    stage.finished(run)
    assert stage.product.processes[name].poll() is None


@pytest.mark.parametrize(("place", "turn"), [(in_a_model_call, 2), (in_a_tool, None)])
def test_a_worker_told_to_go_drains_and_its_step_goes_on_elsewhere(
    stage: Stage, place: Callable[[Stage, str], str], turn: int | None
) -> None:
    stage.author.hanging = set() if turn is None else {turn}
    run = stage.start()
    name = place(stage, run)
    told = time.time()
    assert stage.product.terminate(name) < 20
    assert stage.began(run, 2) - told < GRACE_SECONDS + GOES_ON
    stage.finished(run)
    assert [start["attempt"] for start in stage.told(run, "step_started")] == [1, 1]
    in_flight = [] if turn is None else [turn]
    assert sorted(stage.author.turns) == sorted([*range(len(LINES)), *in_flight])


def tell(stage: Stage, run: str, order: str, tokens: int | None = 1) -> None:
    """Call the run off, or limit it to less than it has spent already."""
    if order == "budget":
        form = {"budget_tokens": tokens}
        stage.product.client.put(f"/v1/runs/{run}/budget", json=form).raise_for_status()
    else:
        stage.product.post(f"/runs/{run}/{order}")


def asleep(rest: str) -> bool:
    """Whether a command has come to where it sleeps."""
    return any(line.startswith(rest) for line in processes_with(rest))


def standing(stage: Stage, run: str) -> tuple[str, str | None]:
    """The run's status, and why it is paused if it is."""
    told = stage.product.get(f"/runs/{run}")
    return told["status"], told["pause_reason"]


ORDERS = {
    "cancel": ("cancelled", None),
    "pause?mode=now": ("paused", "asked"),
    "budget": ("paused", "budget_reached"),
}


@pytest.mark.parametrize("order", ORDERS)
def test_a_running_command_is_stopped_within_seconds(stage: Stage, order: str) -> None:
    """Though it heeds no signal that it can refuse, and neither does what it has started."""
    mark = f"6{random.randrange(10**6):06}.25"
    rest = f"sleep {mark}"
    stubborn = f"trap '' TERM INT HUP; {rest} & while :; do {rest}; done"
    stage.author.lines = (Answer(calls=(call("bash", command=stubborn, timeout=3000),)),)
    run = stage.start()
    until(lambda: asleep(rest), 20)
    began = time.monotonic()
    tell(stage, run, order)
    until(lambda: not processes_with(rest), STOPS)
    assert time.monotonic() - began < STOPS
    assert len(stage.author.requests) == 1
    assert standing(stage, run) == ORDERS[order]
    if order != "cancel":
        stage.product.post(f"/runs/{run}/cancel")


def test_a_command_that_the_budget_has_stopped_is_done_once_that_is_raised(stage: Stage) -> None:
    rest = f"sleep 12.{random.randrange(10**9):09}"
    slow = call("bash", command=f"echo x >> count.txt; {rest}; cat count.txt", timeout=60)
    stage.author.lines = (Answer(calls=(slow,)), finish(answer="42"))
    run = stage.start()
    until(lambda: asleep(rest), 20)
    tell(stage, run, "budget")
    until(lambda: not processes_with(rest), STOPS)
    assert standing(stage, run) == ORDERS["budget"]
    assert stage.told(run, "tool_call_end") == []
    tell(stage, run, "budget", 10_000_000)
    stage.product.post(f"/runs/{run}/resume")
    ended = stage.product.ended(run)
    assert (ended["status"], ended["error"]) == ("completed", None)
    assert (ended["outputs"], stage.author.turns) == ({"answer": "42"}, [0, 1])
    assert stage.told(run, "tool_call_end")[0]["result"] == "x"
    assert stage.counted(run) == "x\n"
    assert ended["budget"]["spent_tokens"] > 1


@pytest.mark.parametrize("order", ORDERS)
def test_a_silent_stream_is_left_within_seconds(stage: Stage, order: str) -> None:
    stage.author.hanging = {1}
    stage.author.hung_up.clear()
    run = stage.start()
    assert stage.author.asked.wait(20)
    tell(stage, run, order)
    assert stage.author.hung_up.wait(STOPS)
    assert standing(stage, run) == ORDERS[order]
    if order != "cancel":
        tell(stage, run, "budget", None)
        stage.product.post(f"/runs/{run}/resume")
        stage.finished(run)
        assert stage.author.turns == [0, 1, 1, 2, 3]
