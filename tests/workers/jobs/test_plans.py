"""A plan comes on the board with the end of the run that made it: once, whatever dies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import plans, runs, steps
from models.board import Dependency, Task
from models.config import settings
from models.principals import Principal
from models.runs import Run
from models.steps import Step
from tasks import forks, outcomes
from tasks import runs as commands
from tests.processes.product import scripted
from tests.web.boards import Crew
from tests.workers.jobs.dying import die, expire
from workers.halting import Halt
from workers.jobs import runs as run_jobs
from workers.jobs import steps as jobs
from workers.pipelines.sitting import Sitting

DEATHS = ((1, "before"), (2, "end"))  # the answer is here and not written; all is, but the end

Work = Callable[..., int]


@pytest.fixture
def planning(owner: FlaskClient, work: Work) -> tuple[Crew, Run]:
    """A board and the run that plans it, which nobody has begun with."""
    crew = Crew(owner)
    run = owner.post(f"{crew.path}/plan").json["run_id"]
    run_jobs.advance(run, 1)
    return crew, Run.get_by_id(run)


def waiting(run: Run) -> Step | None:
    found = Step.select().where(Step.run == run.id, Step.state == steps.QUEUED)
    step: Step | None = found.order_by(Step.number).first()
    return step


def planted(crew: Crew) -> tuple[int, int, list[str]]:
    tasks = list(Task.select().where(Task.project == crew.id))
    edges = Dependency.select().where(Dependency.project == crew.id).count()
    return len(tasks), edges, sorted(task.title for task in tasks)


def test_wherever_the_workers_of_a_planning_run_die_its_tasks_come_once(
    planning: tuple[Crew, Run], owner: FlaskClient
):
    crew, run = planning
    while (step := waiting(run)) is not None:
        for place in DEATHS:
            assert die(step.id, *place), place
            expire(step.id)
        assert planted(crew) == (0, 0, [])
        jobs.execute(step.id)
    over = Run.get_by_id(run.id)
    assert over.state == runs.COMPLETED, over.error
    answered = plans.answered(over.outputs)
    count, edges, titles = planted(crew)
    assert count == len(answered.tasks) == over.meta[outcomes.PLANTED] > 0
    assert edges == sum(len(task.needs) for task in answered.tasks)
    assert titles == sorted(task.title for task in answered.tasks)
    commands.restart(run.id)
    run_jobs.advance(run.id, 2)
    while (step := waiting(run)) is not None:
        jobs.execute(step.id)
    assert Run.get_by_id(run.id).state == runs.COMPLETED
    assert planted(crew)[0] == count


def test_a_fork_of_a_planning_run_plants_nothing_besides_it(planning: tuple[Crew, Run], work: Work):
    crew, run = planning
    step = waiting(run)
    assert step is not None
    jobs.execute(step.id)
    forked = forks.fork(Principal("usr_owner", "user"), Run.get_by_id(run.id), {})
    work()
    assert {Run.get_by_id(each.id).state for each in (run, forked)} == {runs.COMPLETED}
    answered = plans.answered(Run.get_by_id(run.id).outputs)
    assert planted(crew)[0] == len(answered.tasks)


def test_the_end_of_the_run_and_its_tasks_commit_together(
    planning: tuple[Crew, Run], monkeypatch: pytest.MonkeyPatch
):
    crew, run = planning
    while len(Step.of(run)) < 4:
        step = waiting(run)
        assert step is not None
        jobs.execute(step.id)
    last = waiting(run)
    assert last is not None
    claimed = jobs.claim(last.id)
    assert claimed is not None
    done = Sitting(settings(), *claimed).work(Halt())

    def dying(*args: Any) -> None:
        kept(*args)
        raise RuntimeError("the process dies here")

    kept = outcomes.plant
    with monkeypatch.context() as patch:
        patch.setattr(outcomes, "plant", dying)
        with pytest.raises(RuntimeError):
            jobs.settle(*claimed, done)
    assert (Run.get_by_id(run.id).state, planted(crew)) == (runs.RUNNING, (0, 0, []))
    expire(last.id)
    jobs.execute(last.id)
    assert Run.get_by_id(run.id).state == runs.COMPLETED
    assert planted(crew)[0] > 0


def test_what_agents_plan_has_its_kind_of_work_and_waits_in_no_circle(
    owner: FlaskClient, work: Work
):
    crew = Crew(owner)
    told = [
        {"key": "A", "title": "Fix the login", "dependencies": ["B"]},
        {"key": "B", "title": "Write the guide", "tags": ["docs"], "dependencies": ["C"]},
        {"key": "C", "title": "Something", "work_type": "refactor", "dependencies": ["A"]},
        {"key": "D", "title": "Someting else", "dependencies": ["Fix the logn", "Nowhere near"]},
    ]
    outputs = {"validated_tasks_json": {"tasks": told}, "final_subtasks_json": {"subtasks": []}}
    context = scripted("", PLAN=[{"outputs": outputs, "tools": False}])
    form = {"context": context, "pipelineId": "planning-agentic"}
    run = owner.post(f"{crew.path}/plan", json=form).json["run_id"]
    work()
    over = owner.get(f"/v1/runs/{run}").json
    assert over["status"] == "completed", over["error"]
    tasks = {task["title"]: task for task in crew.board["tasks"]}
    kinds = {title: task["work_type"] for title, task in tasks.items()}
    assert kinds["Fix the login"] == "bugfix"
    assert (kinds["Write the guide"], kinds["Something"]) == ("docs", "refactor")
    edges = crew.board["dependencies"]
    assert len(edges) == 3  # one of the circle's was left out
    login = tasks["Fix the login"]["id"]
    assert login in {
        edge["from_task_id"] for edge in edges if edge["to_task_id"] == tasks["Someting else"]["id"]
    }
    free = {title for title, task in tasks.items() if task["status"] == "ready"}
    assert len(free) == 1
