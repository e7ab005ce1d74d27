"""Agents at work on boards: what their tools find and change, and that each act is done once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unittest.mock import ANY

import pytest
from flask.testing import FlaskClient

from models import base, budgets, ledger, runs
from models.agents import Agent
from models.board import Dependency, Task
from models.llm_calls import LlmCall
from models.pipelines import Pipeline
from models.principals import Principal
from models.projects import Project, ProjectAgent
from models.runs import Run
from models.steps import Step
from tasks import chats
from tasks import pipelines as pipeline_commands
from tasks import runs as commands
from tests.processes.product import scripted
from tests.web.boards import Crew
from tests.workers.jobs.dying import die, expire
from workers.agents.mandate import Mandate
from workers.agents.tools import BOARD, TABLE, Toolbox
from workers.agents.tools.base import Bench
from workers.halting import Stopped
from workers.jobs import runs as run_jobs
from workers.jobs import steps as jobs

OWNER = Principal("usr_owner", "user")
PIPELINE = """
id: board
name: Board
agents: [{{id: eric, name: Eric, tools: [{tools}]}}]
steps:
  - {{id: DO, agent: eric, input: "{{{{task_description}}}}", outputs: [plan], maxRetries: 0}}
"""
DELEGATING = """
id: delegating
name: Delegating
agents: [{id: yukihiro, name: Yukihiro, tools: [spawn_executor]}]
steps:
  - {id: DO, agent: yukihiro, input: "{{task_description}}", outputs: [plan], maxRetries: 0}
"""
Work = Callable[..., int]
Begin = Callable[..., Run]


@pytest.fixture
def begin(database: str) -> Begin:
    """Starts a run of the owner's in which eric calls these tools, all in one reply."""
    with base.db.connection_context():
        text = PIPELINE.format(tools=", ".join(sorted(BOARD)))
        pipeline_commands.put("board", text)

    def start(project: str | None, *calls: tuple[str, dict[str, Any]], **form: Any) -> Run:
        told = [{"name": name, "arguments": arguments} for name, arguments in calls]
        form = {"task": scripted("Plan it", DO=[{"calls": told}]), "project_id": project, **form}
        return commands.start(OWNER, Pipeline.get_by_id("board"), form)

    return start


def heard(run: Run) -> list[Any]:
    """What the tools answered, in order; JSON is read."""
    rows = base.db.execute_sql(
        "SELECT data->>'result' FROM events WHERE run_id = %s AND type = 'tool_call_end'"
        " AND data->>'toolName' <> 'complete' ORDER BY seq",
        (run.id,),
    )
    return [_read(text) for (text,) in rows]


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def over(run: Run) -> Run:
    found: Run = Run.get_by_id(run.id)
    return found


@pytest.fixture
def crew(owner: FlaskClient) -> Crew:
    crew = Crew(owner)
    owner.post(f"{crew.path}/agents", json={"agentId": "eric"})
    return crew


def test_an_agent_plans_takes_and_finishes_work_as_people_would(
    crew: Crew, begin: Begin, work: Work
):
    first, later = crew.add("First", workType="custom"), crew.add("Later", workType="custom")
    run = begin(
        crew.id,
        ("get_ready_tasks", {}),
        ("add_dependency", {"task_id": later, "waits_for_task_id": first}),
        ("claim_task", {"task_id": first}),
        ("transition_task", {"task_id": first, "status": "in_progress", "note": "I begin"}),
        ("comment_task", {"task_id": first, "comment": "It was two lines."}),
        ("transition_task", {"task_id": first, "status": "done"}),
        ("get_task_context", {"task_id": later}),
    )
    work()
    assert over(run).state == runs.COMPLETED, over(run).error
    ready, edge, claim, begun, comment, done, context = heard(run)
    assert [task["id"] for task in ready["ready"]] == [first, later]
    assert edge == {"task_id": later, "waits_for": first, "type": "blocks"}
    assert (claim["status"], claim["branch"]) == ("claimed", f"feat/{first}-first")
    assert (begun["from"], begun["to"]) == ("ready", "in_progress")
    assert comment["commented"] is True
    assert done["to"] == "done"
    assert context["waits_for"][0] == {
        "id": first,
        "title": "First",
        "status": "done",
        "type": "blocks",
    }
    assert (crew.status(first), crew.status(later)) == ("done", "ready")
    task = crew.task(first)
    assert task["assigned_agent"] == "eric"
    notes = [(note["to"], note["note"]) for note in task["metadata"]["transition_notes"]]
    assert notes == [("in_progress", "I begin"), ("in_progress", "It was two lines.")]


