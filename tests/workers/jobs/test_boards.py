"""Runs that work on tasks: where their files begin, and that their end moves the task with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import config
from models.base import db
from models.blobs import Blobs
from models.config import Settings
from models.failures import Failure
from models.runs import Run
from models.swarms import MERGING, Swarm
from tasks import failures
from tasks import runs as run_tasks
from tests.tasks.ordering import task
from tests.web.boards import Crew
from tests.workers.workspaces.served import serving
from tests.workers.workspaces.test_origins import git
from workers.workspaces import Passing, Saved, open_workspace

Work = Callable[..., int]


@pytest.fixture
def neighbours(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("ALLOW_PRIVATE_NETWORKS", "true")
    config.settings.cache_clear()
    yield
    monkeypatch.undo()
    config.settings.cache_clear()


def history(settings: Settings, run_id: str) -> list[str]:
    """The subjects of the commits a run has, the newest first."""
    with db.connection_context():
        run = Run.find(run_id)
    saved = Saved(str(run.workspace_commit), str(run.workspace_snapshot))
    root = settings.data / "workspaces"
    with open_workspace(root, run_id, saved, Blobs(settings.blob_url)) as workspace:
        return workspace.log(50)


def repository(place: Path) -> tuple[Path, Path]:
    """A person's repository with one commit, and the folder that a server shows it by."""
    folder, bare = place / "todo", place / "web" / "todo.git"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "trunk")
    (folder / "main.py").write_text("print('hello')\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "The first line of the project")
    git(folder, "clone", "-q", "--bare", str(folder), str(bare))
    git(bare, "update-server-info")
    return folder, bare.parent


def execute(crew: Crew, task: str, work: Work) -> str:
    run = crew.post(task, "execute-agent", agentId="yukihiro").json["run_id"]
    work()
    assert crew.status(task) == "done", crew.client.get(f"/v1/runs/{run}").json["error"]
    return run


def test_work_begins_with_what_it_depends_on_left_and_goes_on_where_it_ended(
    owner: FlaskClient, settings: Settings, work: Work
):
    crew = Crew(owner)
    first, second = crew.add("First"), crew.add("Second")
    crew.wait(second, first)
    begun = execute(crew, first, work)
    next_one = execute(crew, second, work)
    assert history(settings, next_one)[-1] == history(settings, begun)[-1]
    crew.to(second, "ready")
    again = execute(crew, second, work)
    assert history(settings, again)[1:] == history(settings, next_one)


def test_a_run_of_a_project_with_a_repository_begins_with_its_clone(
    owner: FlaskClient, settings: Settings, work: Work, tmp_path: Path, neighbours: None
):
    folder, web = repository(tmp_path)
    with serving(web) as server:
        crew = Crew(owner, repository=f"{server.url}/todo")
        work()
        status = owner.get(f"{crew.path}/repository/status").json
        assert (status["status"], status["defaultBranch"]) == ("cloned", "trunk")
        assert status["latestCommit"] == git(folder, "rev-parse", "HEAD")
        run = execute(crew, crew.add("One"), work)
        assert history(settings, run)[-1].endswith("The first line of the project")


def test_a_server_that_is_away_as_parts_are_merged_makes_that_late_and_loses_nothing(
    owner: FlaskClient, work: Work, tmp_path: Path, neighbours: None
):
    def merging() -> bool:
        with db.connection_context():
            return Swarm.get_by_id(swarm).state == MERGING

    with serving(repository(tmp_path)[1]) as server:
        crew = Crew(owner, repository=f"{server.url}/todo")
        work()
        shared = crew.add("Two halves")
        halves = [task(key, project_id=crew.id, task_id=shared) for key in "AB"]
        form = {"agent_id": "yukihiro", "tasks": halves}
        swarm = owner.post("/v1/swarm/execute", json=form).json["swarm_id"]
        while not merging():
            work(1)
        server.away = True
        with pytest.raises(Passing, match="503"):
            work()
        assert merging()
        server.away = False
        with db.connection_context():
            Failure.update(due_at=1).execute()
            failures.ask_again()
        work()
    told = owner.get(f"/v1/swarm/{swarm}").json
    (report,) = told["merges"]
    assert (told["status"], len(report["merged"])) == ("completed", 2)
    assert report["commit"]


def test_the_end_of_a_run_and_the_move_of_its_task_commit_together(owner: FlaskClient):
    crew = Crew(owner)
    task = crew.add("One")
    run = crew.post(task, "execute", pipelineId="bugfix").json["run_id"]
    with db.connection_context(), pytest.raises(RuntimeError), db.atomic():
        run_tasks.cancel(run)
        raise RuntimeError("the process dies here")
    assert owner.get(f"/v1/runs/{run}").json["status"] == "pending"
    assert (crew.status(task), crew.task(task)["run_id"]) == ("in_progress", run)
    owner.post(f"/v1/runs/{run}/cancel")
    assert (crew.status(task), crew.task(task)["run_id"]) == ("ready", None)


def test_a_project_is_planned_by_agents_from_its_vision_to_tasks_that_wait_for_each_other(
    owner: FlaskClient, work: Work
):
    crew = Crew(owner)
    owner.put(f"{crew.path}/vision", json={"vision": "Nobody forgets anything"})
    run = owner.post(f"{crew.path}/plan").json["run_id"]
    work()
    told = owner.get(f"/v1/runs/{run}").json
    assert told["status"] == "completed", told["error"]
    assert len(crew.board["tasks"]) > 0
    owner.post(f"/v1/runs/{run}/restart")
    before = len(crew.board["tasks"])
    work()
    assert len(crew.board["tasks"]) == before  # a plan is planted once
