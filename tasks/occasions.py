"""Why an agent sits down unasked, and what it is told then: runs of one step, pinned."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from models import agent_tools, board, pipelines, runs, settings
from models.agents import Agent
from models.base import database_ms
from models.board import Task
from models.definitions import AgentSpec, Definition, StepSpec
from models.principals import Principal
from models.projects import ACTIVE, Project
from models.routines import Firing, Routine
from models.runs import Run
from models.timetable import zone_of

PULSES, WAKES = "pulse_plan_", "standalone_"  # how the ids of such runs begin
LAST_WORDS = (
    "Do what is due and can be done now. Nobody watches: when nothing is left to do, say in a"
    " sentence or two what you did, and stop."
)
FOR_EXECUTORS = ("executor_model", "executor_timeout_sec")  # what a routine says of its executors
EXECUTOR_SECONDS = 300  # that an executor of a pulse has when its routine does not say
TASKS_TOLD, MOST_READ = 20, 200
TITLE_TOLD = 200  # characters
ALWAYS = ("read", "ls")  # who has no file tool at all has no folder to work in
LONGEST_TOLD = 8_000  # characters of the instructions that the order repeats


def pulse(routine: Routine, agent: Agent, firing: Firing, changed: Mapping[str, Any]) -> Run:
    """The run in which an agent follows a routine; it is not written yet.

    `changed` are the server's settings that are not at their defaults.
    """
    instructions = addressed(routine.instructions, agent)
    step = StepSpec(
        id="PULSE",
        agent=agent.id,
        input="{{task_description}}",
        description=f"Follow the routine {routine.name}",
        model=routine.planning_model or model_for(agent, changed),
        tools=(*ALWAYS, *routine.tools) if routine.tools else agent_tools.PLANNING,
        max_retries=0,
        timeout=seconds(routine, changed),
    )
    meta = {"routine_id": routine.id, "routine_name": routine.name, "firing_id": firing.id}
    return Run(
        id=PULSES + secrets.token_hex(12),
        kind=runs.PULSE,
        pipeline_id="pulse",
        version=pipelines.pin(defined("pulse", agent, step, instructions)),
        task=order(routine, agent, instructions, firing.context),
        owner_id=routine.owner_id,
        agent_id=agent.id,
        meta=meta | {name: getattr(routine, name) for name in FOR_EXECUTORS},
    )


def wake(agent: Agent, why: str, owner_id: str | None, project_id: str | None) -> Run:
    """The run in which an agent answers to what woke it; it is not written yet."""
    changed = settings.stored()
    step = StepSpec(
        id="WAKE",
        agent=agent.id,
        input="{{task_description}}",
        description="Answer to what woke you",
        model=model_for(agent, changed),
        tools=agent_tools.PLANNING,
        max_retries=0,
        timeout=usual_seconds(changed),
    )
    return Run(
        id=WAKES + secrets.token_hex(12),
        kind=runs.WAKE,
        pipeline_id="wake",
        version=pipelines.pin(defined("wake", agent, step)),
        task=f"It is {_clock('UTC')}. {why}\n\n{LAST_WORDS}",
        owner_id=owner_id,
        project_id=project_id,
        agent_id=agent.id,
    )


def defined(name: str, agent: Agent, step: StepSpec, persona: str | None = None) -> Definition:
    """One agent and its one step as a pipeline; the persona stands beside the agent's own."""
    about = f"One session of {agent.name}"
    crew = (AgentSpec(agent.id, agent.name, persona=persona or None),)
    return Definition(name, name.capitalize(), "1.0.0", about, crew, (step,))


def model_for(agent: Agent, changed: Mapping[str, Any]) -> str | None:
    """The model that plans: the agent's for planning, its usual one, the server's for planning.

    None leaves it to the server's usual one.
    """
    configured = agent.config.get("planning_model") or agent.model
    return configured or changed.get("defaultPlanningModel") or None


def seconds(routine: Routine, changed: Mapping[str, Any]) -> int:
    """How long a session of the routine may work; waiting for executors does not count."""
    if routine.timeout_ms is not None:
        return max(1, math.ceil(routine.timeout_ms / 1000))
    if routine.executor_timeout_sec is not None:
        return 2 * int(routine.executor_timeout_sec)
    return usual_seconds(changed)


def usual_seconds(changed: Mapping[str, Any]) -> int:
    """How long a session may work when nothing says otherwise but perhaps an admin."""
    return int(changed.get("defaultPulseTimeoutSec") or 2 * EXECUTOR_SECONDS)


def addressed(text: str, agent: Agent) -> str:
    """Instructions with the agent's own name and emoji where they leave room for them."""
    named = text.replace("{{AGENT_NAME}}", agent.name)
    return named.replace("{{AGENT_EMOJI}}", agent.emoji or "")


def order(routine: Routine, agent: Agent, instructions: str, called_by: str | None = None) -> str:
    """What the agent is told as the session begins: when it is, what is its, what it is to do."""
    why = "due" if called_by is None else "called for by what follows below"
    parts = [
        f"It is {_clock(routine.timezone)}. Your routine {routine.name!r} is {why}.",
        _tasks(agent.id, routine.owner_id),
        *_focus(routine),
        f"What the routine asks of you:\n{instructions[:LONGEST_TOLD]}" if instructions else "",
        f"What it is called for:\n{called_by}" if called_by else "",
        LAST_WORDS,
    ]
    return "\n\n".join(part for part in parts if part)


def _clock(timezone: str) -> str:
    now = datetime.fromtimestamp(database_ms() / 1000, zone_of(timezone))
    return f"{now:%A, %Y-%m-%d %H:%M} ({timezone})"


def _focus(routine: Routine) -> list[str]:
    """What the routine narrows its agent to."""
    kept = {
        "Columns to look after": routine.pulse_columns,
        "Stages to look after": routine.stage_affinity,
        "Kinds of work to take on": routine.task_work_types,
    }
    told = [f"{what}: {', '.join(names)}." for what, names in kept.items() if names]
    if routine.executor_timeout_sec is not None:
        told.append(f"Executors that you spawn have {routine.executor_timeout_sec} seconds.")
    return ["\n".join(told)]


def _tasks(agent_id: str, owner_id: str) -> str:
    """The tasks that are the agent's and not over, on boards that its principal may see."""
    mine = Project.visible_to(Principal(owner_id, "user")).where(Project.state == ACTIVE)
    known: Mapping[str, Project] = {project.id: project for project in mine}
    rows = Task.select(Task.id, Task.project, Task.title, Task.status, Task.priority)
    assigned = (Task.assigned_agent == agent_id) & Task.completed_at.is_null()
    found = rows.where(assigned & Task.project.in_(list(known))).order_by(Task.priority, Task.id)
    found = found.limit(MOST_READ)
    boards = {key: board.layout(project) for key, project in _of(found, known).items()}
    lines = [_line(task) for task in found if not boards[task.project_id].over(task.status)]
    if not lines:
        return "No task is assigned to you."
    more = [f"and {len(lines) - TASKS_TOLD} more"] if len(lines) > TASKS_TOLD else []
    return "\n".join(["Tasks assigned to you:", *lines[:TASKS_TOLD], *more])


def _of(tasks: Any, known: Mapping[str, Project]) -> dict[str, Project]:
    return {task.project_id: known[task.project_id] for task in tasks}


def _line(task: Task) -> str:
    return (
        f"- {task.title[:TITLE_TOLD]} ({task.priority}, {task.status};"
        f" task {task.id} of project {task.project_id})"
    )
