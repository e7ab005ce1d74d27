"""Tasks on boards, as agents make them, take them and move them on."""

from __future__ import annotations

from typing import Any

from models import policies, stages
from models.board import BLOCKS, INFORMS, PRIORITIES, TITLE, Task
from models.plans import MOST_HOURS
from models.runs import Run
from models.stages import WORK_TYPES
from models.surroundings import Edge, around
from tasks import board, comments, executions
from tasks.moving import Desk, standing
from workers.agents.tools.base import Tool, ToolError, described, flag, number, text
from workers.agents.tools.errands import (
    ID,
    PROJECT,
    TASK,
    Errand,
    brief,
    excerpt,
    reads,
    writes,
)

LONGEST = 20_000  # of a description
LONGEST_NOTE = 4_000
LAST_NOTES, LAST_RUNS, NEAR = 10, 5, 50
UNCHANGED: tuple[Any, ...] = (None, "", [], 0)  # arguments that stand for nothing


def create_task(errand: Errand, told: dict[str, Any]) -> Any:
    """The new task, where its kind of task begins."""
    project = errand.project(told["project_id"])
    mine = errand.agent_id if told["for_myself"] else None
    form = {**_filled(told), "assigned_agent": mine}
    return _made(board.add(project.id, form))


def create_subtask(errand: Errand, told: dict[str, Any]) -> Any:
    """The new part of a task."""
    parent = errand.task(told, "parent_task_id")
    return _made(board.add(parent.project_id, _filled(told)))


def update_task(errand: Errand, told: dict[str, Any]) -> Any:
    """What the task says now; one that the agent lets go of is anybody's."""
    task, changes = errand.task(told), _filled(told)
    if changes.pop("let_go", False):
        if task.assigned_agent != errand.agent_id:
            raise ToolError(f"{task.id} is not yours: you cannot let go of it")
        changes["assigned_agent"] = None
    del changes["task_id"]
    board.change(task, changes)
    return {"task_id": task.id, "changed": sorted(changes)}


def comment_task(errand: Errand, told: dict[str, Any]) -> Any:
    """The comment stands with the task."""
    task = comments.add(errand.agent.id, errand.task(told), told["comment"])
    return {"task_id": task.id, "status": task.status, "commented": True}


def add_dependency(errand: Errand, told: dict[str, Any]) -> Any:
    """Which task waits for which now."""
    edge = board.depend(errand.task(told), told["waits_for_task_id"], told["type"])
    return {"task_id": edge.to_task_id, "waits_for": edge.from_task_id, "type": edge.type}


def claim_task(errand: Errand, told: dict[str, Any]) -> Any:
    """The task is the agent's; of several who ask at once it is one's."""
    claim = board.claim(errand.agent, errand.task(told), errand.agent_id)
    status = "claimed" if claim.fresh else "already yours"
    return {"task_id": claim.task.id, "status": status, "branch": claim.task.branch}


def transition_task(errand: Errand, told: dict[str, Any]) -> Any:
    """Where the task stands now, and where it may go from there."""
    status, note = told["status"], told["note"] or None
    moved, before, desk = board.transition(errand.agent, errand.task(told), status, note)
    return {
        "task_id": moved.id,
        "from": before,
        "to": moved.status,
        "completed_stages": moved.completed_stages,
        "next_statuses": _next(desk, moved),
    }


