"""Acting on what the plan decides: the one place where swarms move on.

Every function is called inside a transaction that holds the swarm's row lock; runs are locked
after it or not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from models import branches, runs, swarms
from models.base import NOW
from models.errors import DomainError
from models.runs import Run
from models.swarms import Swarm, SwarmTask
from tasks import executors
from tasks.swarms import call_off, end, merge, tell
from workers.swarms import plan

TIMED_OUT = "global timeout"
UNMERGED = "its branches could not be merged in time"
ENDS = {
    runs.COMPLETED: swarms.COMPLETED,
    runs.FAILED: swarms.FAILED,
    runs.CANCELLED: swarms.CANCELLED,
}


def advance(swarm: Swarm) -> None:
    """Take in the tasks that have ended, start those that may begin; nothing when it is over."""
    if swarm.over:
        return
    tasks = SwarmTask.of(swarm)
    if swarm.state == swarms.MERGING:
        if swarm.late:
            end(swarm, tasks, swarms.FAILED, UNMERGED)
        return
    if swarm.state == swarms.PENDING:
        swarm.move(swarms.RUNNING, started_at=NOW)
    _take_in(swarm, tasks)
    if swarm.late and any(task.state not in swarms.TASK_OVER for task in tasks):
        call_off(swarm, tasks, swarms.FAILED, TIMED_OUT)
        return
    while _move_on(swarm, tasks):
        continue
    if all(task.state in swarms.TASK_OVER for task in tasks):
        _conclude(swarm, tasks)
    else:
        swarm.put(updated_at=NOW)


def shared(tasks: Sequence[SwarmTask]) -> dict[str, list[SwarmTask]]:
    """The tasks by the task they work on, where several did; their branches belong together."""
    several = Counter(task.task_id for task in tasks)
    groups: dict[str, list[SwarmTask]] = {}
    for task in tasks:
        if several[task.task_id] > 1:
            groups.setdefault(task.task_id, []).append(task)
    return groups


def _take_in(swarm: Swarm, tasks: Sequence[SwarmTask]) -> None:
    """Take over what came of the runs that have ended."""
    working = {task.run_id: task for task in tasks if task.state == swarms.RUNNING}
    columns = (Run.id, Run.state, Run.outputs, Run.error)
    found = Run.select(*columns, Run.workspace_commit, Run.workspace_snapshot)
    known = {run.id: run for run in found.where(Run.id.in_(list(working)))}
    for run_id, task in working.items():
        run = known.get(run_id)
        if run is None:
            _ended(swarm, task, swarms.CANCELLED, error="its run was deleted")
        elif run.state in ENDS:
            files = {"commit": run.workspace_commit, "snapshot": run.workspace_snapshot}
            came = {"outputs": run.outputs, "error": run.error, **files}
            _ended(swarm, task, ENDS[run.state], **came)


def _ended(swarm: Swarm, task: SwarmTask, state: str, **came: Any) -> None:
    task.move(state, completed_at=NOW, **came)
    about = {**_of(task), "durationMs": task.duration_ms or 0, "status": state}
    outputs = task.outputs or {}
    if state == swarms.COMPLETED:
        tell(swarm, "swarm_task_complete", **about, outputs=outputs)
    else:
        tell(swarm, "swarm_task_failed", **about, error=task.error, outputs=outputs)


def _move_on(swarm: Swarm, tasks: Sequence[SwarmTask]) -> bool:
    """Make the moves that are due; whether some task ended by that, so that others may be due."""
    by_key = {task.key: task for task in tasks}
    states = {task.key: str(task.state) for task in tasks}
    due = plan.moves(tasks, states, swarm.max_concurrent)
    for key, reason in due.skip.items():
        task = by_key[key]
        task.move(swarms.SKIPPED, error=reason, completed_at=NOW)
        tell(swarm, "swarm_task_skipped", taskKey=key, taskTitle=task.title, reason=reason)
    for key in due.ready:
        if by_key[key].state == swarms.PENDING:
            by_key[key].move(swarms.READY)
    # Starting locks the board of the task: swarms that lock several do so in one order.
    due_tasks = sorted((by_key[key] for key in due.start), key=lambda task: task.project_id)
    started = [_started(swarm, task, by_key) for task in due_tasks]
    return not all(started)


def _started(swarm: Swarm, task: SwarmTask, by_key: dict[str, SwarmTask]) -> bool:
    """Give the task its executor; one that cannot be had fails the task."""
    try:
        run = executors.spawn(swarm.owner_id, **_order(swarm, task, by_key))
    except DomainError as error:
        _ended(swarm, task, swarms.FAILED, error=f"Spawn failed: {error}")
        return False
    task.move(swarms.RUNNING, run_id=run.id, started_at=NOW)
    tell(swarm, "swarm_task_started", **_of(task))
    return True


def _order(swarm: Swarm, task: SwarmTask, by_key: dict[str, SwarmTask]) -> dict[str, Any]:
    """What the task's executor is asked for: the task, and the files of what it depends on."""
    columns = ("project_id", "task_id", "execution_prompt", "timeout_seconds")
    needed = [by_key[key] for key in task.dependencies]
    left = [
        {"branch": each.branch, "commit": each.commit, "snapshot": each.snapshot}
        for each in needed
        if each.commit and each.snapshot
    ]
    whole = branches.whole_branch(task.branch, task.key)
    return {
        "form": {
            **{name: getattr(task, name) for name in columns},
            "agent_id": swarm.agent_id,
            "deviation_rules": swarm.deviation_rules,
            "model_override": task.model,
            "swarm_task_key": task.key,
        },
        "asked_by": f"{swarm.id}:{task.key}",
        "parent_id": swarm.parent_id,
        "task_branch": task.branch,
        "meta": {"swarm_id": swarm.id, "starts": left or swarm.starts, "whole_branch": whole},
    }


def _conclude(swarm: Swarm, tasks: Sequence[SwarmTask]) -> None:
    """Every task has ended: merge what belongs together, or end the swarm."""
    lost = [task for task in tasks if task.state != swarms.COMPLETED]
    if lost:
        told = ", ".join(f"{task.key} {task.state}" for task in lost)
        end(swarm, tasks, swarms.FAILED, f"Not every task was completed: {told}")
    elif shared(tasks):
        swarm.move(swarms.MERGING)
        merge.enqueue(swarm.id)
    else:
        end(swarm, tasks, swarms.COMPLETED)


def _of(task: SwarmTask) -> dict[str, Any]:
    return {"taskKey": task.key, "taskTitle": task.title, "runId": task.run_id or ""}
