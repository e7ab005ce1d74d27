"""A step that broke workers works in a process of its own: what that does to others, and to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from models import base, runs, steps
from models.config import Settings
from models.runs import Run
from models.steps import Step
from tasks import runs as commands
from tests.conftest import run_sql
from tests.environment import environment
from tests.processes.chaos.callers import caller_and_ancestor
from tests.processes.product import until
from tests.servers.author import Author
from tests.servers.provider import Answer, Received
from tests.workers.jobs.dying import call, die, expire
from workers import cells
from workers.jobs import runs as run_jobs
from workers.jobs import steps as jobs
from workers.leases import DRAINING, keeper

pytestmark = pytest.mark.slow  # each worker that needs a cell starts a Python for them first
MODEL = "openai/gpt-5.2"
PIPELINE = """
id: confined
name: confined
agents: [{id: yukihiro, name: Yukihiro}]
steps:
  - {id: DO, agent: yukihiro, input: "Do it", outputs: [answer], maxRetries: 0}
"""
LINES = (
    Answer(calls=(call("write", path="a.txt", content="one"),)),
    Answer(calls=(call("complete", outputs={"answer": "42"}, summary="did"),)),
)


class Watched(Author):
    """A provider that knows which process asks, and may end it."""

    def __init__(self) -> None:
        super().__init__(*LINES)
        self.pids: list[int] = []
        self.deadly = False
        self.hears = self._hear

    def _hear(self, received: Received) -> None:
        self.pids.append(self.caller(received))
        if self.deadly:
            os.kill(self.pids[-1], signal.SIGSEGV)

    def caller(self, received: Received) -> int:
        """The process that asks."""
        server = int(self.url.rpartition(":")[2])
        found = caller_and_ancestor(received.port, server, {os.getpid()})
        assert found is not None
        return found[0]


@pytest.fixture
def provider(settings: Settings, work: Callable[[], int]) -> Iterator[Watched]:
    with (
        Watched() as server,
        environment(OPENAI_API_KEY="key", OPENAI_BASE_URL=f"{server.url}/v1"),
    ):
        yield server


@pytest.fixture
def suspect(admin: FlaskClient, owner: FlaskClient, provider: Watched) -> Step:
    """A step that has lost two workers in its first model call."""
    stored = admin.put("/v1/pipelines/confined", json={"yaml_content": PIPELINE})
    assert stored.status_code == 200, stored.json
    admin.post("/v1/admin/shared-providers", json={"providerId": "openai"})
    body = {"pipeline_id": "confined", "task_description": "x", "model_override": MODEL}
    run_id = owner.post("/v1/runs", json=body).json["id"]
    run_jobs.advance(run_id, 1)
    (step,) = Step.of(Run.get_by_id(run_id))
    for _ in range(steps.MOST_TRIES - 1):
        assert die(step.id, 0, "after")
        expire(step.id)
    provider.pids.clear()
    return of(step)


def of(step: Step) -> Step:
    return Step.get_by_id(step.id)


@contextmanager
def performed(step: Step, gate: threading.Event | None = None) -> Iterator[threading.Thread]:
    """The step's job, done by a thread while the block runs and a little longer.

    With a gate it takes its connection at once and begins when that opens.
    """
    connected = threading.Event()

    def perform() -> None:
        with base.db.connection_context():
            base.database_ms()
            connected.set()
            if gate is None or gate.wait(20):
                jobs.execute(step.id)

    thread = threading.Thread(target=perform)
    thread.start()
    assert connected.wait(20)
    try:
        yield thread
    finally:
        thread.join(40)
    assert not thread.is_alive()


def is_gone(pid: int) -> bool:
    """Whether no such process runs any more."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_it_ends_like_any_other_and_its_process_with_it(suspect: Step, provider: Watched) -> None:
    jobs.execute(suspect.id)
    assert Run.get_by_id(suspect.run_id).outputs == {"answer": "42"}
    (pid,) = set(provider.pids)
    assert pid != os.getpid()
    assert is_gone(pid)


