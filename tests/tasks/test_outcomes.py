"""A task that several executors of a swarm work on: it moves once, when all of them are done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import invariants
from models.base import db
from models.projects import Project
from tasks import runs, swarms
from tests.tasks.ordering import task
from tests.web.boards import Crew

Work = Callable[..., int]


class Halves:
    """A task of a board in two halves, of which the second waits for the first."""

    def __init__(self, crew: Crew, work: Work, **second: Any) -> None:
        self.crew, self.work = crew, work
        self.task, self.later = crew.add("Two halves"), crew.add("Later")
        crew.wait(self.later, self.task)
        about = {"project_id": crew.id, "task_id": self.task}
        parts = [task("A", **about), task("B", "A", **about, **second)]
        form = {"agent_id": "yukihiro", "tasks": parts}
        self.swarm = crew.client.post("/v1/swarm/execute", json=form).json["swarm_id"]
        while self.parts[0]["status"] != "completed":
            work(1)
        self.first = self.parts[0]["run_id"]

    @property
    def parts(self) -> list[dict[str, Any]]:
        return self.crew.client.get(f"/v1/swarm/{self.swarm}/tasks").json

    @property
    def standing(self) -> tuple[str, str | None, str]:
        """The task's status, which run has it, and the status of what waits for it."""
        shown = self.crew.task(self.task)
        return shown["status"], shown["run_id"], self.crew.status(self.later)

    def cancel(self) -> None:
        assert self.crew.client.post(f"/v1/swarm/{self.swarm}/cancel").status_code == 200

    def restart_first(self) -> None:
        answer = self.crew.client.post(f"/v1/runs/{self.first}/restart")
        assert answer.status_code == 200, answer.text


@pytest.fixture
def crew(owner: FlaskClient) -> Crew:
    return Crew(owner)


def test_what_is_done_by_half_is_not_done(crew: Crew, work: Work):
    halves = Halves(crew, work)
    assert halves.standing == ("in_progress", halves.first, "backlog")
    with db.connection_context():
        broken = {each.invariant for each in invariants.breaches(0)}
    assert "a task that a run works on has a run that is at work" not in broken
    work()
    assert halves.standing == ("done", None, "ready")
    assert [each["status"] for each in crew.task(halves.task)["run_history"]] == ["completed"]


def test_a_second_half_that_fails_fails_the_whole(crew: Crew, work: Work):
    halves = Halves(crew, work, does={"fail": "no such thing"})
    work()
    assert halves.standing == ("failed", None, "blocked")


def test_the_end_of_a_swarm_and_the_move_of_its_task_commit_together(crew: Crew, work: Work):
    halves = Halves(crew, work)
    with db.connection_context(), pytest.raises(RuntimeError), db.atomic():
        swarms.cancel(halves.swarm)
        raise RuntimeError("the process dies here")
    assert halves.standing == ("in_progress", halves.first, "backlog")
    halves.cancel()
    assert halves.standing == ("ready", None, "backlog")


def test_a_half_that_is_done_again_keeps_the_task_beyond_the_end_of_its_swarm(
    crew: Crew, work: Work
):
    halves = Halves(crew, work)
    halves.restart_first()
    halves.cancel()
    assert halves.standing == ("in_progress", halves.first, "backlog")
    work()
    assert halves.standing == ("done", None, "ready")


def test_a_half_whose_run_was_deleted_moves_with_its_swarm(crew: Crew, work: Work):
    halves = Halves(crew, work)
    crew.client.delete(f"/v1/runs/{halves.first}")
    work()
    assert halves.standing == ("done", None, "ready")


def test_a_half_and_its_swarm_that_end_at_once_leave_the_task_to_nobody(crew: Crew, work: Work):
    halves = Halves(crew, work)
    halves.restart_first()

    def end(cancel: Callable[[str], object], what: str) -> None:
        with db.connection_context():
            cancel(what)

    ends = [(runs.cancel, halves.first), (swarms.cancel, halves.swarm)]
    ending = [threading.Thread(target=end, args=each) for each in ends]
    with db.connection_context(), db.atomic():
        Project.locked(crew.id)
        for each in ending:
            each.start()
        while _waiting() < len(ending):
            time.sleep(0.01)
    for each in ending:
        each.join()
    assert halves.standing == ("ready", None, "backlog")


def _waiting() -> int:
    """How many wait for a lock."""
    text = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"
    return int(db.execute_sql(text).fetchone()[0])