def get_task_context(errand: Errand, told: dict[str, Any]) -> Any:
    """All that somebody needs who begins with the task."""
    task = errand.task(told)
    near = around(task)
    return {
        **brief(task, "id", "title", "status", "priority", "work_type", "assigned_agent", "tags"),
        **brief(task, "estimated_hours", "parent_task_id", "completed_stages", "run_id", "branch"),
        "description": excerpt(task.description, LONGEST // 4),
        "waits_for": _neighbours(near.before),
        "waited_for_by": _neighbours(near.after),
        "subtasks": [brief(each, "id", "title", "status") for each in near.parts[:NEAR]],
        "notes": task.notes[-LAST_NOTES:],
        "pull_request": task.metadata.get("pr_url"),
        "last_runs": [brief(each, "run_id", "status") for each in near.runs[:LAST_RUNS]],
    }


def get_task_workflow(errand: Errand, told: dict[str, Any]) -> Any:
    """The stages of the task's kind of work, and where it may go."""
    task = errand.task(told)
    return policies.resolved(errand.project(task.project_id), task, {})


def get_task_executor_runs(errand: Errand, told: dict[str, Any]) -> Any:
    """What the latest runs of the task came to, newest first."""
    task = errand.task(told)
    mine = Run.visible_to(errand.agent).where(Run.task_id == task.id)
    runs = mine.order_by(Run.created_at.desc(), Run.id).limit(told["limit"])
    return [
        {
            **brief(run, "id", "kind", "pipeline_id", "agent_id", "state", "task_branch"),
            "outputs": {key: excerpt(value) for key, value in run.outputs.items()},
            "error": excerpt(run.error),
        }
        for run in runs
    ]


def execute_task(errand: Errand, told: dict[str, Any]) -> Any:
    """The run that works on the task from now on; nobody waits for it."""
    form = {name: told[name] or None for name in ("pipeline_id", "context", "model_override")}
    task, run = executions.execute(errand.owner, errand.task(told), form, parent_id=errand.run.id)
    return {
        "task_id": task.id,
        "status": task.status,
        "run_id": run.id,
        "pipeline": run.pipeline_id,
    }


def _filled(told: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in told.items()
        if name not in ("project_id", "for_myself") and value not in UNCHANGED
    }


def _made(task: Task) -> dict[str, Any]:
    return {"task_id": task.id, **brief(task, "title", "status", "work_type", "parent_task_id")}


def _neighbours(edges: list[Edge]) -> list[dict[str, Any]]:
    return [
        {**brief(other, "id", "title", "status"), "type": edge.type} for edge, other in edges[:NEAR]
    ]


def _next(desk: Desk, task: Task) -> list[str]:
    if desk.policy is None:
        return [status for status in desk.board.statuses if status != task.status]
    return stages.next_statuses(desk.board, desk.rules(task), standing(task))


TITLED = text("Verb and object, in a line", minLength=1, maxLength=TITLE)
SAYS: dict[str, dict[str, Any]] = {
    "description": text(
        "What to do, where, and how to tell that it is done", default="", maxLength=LONGEST
    ),
    "priority": text("P0 is the most urgent", enum=[*PRIORITIES, ""], default=""),
    "work_type": text(
        "The kind of work; empty to have it told by tags and title",
        enum=[*WORK_TYPES, ""],
        default="",
    ),
    "tags": {
        "type": "array",
        "items": {"type": "string", "minLength": 1, "maxLength": 64},
        "maxItems": 50,
        "description": "Words it can be found by",
        "default": [],
    },
    "estimated_hours": {
        "type": "number",
        "minimum": 0,
        "maximum": MOST_HOURS,
        "description": "Hours of work; 0 for unknown",
        "default": 0,
    },
}
NOTE = {"maxLength": LONGEST_NOTE}

TOOLS = (
    Tool(
        described(
            "create_task",
            "Put a new task on a board. What another task must bring first is said afterwards with"
            " add_dependency.",
            project_id=PROJECT,
            title=TITLED,
            **SAYS,
            column_id=text("Its column; empty for the usual one", default="", **ID),
            for_myself=flag("Whether it is yours from the beginning"),
        ),
        writes(create_task),
        effect="rows",
    ),
    Tool(
        described(
            "create_subtask",
            "Make a part of a task. A task with parts is done when all of them are, and is worked"
            " on through them.",
            project_id=PROJECT,
            parent_task_id=text("The task that it is a part of", minLength=1, **ID),
            title=TITLED,
            **SAYS,
        ),
        writes(create_subtask),
        effect="rows",
    ),
    Tool(
        described(
            "update_task",
            "Change what a task says; what you leave empty stays. Its status is changed with"
            " transition_task.",
            project_id=PROJECT,
            task_id=TASK,
            title=text("Another title", default="", maxLength=TITLE),
            **SAYS,
            let_go=flag("Whether you give it back, for others to take"),
        ),
        writes(update_task),
        effect="rows",
    ),
    Tool(
        described(
            "comment_task",
            "Leave a comment with a task, for whoever works on it next.",
            project_id=PROJECT,
            task_id=TASK,
            comment=text("What they should know", minLength=1, **NOTE),
        ),
        writes(comment_task),
        effect="rows",
    ),
    Tool(
        described(
            "add_dependency",
            "Have a task wait until another one is done.",
            project_id=PROJECT,
            task_id=text("The task that waits", minLength=1, **ID),
            waits_for_task_id=text("The task that must be done first", minLength=1, **ID),
            type=text(
                "`blocks` holds it up, `informs` only tells", enum=[BLOCKS, INFORMS], default=BLOCKS
            ),
        ),
        writes(add_dependency),
        effect="rows",
    ),
    Tool(
        described(
            "claim_task",
            "Take a free task, so that nobody else begins with it. You are told its branch.",
            project_id=PROJECT,
            task_id=TASK,
        ),
        writes(claim_task),
        effect="rows",
    ),
    Tool(
        described(
            "get_task_context",
            "All about a task: what to do, what it waits for and what waits for it, its parts,"
            " notes, branch and last runs.",
            project_id=PROJECT,
            task_id=TASK,
        ),
        reads(get_task_context),
    ),
    Tool(
        described(
            "transition_task",
            "Move a task to a status of its board. You are told where it may go from there.",
            project_id=PROJECT,
            task_id=TASK,
            status=text("The status, as get_board_columns names it", minLength=1, maxLength=32),
            note=text("What was done, or why it goes back", default="", **NOTE),
        ),
        writes(transition_task),
        effect="rows",
    ),
    Tool(
        described(
            "get_task_workflow",
            "Which stages the project demands of a task's kind of work, which are done, and to"
            " which statuses it may go next.",
            project_id=PROJECT,
            task_id=TASK,
        ),
        reads(get_task_workflow),
    ),
    Tool(
        described(
            "get_task_executor_runs",
            "What the latest runs at a task came to. Look before you have it worked on again.",
            project_id=PROJECT,
            task_id=TASK,
            limit=number("At most so many", LAST_RUNS, maximum=20),
        ),
        reads(get_task_executor_runs),
    ),
    Tool(
        described(
            "execute_task",
            "Have a pipeline work on a task. You do not wait for it: its end moves the task.",
            project_id=PROJECT,
            task_id=TASK,
            pipeline_id=text("Which; empty for the task's or the project's", default="", **ID),
            context=text("What they should know besides", default="", maxLength=LONGEST),
            model_override=text("The model it works with; empty for the usual", default="", **ID),
        ),
        writes(execute_task),
        effect="rows",
    ),
)
