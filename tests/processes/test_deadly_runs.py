"""Runs that kill whatever works on them, again and again, among harmless ones."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import run_sql
from tests.processes.durability import MODEL, Stage, staged
from tests.processes.product import until
from tests.servers.provider import Received

# Workers that died in the tests before would speak for whoever is to blame here.
FORGET = "DELETE FROM processes"  # who lives writes itself down again


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("durable")) as made:
        yield made


@pytest.fixture(autouse=True)
def reset(stage: Stage) -> Iterator[None]:
    yield
    stage.reset()


def test_what_cells_are_forked_from_has_imported_what_the_provider_wants(stage: Stage) -> None:
    """`jiter` comes with openai alone; no step has been worked on that would have imported it."""

    def forked() -> list[str]:
        worker = stage.product.processes["agents"].pid
        children = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
        return [Path(f"/proc/{child}/maps").read_text() for child in children]

    until(lambda: any("jiter" in mapped for mapped in forked()), 30)


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
        name, pid = self.stage.hear(received)
        if "Run the deadly" in str(received.body["messages"]) and pid:
            self.victims.append(pid)
            self.strike(name, pid)

    def quarantined(self) -> str:
        """Wait for that, with workers started again as they die; gives the reason."""

        def over() -> bool:
            for name in ("agents", "agents-2"):
                if self.stage.product.processes[name].poll() is not None:
                    self.stage.product.processes.pop(name).wait()
                    self.stage.product.start(name)
            status = self.stage.product.get(f"/runs/{self.run}")["status"]
            return bool(status in {"failed", "completed"})

        until(over, 180, 0.1)
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
    left: list[int] = []

    def strike(worker: str, pid: int) -> None:
        killed = stage.product.processes[worker].pid
        os.kill(killed, signal.SIGKILL)
        if pid != killed:
            left.append(pid)
            time.sleep(1)  # an answer that comes before its end may still be kept

    deadly = Deadly(stage, strike)
    assert "6 times" in deadly.quarantined()
    assert len(set(deadly.victims)) == 6
    assert len(left) == 4
    until(lambda: not any(map(runs, left)), 5)


def runs(pid: int) -> bool:
    """Whether the process lives: one that nobody has buried yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
