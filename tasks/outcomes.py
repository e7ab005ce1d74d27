"""What the run of a task means for its board, written in the transaction in which the run ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models import board, branches, plans, runs, swarms
from models.base import db, now_ms
from models.board import Task, TaskRun
from models.errors import DomainError
from models.kanban import Board
from models.logs import log
from models.runs import Run
from models.swarms import Swarm, SwarmTask
from tasks.moving import Desk
from tasks.planting import plant

PLANS = "plans_project"  # in a run's meta: the project whose tasks it plans
PLANTED = "planted"  # in a run's meta: how many tasks came of it; a restart plants no second time


def begin(desk: Desk, task: Task, run: Run) -> None:
    """Write down that a run works on a task from now on, until it ends."""
    TaskRun(
        id=TaskRun.id.default(),
        task=task.id,
        run=run.id,
        pipeline_id=run.pipeline_id,
        from_status=task.status,
    ).add()
    branch = task.branch or _branch_for(run)
    if branch != run.task_branch:
        run.put(task_branch=branch)
    metadata = {**task.metadata, "git_branch": branch}
    target = desk.board.working or task.status
    desk.move(task, target, reason="execution_started", run_id=run.id, metadata=metadata)
    about = {"taskId": task.id, "runId": run.id, "pipelineId": run.pipeline_id}
    desk.tell("task_execution_started", **about)


def _branch_for(run: Run) -> str | None:
    """What the branch of a task is called that a run is the first to work on."""
    return run.task_branch and branches.whole_branch(
        run.task_branch, run.meta.get("swarm_task_key")
    )


def attach(run: Run) -> None:
    """An executor begins: where its labels name a task that its owner works on, it works on that.

    One that others work on, or that could not be begun, is left alone but for its branch, which is
    called from now on what this executor took it to be.
    """
    task = Task.find(run.task_id) if run.task_id else None
    if task is None or task.project_id != run.project_id:
        return
    desk = Desk(task.project_id)
    task = desk.task(task.id)
    if not desk.project.worked_on_by(run.owner_id):
        return
    free = task.run_id is None and desk.board.startable(task.status)
    if free and not board.is_container(task.id):
        begin(desk, task, run)
    elif task.branch is None:
        task.name_branch(_branch_for(run))


def run_ended(run: Run) -> None:
    """A run is over: its task moves on, and what it planned comes on the board.

    The caller holds the run's lock and nothing of a board.
    """
    if run.task_id is not None:
        execution = TaskRun.of_run(run.id)
        if execution is not None and execution.status == board.WORKING:
            _settle(run, execution)
    if run.meta.get(PLANS) and run.state == runs.COMPLETED and PLANTED not in run.meta:
        _harvest(run, run.meta[PLANS])


def swarm_ended(swarm: Swarm, tasks: Sequence[SwarmTask]) -> None:
    """A swarm is over: what several of its executors did for one task has come to the same end.

    The caller holds the swarm's lock and nothing of a board. A task that one of them is still at
    work on moves when that one's run ends.
    """
    mine = {each.run_id for each in tasks if each.run_id is not None}
    named = Task.id.in_({each.task_id for each in tasks}) & Task.run_id.in_(mine)
    held = Task.select(Task.id, Task.project, Task.run_id).where(named)
    for found in sorted(held, key=lambda task: task.project_id):  # as whoever locks several does
        desk = Desk(found.project_id)
        task, run_id = desk.task(found.id), str(found.run_id)
        run = Run.find(run_id)
        if task.run_id == run_id and not (run is not None and run.active):
            _land(desk, task, swarm.state, TaskRun.of_run(run_id))


def run_begun_again(run: Run) -> None:
    """A run that was over goes on: so does its task, unless somebody has gone on with that."""
    execution = TaskRun.of_run(run.id) if run.task_id is not None else None
    if execution is None or execution.status == board.WORKING or not execution.latest():
        return
    task, desk = _held(execution)
    if task is None or task.run_id not in (None, run.id):
        return
    execution.put(status=board.WORKING, completed_at=None)
    desk.move(task, desk.board.working or task.status, reason="run_restarted", run_id=run.id)


def settle_from_outside(task: Task, run_id: str, state: str) -> str | None:
    """An engine elsewhere says how a task's run ended; why that was ignored, None when not."""
    run = Run.find(run_id)
    if state not in (board.COMPLETED, board.FAILED, board.CANCELLED):
        return f"status {state} is no end"
    if run is not None and run.active:
        return f"run {run_id} is still {run.state}"
    with db.atomic():
        desk = Desk(task.project_id)
        fresh = desk.task(task.id)
        if fresh.run_id != run_id:
            return f"{task.id} is not worked on by {run_id}"
        execution = TaskRun.of_run(run_id)
        if execution is not None:
            execution.put(status=state, completed_at=now_ms())
        _land(desk, fresh, state, execution)
    return None


def _settle(run: Run, execution: TaskRun) -> None:
    """The execution is over, and with it the task, unless others of a swarm work on that as well.

    Their swarm ends under the lock of the same board: either finds what the other one has written.
    """
    task, desk = _held(execution)
    execution.put(status=run.state, completed_at=now_ms())
    if task is None or task.run_id != run.id:
        return
    if "swarm_id" not in run.meta or not swarms.shares_its_task(run.id):
        _land(desk, task, run.state, execution)


def _held(execution: TaskRun) -> tuple[Task | None, Any]:
    task = Task.find(execution.task_id)
    if task is None:
        return None, None
    desk = Desk(task.project_id)
    return desk.task(task.id), desk


def _land(desk: Desk, task: Task, state: str, execution: TaskRun | None) -> None:
    """Put the task where the end of its run leads it; a cancelled one goes back where it was."""
    run_id = task.run_id
    came_from = execution.from_status if execution else task.status
    target = landing(desk.board, state, came_from) or task.status
    desk.move(task, target, reason=f"run_{state}", run_id=None)
    if not desk.board.done(target):
        desk.settle({}, {task.id})  # nobody judged it while the run was at work
    ended = "completed" if state == board.COMPLETED else "failed"
    about = {"taskId": task.id, "runId": run_id, "status": task.status}
    desk.tell(f"task_execution_{ended}", **about, cancelled=state == board.CANCELLED)


def landing(layout: Board, state: str, came_from: str) -> str | None:
    """The status to which the end of a run leads a task."""
    ends = {board.COMPLETED: "terminal_done", board.FAILED: "terminal_fail"}
    end = layout.first(ends[state]) if state in ends else None
    if end is not None:
        return end
    return came_from if came_from in layout.statuses else layout.ready


def _harvest(run: Run, project_id: str) -> None:
    """Put what a planning run answered on the board; whatever is wrong with it, the run ends."""
    try:
        with db.atomic():
            desk = Desk(project_id)
            planted = plant(desk, plans.answered(run.outputs))
            told = {"runId": run.id, "pipeline": run.pipeline_id}
            created = {"tasksCreated": len(planted.ids), "skipped": list(planted.skipped)}
            desk.tell("project_planning_completed", **told, **created)
            run.put(meta={**run.meta, PLANTED: len(planted.ids)})
    except DomainError as error:
        log.warning("the plan could not be put on the board", run=run.id, error=str(error))
        run.record(("warning", {"message": f"The plan could not be put on the board: {error}"}))