def test_an_agent_makes_tasks_parts_and_changes(crew: Crew, begin: Begin, work: Work):
    parent = crew.add("Parent")
    run = begin(
        crew.id,
        ("create_task", {"title": "Fix the login", "priority": "P0", "tags": ["web"]}),
        ("create_task", {"title": "Mine", "for_myself": True}),
        ("create_subtask", {"parent_task_id": parent, "title": "A part"}),
        ("update_task", {"task_id": parent, "title": "Another name", "estimated_hours": 3}),
        ("get_board_columns", {}),
        ("get_project_vision", {}),
        ("get_task_workflow", {"task_id": parent}),
    )
    work()
    made, mine, part, changed, columns, vision, workflow = heard(run)
    assert (made["status"], made["work_type"]) == ("ready", "bugfix")
    assert crew.task(made["task_id"])["priority"] == "P0"
    assert crew.task(mine["task_id"])["assigned_agent"] == "eric"
    assert crew.task(part["task_id"])["parent_task_id"] == parent
    assert changed["changed"] == ["estimated_hours", "title"]
    assert crew.task(parent)["estimated_hours"] == 3
    assert {"id", "name", "statuses", "tasks"} <= columns["columns"][0].keys()
    assert columns["meaning_of_statuses"]["terminal_done"] == ["done"]
    assert "no vision yet" in vision
    assert workflow["has_policy"] is True


def test_an_agent_writes_no_column_that_its_tool_does_not_speak_of(
    crew: Crew, begin: Begin, work: Work
):
    task = crew.add("One")
    before = crew.task(task)
    odd = {"id": "task_mine", "run_id": "run_x", "metadata": {"git_branch": "trunk"}, "colour": 1}
    run = begin(
        crew.id,
        ("update_task", {"task_id": task, "title": "Two", "assigned_agent": "finn", **odd}),
    )
    work()
    (changed,) = heard(run)
    assert changed == {"task_id": task, "changed": ["title"]}
    assert crew.task(task) == {**before, "title": "Two", "updated_at": ANY}


def test_an_agent_gives_back_what_is_its_own_and_nothing_else(crew: Crew, begin: Begin, work: Work):
    mine, other = crew.add("Mine"), crew.add("Other")
    crew.post(other, "claim", agentId="finn")
    begin(
        crew.id,
        ("claim_task", {"task_id": mine}),
        ("update_task", {"task_id": mine, "let_go": True}),
        ("update_task", {"task_id": other, "let_go": True}),
    )
    work()
    assert crew.task(mine)["assigned_agent"] is None
    assert crew.task(other)["assigned_agent"] == "finn"


def test_a_task_that_an_agent_has_executed_belongs_to_the_runs_owner_and_its_budget(
    crew: Crew, begin: Begin, work: Work
):
    task = crew.add("One")
    run = begin(
        crew.id,
        ("execute_task", {"task_id": task, "pipeline_id": "bugfix"}),
        ("execute_task", {"task_id": task, "pipeline_id": "bugfix"}),
        ("get_task_executor_runs", {"task_id": task}),
        ("get_run_history", {"task_id": task}),
    )
    work()
    begun, again, listed, history = heard(run)
    executed = Run.get_by_id(begun["run_id"])
    assert (executed.owner_id, executed.parent_id) == ("usr_owner", run.id)
    assert "works on" in again and "already" in again
    assert [each["id"] for each in listed] == [executed.id]
    assert [each["run_id"] for each in history["runs"]] == [executed.id]
    assert crew.status(task) == "done"


