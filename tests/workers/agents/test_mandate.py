"""An act that changes rows is done once, under its lease, however often it is tried."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from models import base
from models.board import Column, Task
from models.errors import Conflict, NotFound
from models.pipelines import Pipeline
from models.principals import Principal
from models.projects import Project, ProjectAgent
from models.runs import Run
from models.steps import Step
from tasks import board
from tasks import runs as commands
from tests.beginning import begun
from tests.conftest import PROJECT
from workers.agents.journal import Journal
from workers.agents.mandate import Mandate
from workers.halting import Stopped
from workers.jobs import steps as jobs

OWNER = Principal("usr_owner", "user")


@pytest.fixture
def mandate(app: Flask) -> Mandate:
    """An agent at the first act of a step of the owner's run, in the shared project."""
    form = {"task": "Mend it", "project_id": PROJECT}
    run = commands.start(OWNER, Pipeline.get_by_id("bugfix"), form)
    waiting = begun(run.id)
    claimed = jobs.claim(waiting.id)
    assert claimed is not None
    until = base.database_ms() + 600_000
    Step.update(leased_until=until).where(Step.id == waiting.id).execute()
    journal = Journal.read(waiting.id)
    for kind in ("opening", "tool"):
        entry = journal.next(kind, "x", "k")
        entry.claim()
    return Mandate(claimed[1], f"{waiting.id}:1")


def adding(title: str) -> Callable[[Run], str]:
    return lambda run: str(board.add(PROJECT, {"title": title}).id)


@pytest.fixture(autouse=True)
def laid_out(database: str) -> None:
    with base.db.connection_context():
        Column(id="col_1", project=PROJECT, name="All", position=0, task_statuses=["ready"]).add()


def test_what_is_done_again_gives_the_same_word_and_changes_nothing(mandate: Mandate):
    first = mandate.once(adding("Once"))
    assert mandate.once(adding("Twice")) == first
    assert [task.title for task in Task.select()] == ["Once"]


def test_the_next_act_is_another_one(mandate: Mandate):
    first = mandate.once(adding("Once"))
    entry = Journal.read(mandate.step.id)
    entry.place = 2
    entry.next("tool", "x", "k").claim()
    mandate.act = f"{mandate.step.id}:2"
    assert mandate.once(adding("Twice")) != first
    assert Task.select().count() == 2


def test_an_act_that_is_refused_changes_nothing_and_may_be_tried_again(mandate: Mandate):
    def refused(run: Run) -> str:
        adding("Never")(run)
        raise Conflict("no")

    with pytest.raises(Conflict):
        mandate.once(refused)
    assert Task.select().count() == 0
    mandate.once(adding("Then"))
    assert Task.select().count() == 1


def test_who_has_lost_the_lease_changes_nothing(mandate: Mandate):
    Step.update({Step.lease_id: "another"}).execute()
    with pytest.raises(Stopped):
        mandate.once(adding("Never"))
    assert Task.select().count() == 0


def test_an_agent_at_work_sees_the_runs_project_and_its_own_as_far_as_the_owner_does(
    mandate: Mandate,
):
    agent = mandate.step.agent_id
    made = [("proj_mine", "usr_owner"), ("proj_joined", "usr_stranger"), ("proj_foreign", "usr_x")]
    for project_id, owner_id in made:
        Project(id=project_id, name=project_id, owner_id=owner_id).add()
    for project_id in ("proj_mine", "proj_foreign"):
        ProjectAgent(project=project_id, agent_id=agent).add()

    def seen(run: Run) -> set[str]:
        return {project.id for project in Project.visible_to(run.caller(agent))}

    run = Run.get()
    assert seen(run) == {PROJECT, "proj_mine"}
    run.owner_id = "usr_stranger"
    assert seen(run) == set()
    run.owner_id = "usr_admin"
    assert seen(run) == {PROJECT, "proj_mine", "proj_foreign"}
    run.owner_id, run.project_id = "anonymous", None
    assert seen(run) == {"proj_mine", "proj_foreign"}


def test_what_an_agent_makes_belongs_to_the_owner_of_its_run(mandate: Mandate):
    run = Run.get()
    assert (mandate.owner(run).id, mandate.agent(run).owner_id) == ("usr_owner", "usr_owner")
    run.owner_id = "usr_gone"
    with pytest.raises(NotFound):
        mandate.owner(run)
