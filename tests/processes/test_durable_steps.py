"""Steps whose workers are killed, stopped and told to go, on the whole product."""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import run_sql
from tests.contracts.test_sandboxes import gone
from tests.processes.agents_at_work import call
from tests.processes.chaos.callers import caller_and_ancestor
from tests.processes.product import COMMANDS, Product, product, until
from tests.servers.author import Author
from tests.servers.provider import Answer, Received
from workers.boot import GRACE_SECONDS

MODEL = "openai/gpt-5.2"
STEP = """
id: {id}
name: {id}
agents: [{{id: yukihiro, name: Yukihiro}}]
steps:
  - id: DO
    agent: yukihiro
    input: "Do it: {{{{task_description}}}}"
    outputs: [answer]
    maxRetries: 0
    timeoutSeconds: 900
"""
LINES = (
    Answer(text=("One.",), calls=(call("write", path="a.txt", content="one"),)),
    Answer(calls=(call("bash", command="echo x >> count.txt; sleep 1.5; cat count.txt"),)),
    Answer(text=("Two.",), calls=(call("bash", command="echo y >> count.txt"),)),
    Answer(calls=(call("complete", outputs={"answer": "42"}, summary="It is done"),)),
)
DONE = "x\ny\n"
# Workers that died in the tests before would speak for whoever is to blame here.
FORGET = "DELETE FROM processes"  # who lives writes itself down again
GOES_ON = 5.0  # seconds, at most, from the death of a worker to where another one goes on


@dataclass
class Stage:
    """The product with two workers for agents, and the model that they ask."""

    product: Product
    author: Author
    workers: list[str] = field(default_factory=list)  # who asked for each answer, by name

    def start(self) -> str:
        """Ask for a run; gives its id."""
        self.author.requests.clear()
        self.author.times.clear()
        self.author.asked.clear()
        return self.product.run("durable", "x", model_override=MODEL)

    def hear(self, received: Received) -> int:
        """Write down which worker asks; gives the process that does, itself or one of its own."""
        server = int(self.author.url.rpartition(":")[2])
        names = {
            process.pid: name
            for name, process in self.product.processes.items()
            if name.startswith("agents")
        }
        pid, worker = caller_and_ancestor(received.port, server, names) or (0, 0)
        self.workers.append(names.get(worker, "nobody"))
        return pid

    def told(self, run: str, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.product.events(run) if event["type"] == kind]

    def finished(self, run: str) -> dict[str, Any]:
        """The run, done as if nothing had happened."""
        ended = self.product.ended(run)
        assert (ended["status"], ended["error"]) == ("completed", None)
        assert ended["outputs"] == {"answer": "42"}
        calls = self.product.get("/llm-calls", run_id=run)["calls"]
        assert len(calls) == len(LINES)
        assert len(self.told(run, "step_complete")) == 1
        assert self.numbers(run) == list(range(1, len(self.numbers(run)) + 1))
        assert self.counted(run) == DONE
        return ended

    def numbers(self, run: str) -> list[int]:
        with self.product.client.stream(
            "GET", f"/v1/events/stream?run_id={run}&since=0"
        ) as followed:
            seqs = []
            for line in followed.iter_lines():
                if line.startswith("event: end"):
                    return seqs
                if line.startswith("id: "):
                    seqs.append(int(line.removeprefix("id: ").rpartition(":")[2]))
        return seqs

    def counted(self, run: str) -> str:
        """The file that the commands wrote, where the run was last worked on."""
        root = self.product.folder / "data" / "workspaces"
        found = root.glob(f"{run}*/tree/count.txt")
        return max(found, key=lambda path: path.stat().st_mtime_ns).read_text()

    def began(self, run: str, executions: int) -> float:
        """When (s) the step was begun for the `executions`-th time."""
        until(lambda: len(self.told(run, "step_started")) >= executions, 15, 0.02)
        return float(self.told(run, "step_started")[executions - 1]["timestamp"]) / 1000


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("durable")
    with Author(*LINES) as author:
        keys = {"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": f"{author.url}/v1"}
        with product(folder, *COMMANDS, "agents-2", **keys) as running:
            put(running, "durable")
            made = Stage(running, author)
            author.hears = made.hear
            yield made


@pytest.fixture(autouse=True)
def reset(stage: Stage) -> Iterator[None]:
    """Every test finds both workers and a model that hangs nowhere."""
    yield
    stage.author.hanging.clear()
    stage.author.hears = stage.hear
    stage.author.lines = LINES
    missing = {"agents", "agents-2"} - set(stage.product.processes)
    if missing:
        stage.product.start(*missing)
        stage.product.ready()