def test_a_run_pays_for_the_executors_of_a_task_that_its_agent_has_executed(
    crew: Crew, begin: Begin, work: Work
):
    pipeline_commands.put("delegating", DELEGATING)
    order = {"project_id": crew.id, "task_id": "T", "execution_prompt": "Look around"}
    play = scripted("One", DO=[{"calls": [{"name": "spawn_executor", "arguments": order}]}])
    task = crew.add("One", description=play)
    execute = ("execute_task", {"task_id": task, "pipeline_id": "delegating"})
    run = begin(crew.id, execute, limit_tokens=10**7)
    work()
    executed = Run.get_by_id(heard(run)[0]["run_id"])
    executor = Run.get(Run.kind == runs.EXECUTOR)
    assert {over(each).state for each in (run, executed, executor)} == {runs.COMPLETED}
    assert executor.payers == [executed.id, run.id]
    calls = LlmCall.select().where(LlmCall.run_id.in_([run.id, executed.id, executor.id]))
    assert len({call.run_id for call in calls}) == 3
    assert budgets.of_run(over(run)).spent_tokens == sum(call.total_tokens for call in calls)


def test_an_agent_whose_run_stands_at_the_end_of_a_long_row_has_no_task_executed(
    crew: Crew, begin: Begin, work: Work
):
    task = crew.add("One")
    run = begin(crew.id, ("execute_task", {"task_id": task, "pipeline_id": "bugfix"}))
    run.put(payers=[f"run_{number}" for number in range(runs.MOST_PAYERS)])
    work()
    assert "asked for one another" in heard(run)[0]
    assert Run.select().count() == 1


def test_what_an_agent_founds_is_its_owners_and_it_leads_it(
    owner: FlaskClient, begin: Begin, work: Work
):
    run = begin(None, ("get_my_projects", {}), ("create_project", {"name": "New"}))
    work()
    none, made = heard(run)
    assert "You work on no project" in none
    project = Project.get_by_id(made["project_id"])
    assert (project.owner_id, project.name) == ("usr_owner", "New")
    assert ProjectAgent.get(ProjectAgent.project == project.id).role == "lead"
    assert owner.get(f"/v1/projects/{project.id}").status_code == 200
    second = begin(None, ("get_my_projects", {}), ("get_ready_tasks", {}))
    work()
    listed, unsaid = heard(second)
    assert [each["id"] for each in listed] == [project.id]
    assert "get_my_projects" in unsaid


def test_an_agent_reaches_no_board_that_the_owner_of_its_run_does_not_see(
    stranger: FlaskClient, admin: FlaskClient, begin: Begin, work: Work
):
    theirs = Crew(stranger)
    admin.post(f"{theirs.path}/agents", json={"agentId": "eric"})
    task = theirs.add("Secret plan")
    there = {"project_id": theirs.id, "task_id": task}
    run = begin(
        None,
        ("get_my_projects", {}),
        ("get_ready_tasks", {"project_id": theirs.id}),
        ("get_task_context", there),
        ("claim_task", there),
        ("create_task", {"project_id": theirs.id, "title": "Mine now"}),
        ("get_task_context", {**there, "project_id": "proj_typo"}),
        ("get_run_history", {"project_id": theirs.id}),
    )
    work()
    answers = heard(run)
    assert "Secret plan" not in json.dumps(answers)
    assert answers[1:5] == [f"Project {theirs.id} not found"] * 4
    assert answers[5] == "Project proj_typo not found"
    assert answers[6] == {"runs": [], "has_more": False}
    assert theirs.task(task)["assigned_agent"] is None
    assert Task.select().count() == 1


