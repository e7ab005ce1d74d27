"""Having agents work on tasks: execute one, all that are ready, or plan a whole project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models import board, branches
from models.agents import Agent
from models.base import db, dumps
from models.board import Task
from models.errors import Conflict, DomainError, Forbidden, Malformed
from models.pipelines import Pipeline
from models.principals import Principal
from models.projects import Project, ProjectWorkflow
from models.runs import MOST_PAYERS, Run
from tasks import executors, runs
from tasks.moving import Desk
from tasks.outcomes import PLANS, begin

PLANNING = "planning"
EXECUTE = "execute"
SECONDS = 1_800  # how long an agent that works on a task alone has


@dataclass
class Executed:
    """What became of a request to execute all that is ready."""

    started: list[tuple[Task, Run]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)  # the task, and why


def execute(
    principal: Principal, task: Task, form: Mapping[str, Any], parent_id: str | None = None
) -> tuple[Task, Run]:
    """Have a pipeline work on a task; its end moves the task. One run at a time works on it.

    The pipeline is the one named, else the task's, its workflow's, the project's, or that of the
    project's default workflow; Malformed when there is none. `parent_id` is the run whose agent
    asks for it, and whose budget pays, as do those of the runs that asked for that one.
    """
    with db.atomic():
        _refuse_deep(parent_id)
        desk, task = _startable(principal, task, form)
        pipeline = _pipeline(desk, task, form)
        asked = {
            "task": _order(desk.project, task),
            "human_context": form.get("context"),
            "model_override": form.get("model_override"),
            "parent_id": parent_id,
            **_belonging(desk.project, task),
        }
        run = runs.start(principal, pipeline, asked)
        begin(desk, task, run)
    return task, run


def execute_agent(
    principal: Principal, task: Task, agent_id: str, form: Mapping[str, Any]
) -> tuple[Task, Run]:
    """Have one agent work on a task alone, in a single step."""
    if not Agent.select().where(Agent.id == agent_id).exists():
        raise Agent.missing(agent_id)
    with db.atomic():
        desk, task = _startable(principal, task, form)
        belonging = _belonging(desk.project, task)
        order = {
            "agent_id": agent_id,
            "execution_prompt": _order(desk.project, task),
            "project_id": desk.project.id,
            "task_id": task.id,
            "model_override": form.get("model_override"),
            "timeout_seconds": SECONDS,
        }
        run = executors.spawn(principal.id, order, **belonging)
        task = desk.task(task.id)  # which the executor may have begun with already
        if task.run_id != run.id:
            begin(desk, task, run)
        if task.assigned_agent is None:
            task.put(assigned_agent=agent_id)
    return task, run


def execute_ready(principal: Principal, project: Project, most: int) -> Executed:
    """Execute the tasks that are ready, the most urgent first, at most so many.

    Each begins in a transaction of its own: what cannot begin is skipped, and says why.
    """
    done = Executed()
    busy = _busy_agents(project.id)
    for task in _ready(project, most + len(busy) + 1):
        if len(done.started) >= most:
            break
        if task.assigned_agent in busy:
            done.skipped.append((task.id, f"{task.assigned_agent} is at work on another task"))
            continue
        try:
            started = execute(principal, task, {"workflow_id": _workflow_by_tags(task)})
        except DomainError as error:
            done.skipped.append((task.id, str(error)))
            continue
        done.started.append(started)
        busy |= {task.assigned_agent} if task.assigned_agent else set()
    return done


def plan(principal: Principal, project: Project, pipeline_id: str, context: str | None) -> Run:
    """Have a pipeline plan a project; the tasks that it answers come on the board with its end."""
    with db.atomic():
        desk = Desk(project.id)
        desk.refuse_unless_active()
        pipeline = _found(pipeline_id)
        held = desk.project
        told = {
            "planning_run": True,
            "project_id": held.id,
            "project_name": held.name,
            "project_description": held.description,
            "project_vision": held.vision or "",
            "repository": held.repository or "",
            "pipeline_id": pipeline.id,
            "additional_context": context or "",
        }
        asked = {
            "task": f"Plan the project {held.name}.\n\n{held.description}".strip(),
            "human_context": dumps(told),
            "project_id": held.id,
            "project_name": held.name,
            "meta": {PLANS: held.id},
        }
        run = runs.start(principal, pipeline, asked)
        desk.tell("project_planning_started", runId=run.id, pipelineId=pipeline.id)
    return run


def _startable(principal: Principal, task: Task, form: Mapping[str, Any]) -> tuple[Desk, Task]:
    """The task on its board, both locked, when work on it may begin; raises why it may not."""
    desk = Desk(task.project_id)
    task = desk.task(task.id)
    desk.refuse_unless_active()
    _refuse_foreign_keys(principal, desk.project, form.get("key_user_id"))
    if task.run_id is not None:
        raise Conflict(f"Run {task.run_id} works on {task.id} already")
    if not desk.board.startable(task.status):
        raise Malformed(f"{task.id} is {task.status}; work cannot begin from there")
    if board.is_container(task.id):
        raise Conflict(f"{task.id} has subtasks; execute those")
    desk.refuse_waiting(task)
    lane = desk.board.lane_of(desk.board.working or task.status)
    if lane is not None:
        desk.refuse_crowd(task, lane)
    return desk, task


def _refuse_deep(parent_id: str | None) -> None:
    """Raise Conflict when so many runs asked for one another that a person has to ask again."""
    parent = Run.find(parent_id) if parent_id else None
    if parent is not None and parent.deep:
        raise Conflict(f"{MOST_PAYERS} runs have asked for one another in a row, the most that may")


def _refuse_foreign_keys(principal: Principal, project: Project, user_id: str | None) -> None:
    """Raise Forbidden when somebody would have another person pay who has not offered to."""
    if user_id in (None, principal.id, project.key_user_id) or principal.is_admin:
        return
    raise Forbidden("You may only spend your own keys, or those offered to the project")


def _pipeline(desk: Desk, task: Task, form: Mapping[str, Any]) -> Pipeline:
    """Which pipeline works on a task; one that is named and gone is NotFound."""
    named = form.get("pipeline_id") or _of_workflow(desk, form.get("workflow_id"))
    kept = named or task.pipeline_id or _of_workflow(desk, task.workflow_id, strictly=False)
    usual = kept or desk.project.default_pipeline_id or _of_default_workflow(desk)
    if usual is None:
        raise Malformed("No pipeline: name one, or give the project a default")
    return _found(usual)


def _found(pipeline_id: str) -> Pipeline:
    pipeline = Pipeline.find(pipeline_id)
    if pipeline is None:
        raise Pipeline.missing(pipeline_id)
    return pipeline


def _of_workflow(desk: Desk, workflow_id: str | None, strictly: bool = True) -> str | None:
    if not workflow_id:
        return None
    mine = ProjectWorkflow.project == desk.project.id
    found = ProjectWorkflow.get_or_none((ProjectWorkflow.id == workflow_id) & mine)
    if found is None and strictly:
        raise ProjectWorkflow.missing(workflow_id)
    return str(found.pipeline_id) if found else None


def _of_default_workflow(desk: Desk) -> str | None:
    mine = ProjectWorkflow.project == desk.project.id
    found = ProjectWorkflow.get_or_none(mine & ProjectWorkflow.is_default)
    return str(found.pipeline_id) if found else None


def _order(project: Project, task: Task) -> str:
    """What the agents are told to do."""
    head = f"Project {project.name} ({project.id}), task {task.id}: {task.title}"
    return f"{head}\n\n{task.description}".strip()


def _belonging(project: Project, task: Task) -> dict[str, Any]:
    """The columns of a run that tie it to its task."""
    return {
        "project_id": project.id,
        "project_name": project.name,
        "task_id": task.id,
        "task_branch": task.branch or branches.task_branch(task.id, task.title),
        "workspace_type": project.workspace_type,
        "meta": {"starts": board.left_by(task.id)},
    }


def _ready(project: Project, most: int) -> Sequence[Task]:
    ready = board.layout(project).ready
    waiting = (Task.project == project.id) & (Task.status == ready) & Task.run_id.is_null()
    return list(Task.select().where(waiting).order_by(*URGENT).limit(most))


URGENT = (Task.priority, Task.column_position, Task.id)


def _busy_agents(project_id: str) -> set[str]:
    working = (Task.project == project_id) & Task.run_id.is_null(False)
    agents: Any = Task.select(Task.assigned_agent).where(working).distinct().tuples()
    return {agent for (agent,) in agents if agent is not None}


def _workflow_by_tags(task: Task) -> str | None:
    """The workflow whose filter names one of the task's tags, when the task names none itself."""
    if task.workflow_id or task.pipeline_id or not task.tags:
        return None
    mine = ProjectWorkflow.select().where(ProjectWorkflow.project == task.project_id)
    for workflow in mine.order_by(ProjectWorkflow.id):
        wanted = workflow.task_filter.get("tags")
        if isinstance(wanted, list) and any(tag in wanted for tag in task.tags):
            return str(workflow.id)
    return None
