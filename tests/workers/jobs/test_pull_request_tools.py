"""Agents that open pull requests: once each, when there is something to show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from models import base, runs
from models.pipelines import Pipeline
from models.principals import Principal
from models.runs import Run
from tasks import pipelines as pipeline_commands
from tasks import runs as commands
from tests.beginning import begun
from tests.processes.product import scripted
from tests.servers.github_pulls import KNOWN
from tests.workers.jobs.dying import die, expire
from tests.workers.jobs.hosting import Hosted
from tests.workers.jobs.test_board_tools import heard, over

OWNER = Principal("usr_owner", "user")
PIPELINE = """
id: show
name: Show
agents: [{id: eric, name: Eric, tools: [write, open_pull_request, get_task_pr_status]}]
steps:
  - {id: DO, agent: eric, input: "{{task_description}}", outputs: [plan], maxRetries: 0}
"""
Work = Callable[..., int]


@pytest.fixture(autouse=True)
def shown(database: str) -> None:
    """A pipeline in which eric writes and shows it."""
    with base.db.connection_context():
        pipeline_commands.put("show", PIPELINE)


def plays(*calls: tuple[str, dict[str, Any]]) -> str:
    told = [{"name": name, "arguments": arguments} for name, arguments in calls]
    return scripted("Do it", DO=[{"calls": told}])


def test_the_pull_request_of_ones_own_work_comes_when_that_has_been_pushed(
    todo: Hosted, work: Work
):
    wanted = {"title": "Add the login", "body": "It logs in."}
    told = plays(("write", {"path": "a.py", "content": "1"}), ("open_pull_request", wanted))
    task = todo.crew.add("One", description=told)
    run_id = todo.crew.post(task, "execute", pipelineId="show").json["run_id"]
    work()
    with base.db.connection_context():
        run = Run.get_by_id(run_id)
        assert run.state == runs.COMPLETED, run.error
        assert "opened then as you asked" in heard(run)[1]
    (made,) = todo.github.pulls.all
    assert (made["title"], made["head"]["ref"]) == ("Add the login", todo.branch(task))
    assert todo.crew.task(task)["metadata"]["pr_number"] == made["number"]
    assert todo.branches()[todo.branch(task)] == todo.commit(run_id)


def test_how_it_does_is_told_and_asking_again_gives_the_same_one(todo: Hosted, work: Work):
    todo.github.pulls.branches[KNOWN] = "b" * 40
    task = todo.crew.add("One", metadata={"git_branch": KNOWN})
    wanted = {"title": "One", "task_id": task, "draft": True}
    asked = ("get_task_pr_status", {"task_id": task})
    other = ("get_task_pr_status", {"task_id": "task_none"})
    with base.db.connection_context():
        form = {
            "task": plays(
                asked, ("open_pull_request", wanted), ("open_pull_request", wanted), asked, other
            ),
            "project_id": todo.crew.id,
        }
        run = commands.start(OWNER, Pipeline.get_by_id("show"), form)
    work()
    with base.db.connection_context():
        assert over(run).state == runs.COMPLETED, over(run).error
        none, first, second, status, unknown = heard(run)
    assert "has no pull request" in none
    assert first == second
    assert ", a draft: " in first
    assert (status["ci_status"], status["request"]["number"]) == ("none", 7)
    assert "task_none not found" in unknown
    assert todo.github.pulls.opened == 1


@pytest.mark.parametrize("place", [(3, "before"), (3, "after")])
def test_a_worker_that_died_after_opening_it_has_opened_it(
    todo: Hosted, work: Work, place: tuple[int, str]
):
    todo.github.pulls.branches[KNOWN] = "b" * 40
    task = todo.crew.add("One", metadata={"git_branch": KNOWN})
    wanted = {"title": "One", "task_id": task}
    with base.db.connection_context():
        form = {"task": plays(("open_pull_request", wanted)), "project_id": todo.crew.id}
        run = commands.start(OWNER, Pipeline.get_by_id("show"), form)
        step = begun(run.id)
        assert die(step.id, *place)
        assert todo.github.pulls.opened == 1
        expire(step.id)
    work()
    with base.db.connection_context():
        assert over(run).state == runs.COMPLETED, over(run).error
        (answer,) = heard(run)
    assert answer.startswith("Pull request #7 of")
    assert (todo.github.pulls.opened, len(todo.github.pulls.all)) == (1, 1)
    assert todo.crew.task(task)["metadata"]["pr_number"] == 7