def test_one_that_ends_its_own_process_is_to_blame(suspect: Step, provider: Watched) -> None:
    provider.deadly = True
    jobs.execute(suspect.id)
    run = Run.get_by_id(suspect.run_id)
    assert (run.state, run.quarantined) == (runs.FAILED, True)
    assert run.error == (
        "quarantined: its worker was lost, 3 times at the same point of step DO (model "
        f"{MODEL}); the last one was its own process (Segmentation fault)"
    )


def test_it_stops_when_its_run_is_cancelled(suspect: Step, provider: Watched) -> None:
    provider.hanging = {0}
    with performed(suspect):
        assert provider.asked.wait(20)
        commands.cancel(suspect.run_id)
        (pid,) = provider.pids
        until(lambda: is_gone(pid), 5)
    assert of(suspect).state == steps.CANCELLED


def test_a_worker_that_goes_takes_its_cells_along_and_nobody_is_to_blame(
    suspect: Step, provider: Watched
) -> None:
    provider.hanging = {0}
    with performed(suspect):
        assert provider.asked.wait(20)
        for halt in keeper._halts.values():
            halt.stop(DRAINING)
    assert (of(suspect).state, of(suspect).tries) == (steps.QUEUED, steps.MOST_TRIES - 1)
    jobs.execute(suspect.id)
    assert Run.get_by_id(suspect.run_id).state == runs.COMPLETED


def test_one_that_is_tried_alone_makes_room_for_the_next_once_it_has_come_further(
    suspect: Step, provider: Watched
) -> None:
    while of(suspect).tries < steps.MOST_TOGETHER:
        assert die(suspect.id, 0, "after")
        expire(suspect.id)
    provider.hanging = {1}
    with performed(suspect):
        until(lambda: bool(keeper.alone), 5, 0.01)
        assert provider.asked.wait(20)
        until(lambda: not keeper.alone, 5, 0.01)
        assert of(suspect).state == steps.RUNNING
        commands.cancel(suspect.run_id)


def test_nobody_is_to_blame_when_a_cell_finds_no_database(
    suspect: Step, provider: Watched, database: str
) -> None:
    (mine,) = base.db.execute_sql("SELECT current_database()").fetchone()
    elsewhere, allow = (
        base.renamed(database, "postgres"),
        f"ALTER DATABASE {mine} ALLOW_CONNECTIONS",
    )
    gate = threading.Event()
    with performed(suspect, gate):
        run_sql(elsewhere, f"{allow} false")
        try:
            gate.set()
            time.sleep(2)
            assert provider.pids == []
        finally:
            run_sql(elsewhere, f"{allow} true")
    assert Run.get_by_id(suspect.run_id).state == runs.COMPLETED
    assert len(set(provider.pids)) == 1


def test_it_has_the_time_that_others_left_it(suspect: Step, provider: Watched) -> None:
    """A cell has its deadline from the worker."""
    provider.hanging = {0}
    Step.update(worked_ms=299_000).where(Step.id == suspect.id).execute()
    jobs.execute(suspect.id)
    assert "timed out" in str(of(suspect).error)


def test_it_ends_in_time_even_when_it_stands_still(
    suspect: Step, provider: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells, "STOPPED_SECONDS", 1.0)
    provider.hanging = {0}
    Step.update(worked_ms=290_000).where(Step.id == suspect.id).execute()
    with performed(suspect):
        assert provider.asked.wait(20)
        os.kill(provider.pids[0], signal.SIGSTOP)
    assert "timed out" in str(of(suspect).error)
    until(lambda: is_gone(provider.pids[0]), 5)