def put(running: Product, name: str) -> None:
    text = STEP.format(id=name)
    running.client.put(f"/v1/pipelines/{name}", json={"yaml_content": text}).raise_for_status()


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


@pytest.mark.parametrize("order", ["cancel", "pause?mode=now"])
def test_a_running_command_is_stopped_within_seconds(stage: Stage, order: str) -> None:
    mark = f"6{random.randrange(10**6):06}.25"
    stage.author.lines = (Answer(calls=(call("bash", command=f"sleep {mark}", timeout=3000),)),)
    run = stage.start()
    until(lambda: stage.told(run, "tool_call_start"), 20)
    began = time.monotonic()
    stage.product.post(f"/runs/{run}/{order}")
    until(lambda: gone(mark), 10)
    assert time.monotonic() - began < 5
    assert len(stage.author.requests) == 1
    if stage.product.get(f"/runs/{run}")["status"] == "paused":
        stage.product.post(f"/runs/{run}/cancel")


@pytest.mark.parametrize("order", ["cancel", "pause?mode=now"])
def test_a_silent_stream_is_left_within_seconds(stage: Stage, order: str) -> None:
    stage.author.hanging = {1}
    stage.author.hung_up.clear()
    run = stage.start()
    assert stage.author.asked.wait(20)
    stage.product.post(f"/runs/{run}/{order}")
    assert stage.author.hung_up.wait(5)
    if stage.product.get(f"/runs/{run}")["status"] == "paused":
        stage.product.post(f"/runs/{run}/resume")
        stage.finished(run)
        assert stage.author.turns == [0, 1, 1, 2, 3]


@dataclass
class Deadly:
    """A run that ends what asks the model in its name, as `strike` does it, among harmless ones."""

    stage: Stage
    strike: Callable[[str, int], object]  # told the worker's name, and the process that asks
    victims: list[int] = field(default_factory=list)  # those processes

    def __post_init__(self) -> None:
        run_sql(self.stage.product.environment["DATABASE_URL"], FORGET)
        self.stage.author.hears = self._hear
        self.stage.author.requests.clear()
        self.run = self._ask("Run the deadly thing")
        self.others = [self._ask("x") for _ in range(6)]

    def _ask(self, task: str) -> str:
        return self.stage.product.run("durable", task, model_override=MODEL)

    def _hear(self, received: Received) -> None:
        pid = self.stage.hear(received)
        if "Run the deadly" in str(received.body["messages"]):
            self.victims.append(pid)
            self.strike(self.stage.workers[-1], pid)

    def quarantined(self) -> str:
        """Wait for that, with workers started again as they die; gives the reason."""

        def over() -> bool:
            for name in ("agents", "agents-2"):
                if self.stage.product.processes[name].poll() is not None:
                    self.stage.product.processes.pop(name).wait()
                    self.stage.product.start(name)
            status = self.stage.product.get(f"/runs/{self.run}")["status"]
            return bool(status in {"failed", "completed"})

        until(over, 90, 0.1)
        ended = self.stage.product.get(f"/runs/{self.run}")
        assert ended["status"] == "failed"
        failures = self.stage.told(self.run, "run_failed")
        assert [failure["quarantined"] for failure in failures] == [True]
        over()
        for run in self.others:
            self.stage.finished(run)
        return str(ended["error"])


def test_a_run_that_kills_whole_workers_six_times_is_quarantined_and_others_finish(
    stage: Stage,
) -> None:
    def kill(worker: str, pid: int) -> None:
        os.killpg(stage.product.processes[worker].pid, signal.SIGKILL)

    deadly = Deadly(stage, kill)
    assert "its worker was lost, 6 times at the same point of step DO" in deadly.quarantined()
    assert len(deadly.victims) == 6


def test_the_third_time_it_kills_a_process_of_its_own_and_harms_nobody(stage: Stage) -> None:
    killed: list[bool] = []  # whether it was the worker itself

    def strike(worker: str, pid: int) -> None:
        killed.append(pid == stage.product.processes[worker].pid)
        os.kill(pid, signal.SIGSEGV)

    error = Deadly(stage, strike).quarantined()
    assert "its worker was lost, 3 times at the same point of step DO" in error
    assert "its own process (Segmentation fault)" in error
    assert killed == [True, True, False]


def test_a_worker_that_is_killed_alone_leaves_no_process_of_a_step_behind(stage: Stage) -> None:
    def strike(worker: str, pid: int) -> None:
        killed = stage.product.processes[worker].pid
        os.kill(killed, signal.SIGKILL)
        if pid != killed:
            until(lambda: not Path(f"/proc/{pid}").exists(), 5)

    deadly = Deadly(stage, strike)
    assert "6 times" in deadly.quarantined()
    assert len(set(deadly.victims)) == 6