def test_what_is_refused_says_what_to_do(crew: Crew, begin: Begin, work: Work):
    task, other = crew.add("One"), crew.add("Other")
    crew.post(other, "claim", agentId="finn")
    run = begin(
        crew.id,
        ("transition_task", {"task_id": task, "status": "shipped"}),
        ("claim_task", {"task_id": other}),
        ("add_dependency", {"task_id": task, "waits_for_task_id": task}),
        ("create_task", {"title": ""}),
        ("create_task", {"title": "x", "priority": "P9"}),
        ("claim_task", {"task_id": "task_gone"}),
    )
    work()
    unknown, taken, itself, untitled, odd, gone = heard(run)
    assert "this board has: backlog" in unknown
    assert taken == f"{other} is already claimed by finn"
    assert itself == "A task cannot depend on itself"
    assert "do not fit (title)" in untitled
    assert "do not fit (priority)" in odd
    assert gone == "Task task_gone not found"
    assert Task.select().count() == 2


def test_executors_have_no_board_and_steps_only_where_they_name_it(database: str):
    bench = Bench(None, None)  # type: ignore[arg-type]
    everything = Toolbox(bench, list(TABLE))
    assert not BOARD & {spec.name for spec in everything.specs}
    assert not BOARD & {spec.name for spec in Toolbox(bench).specs}
    named = Toolbox(bench, ["get_ready_tasks"])
    assert {spec.name for spec in named.specs} == {"get_ready_tasks", "complete", "fail"}


CALLS = (
    ("create_task", {"title": "Once"}),
    ("create_project", {"name": "Once"}),
    ("comment_task", {"comment": "Once"}),
    ("transition_task", {"status": "in_progress", "note": "Once"}),
    ("execute_task", {"pipeline_id": "bugfix"}),
)


@pytest.mark.parametrize("call", CALLS, ids=[name for name, _ in CALLS])
def test_wherever_a_worker_dies_an_act_is_done_once(
    crew: Crew, begin: Begin, work: Work, call: tuple[str, dict[str, Any]]
):
    """Also when somebody has gone on with what it did before it is tried again."""
    name, arguments = call
    task = crew.add("One", workType="custom")
    named = "task_id" in TABLE[name].spec.parameters["properties"]
    run = begin(crew.id, (name, {**arguments, **({"task_id": task} if named else {})}))
    run_jobs.advance(run.id, 1)
    (step,) = Step.of(over(run))
    assert die(step.id, 3, "before")  # the act is done, its result on no record
    entry = ledger.of(step.id)[-1]
    assert (entry.name, entry.sealed) == (name, False)
    before = counted()
    if name == "transition_task":
        crew.to(task, "review")
    expire(step.id)
    work()
    assert over(run).state == runs.COMPLETED, over(run).error
    assert len(heard(run)) == 1
    if name == "transition_task":
        assert crew.status(task) == "review"  # not moved back
    assert counted() == before


def counted() -> tuple[int, ...]:
    """How many projects, tasks, notes and runs there are."""
    tasks = list(Task.select())
    notes = sum(len(task.metadata.get("transition_notes") or ()) for task in tasks)
    return Project.select().count(), len(tasks), notes, Run.select().count()


def test_two_calls_alike_are_two_acts(crew: Crew, begin: Begin, work: Work):
    begin(crew.id, *[("create_task", {"title": "Same"})] * 2)
    work()
    assert Task.select().count() == 2


def test_a_step_taken_over_amid_an_act_does_nothing_any_more(crew: Crew, begin: Begin, work: Work):
    run = begin(crew.id, ("create_task", {"title": "Once"}))
    run_jobs.advance(run.id, 1)
    (step,) = Step.of(over(run))
    die(step.id, 2, "after")  # the act is claimed and not begun
    stale = Step.get_by_id(step.id)
    expire(step.id)
    claimed = jobs.claim(step.id)
    assert claimed is not None
    with pytest.raises(Stopped):
        Mandate(stale, f"{step.id}:2").once(lambda run: "never")
    assert Task.select().count() == Dependency.select().count() == 0


def test_an_agent_in_a_chat_speaks_of_the_chats_project(crew: Crew):
    with base.db.connection_context():
        form = {"project_id": crew.id, "model": "scripted/demo"}
        chat = chats.start(OWNER, Agent.get_by_id("finn"), form)
        run = Run.get_by_id(chat.id)
        agent = Mandate(Step(agent_id="finn"), "").agent(run)
        assert run.project_id is None
        assert [each.id for each in Project.visible_to(agent)] == [crew.id]