def test_what_is_told_to_a_whole_group_of_processes_concerns_the_worker_alone(
    suspect: Step, provider: Watched
) -> None:
    provider.hanging = {0}
    with performed(suspect):
        assert provider.asked.wait(20)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            for pid in (parent_of(provider.pids[0]), provider.pids[0]):
                os.kill(pid, number)
        time.sleep(1)
        assert of(suspect).state == steps.RUNNING
        assert not is_gone(provider.pids[0])
        commands.cancel(suspect.run_id)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_its_commands_can_be_told_to_go_as_usual(suspect: Step, provider: Watched) -> None:
    """Signals that a process ignores are ignored by all that it starts."""
    told = call("bash", command="grep SigIgn /proc/self/status")
    provider.lines = (Answer(calls=(told,)), LINES[1])
    jobs.execute(suspect.id)
    assert Run.get_by_id(suspect.run_id).state == runs.COMPLETED
    (answered,) = [
        message["content"]
        for message in provider.requests[-1].body["messages"]
        if message["role"] == "tool"
    ]
    ignored = int(str(answered).split("SigIgn:")[1].split()[0], 16)
    assert not ignored & (1 << signal.SIGTERM - 1 | 1 << signal.SIGINT - 1)


def test_one_whose_cell_ends_by_itself_is_taken_again_a_little_later(
    suspect: Step, provider: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the machine has no room for it, or other code than its worker's."""
    monkeypatch.setattr(jobs, "work_confined", sys.exit)  # which takes other arguments
    jobs.execute(suspect.id)
    left = of(suspect)
    assert (left.state, left.tries) == (steps.QUEUED, steps.MOST_TRIES - 1)
    assert left.due_at > base.database_ms() - 1_000


def test_without_a_process_to_be_had_it_is_worked_on_as_before(
    suspect: Step, provider: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(cells._context.Process, "start", refused)
    jobs.execute(suspect.id)
    assert Run.get_by_id(suspect.run_id).state == runs.COMPLETED
    assert set(provider.pids) == {os.getpid()}


BEGUN_ANEW = "import workers.nursery, workers.jobs.steps"
FORKED = "from workers import boot, cells; boot.load_performers(); cells.prepare()"


@pytest.mark.parametrize("way", [BEGUN_ANEW, FORKED])
def test_what_it_is_forked_from_has_no_threads(way: str) -> None:
    alone = f"{way}; import os; print(len(os.listdir('/proc/self/task')))"
    told = subprocess.run([sys.executable, "-c", alone], capture_output=True, text=True)
    assert told.stdout == "1\n", told.stderr


def test_what_a_worker_has_forked_for_them_begins_at_once_and_ends_with_it() -> None:
    """Nothing is imported any more, none of the worker's handles are kept."""
    with subprocess.Popen([sys.executable, "-c", NURSERY], stdout=subprocess.PIPE, text=True) as it:
        assert it.stdout is not None
        pid, seconds = it.stdout.readline().split()
        assert float(seconds) < 1
        it.kill()
    until(lambda: is_gone(int(pid)), 5)


def test_nothing_is_imported_for_a_model_any_more_that_was_known_when_the_worker_began() -> None:
    """An SDK alone is 700 modules and a second, in which nobody else gets to work."""
    asked = subprocess.run([sys.executable, "-c", ASKING], capture_output=True, text=True)
    assert len(asked.stdout.split()) == 2, asked.stderr
    assert all(int(imported) < 30 for imported in asked.stdout.split()), asked.stdout


ASKING = f"""
from workers import llm
llm.make_ready(("openai", "anthropic"))
{FORKED}
from tests.workers.jobs import asking
for name in ("{MODEL}", "anthropic/claude-opus-4"):
    cell = cells._context.Process(target=asking.told, args=(name,))
    cell.start()
    cell.join()
"""

NURSERY = f"""
{FORKED}
import time, os
from multiprocessing import forkserver
began = time.monotonic()
cell = cells._context.Process(target=os.getpid)
cell.start()
cell.join()
print(forkserver._forkserver._forkserver_pid, time.monotonic() - began, flush=True)
time.sleep(60)
"""
