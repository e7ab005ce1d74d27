"""Asking for executors: runs of one step in which an agent carries out a written order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from models import activities, branches, budgets, idempotency, pipelines
from models.agents import Agent
from models.base import db, dumps
from models.board import Task
from models.definitions import AgentSpec, Definition, StepSpec
from models.errors import Conflict
from models.projects import worked_on
from models.runs import COMPLETED, EXECUTOR, OVER, Run
from tasks.outcomes import attach
from tasks.runs import move_on

PREFIX = "pulse_exec_"
PIPELINE = "execute"
STEP = "EXECUTE"
SECONDS = 300  # how long an executor works when nobody says otherwise
TOOLS = (
    *("read", "write", "edit", "bash", "grep", "find", "ls", "load_skill", "create_skill"),
    *("executor_complete", "executor_fail"),
)


def spawn(
    owner_id: str | None,
    form: Mapping[str, Any],
    asked_by: str | None = None,
    key: str | None = None,
    **made_for: Any,
) -> Run:
    """Make an executor's run and ask for it; NotFound without its agent.

    The same `asked_by` (an act of a planner, a task of a swarm) or idempotency key gives the same
    run. `made_for` are further columns; its `meta` adds to the order's own.
    """
    agent = Agent.find(form["agent_id"])
    if agent is None:
        raise Agent.missing(form["agent_id"])
    run = _drafted(owner_id, agent, form, asked_by, **made_for)
    with db.atomic():
        if key is not None:
            bound = idempotency.claim(owner_id or "", key, {**form, "executor": True}, run.id)
            if bound != run.id:
                return _known(bound)
        kept = Run.find(run.id) if asked_by else None
        return kept or _asked_for(run, budgets.parted(form)[0])


def id_of(asked_by: str) -> str:
    """The id of the run that this act asks for: one and the same, however often it asks."""
    return PREFIX + hashlib.sha256(asked_by.encode()).hexdigest()[:24]


def result_for(asked_by: str) -> str | None:
    """What the planner is told of the executor that this act spawned; None while it works."""
    run = Run.find(id_of(asked_by))
    if run is None or run.state not in OVER:
        return None
    told = {"run_id": run.id, "status": run.state, "success": run.state == COMPLETED}
    branch = {"branch": run.task_branch, "commit": run.workspace_commit}
    return dumps({**told, **branch, "outputs": run.outputs, "error": run.error})


def definition(agent: Agent, seconds: int) -> Definition:
    """The one step of an executor, pinned like any pipeline."""
    step = StepSpec(
        id=STEP,
        agent=agent.id,
        input="{{task_description}}",
        description="Carry out the order",
        model=agent.config.get("executor_model") or None,
        tools=TOOLS,
        max_retries=0,
        timeout=seconds,
    )
    return Definition(
        id=PIPELINE,
        name="Executor",
        version="1.0.0",
        description="One agent, one order, one step",
        agents=(AgentSpec(agent.id, agent.name),),
        steps=(step,),
    )


def _drafted(
    owner_id: str | None,
    agent: Agent,
    form: Mapping[str, Any],
    asked_by: str | None,
    **made_for: Any,
) -> Run:
    seconds = form.get("timeout_seconds") or SECONDS
    prompt, task_id = form["execution_prompt"], form["task_id"]
    project_id = worked_on(owner_id, [form["project_id"]])
    branch = made_for.get("task_branch") or _branch_for(form, project_id)
    columns: dict[str, Any] = {
        "id": id_of(asked_by) if asked_by else PREFIX + Run.id.default().rpartition("_")[2],
        "kind": EXECUTOR,
        "pipeline_id": PIPELINE,
        "version": pipelines.pin(definition(agent, seconds)),
        "task": prompt,
        "owner_id": owner_id,
        "agent_id": agent.id,
        "project_id": project_id,
        "task_id": task_id,
        "task_branch": branch,
        "model_override": form.get("model_override"),
    }
    order = {
        "spawn_executor": True,
        "planner_agent_id": agent.id,
        "project_id": form["project_id"],
        "task_id": task_id,
        "deviation_rules": form.get("deviation_rules") or "",
        "timeout_seconds": seconds,
        "memory_injection": False,
        "swarm_task_key": form.get("swarm_task_key"),
        "asked_by": asked_by,
    }
    return Run(**columns | made_for | {"meta": order | made_for.get("meta", {})})


def _branch_for(form: Mapping[str, Any], project_id: str | None) -> str:
    """The branch that the executor works on; it is called after the order where no task is known.

    Of a task on a board that the owner does not work on, nothing is told by a name.
    """
    task = Task.find(form["task_id"])
    if task is not None and task.project_id == project_id:
        whole = task.branch or branches.task_branch(task.id, task.title)
    else:
        first_line = form["execution_prompt"].strip().partition("\n")[0]
        whole = branches.task_branch(form["task_id"], first_line)
    return branches.executor_branch(whole, form.get("swarm_task_key"))


def _asked_for(run: Run, limits: Mapping[str, Any]) -> Run:
    run.add()
    budgets.limit(run, limits)
    run.record(("run_created", {"pipelineId": run.pipeline_id, "taskDescription": run.task}))
    spawned = {"executorSessionId": run.id, "promptPreview": run.task[:200]}
    activities.note(str(run.agent_id), run.owner_id, run.id, ("executor_spawned", spawned))
    attach(run)
    move_on(run)
    return run


def _known(run_id: str) -> Run:
    run = Run.find(run_id)
    if run is None:
        raise Conflict(f"This Idempotency-Key led to run {run_id}, which has been deleted")
    return run
