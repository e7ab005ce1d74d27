"""Changing boards: tasks, their order, who works on them and what they wait for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models import board, branches, events, kanban
from models.agents import Agent
from models.base import db, dumps, now_ms
from models.board import BLOCKS, MOST_DEPENDENCIES, Dependency, Task
from models.errors import Conflict, Forbidden, Invalid, Malformed, NotFound
from models.kanban import Lane
from models.principals import Principal
from models.projects import ACTIVE, Project
from tasks import runs
from tasks.drafting import drafted, refuse_more, workflow_of
from tasks.moving import Desk, renumber


@dataclass(frozen=True)
class Claim:
    """A task in somebody's hands; `fresh` when it was free before."""

    task: Task
    fresh: bool


def add(project_id: str, form: Mapping[str, Any]) -> Task:
    """Put a new task on a board, at the end of its column."""
    with db.atomic():
        desk = Desk(project_id)
        refuse_more(project_id)
        lane, status = _place(desk, form)
        parent = form.get("parent_task_id")
        if form.get("assigned_agent"):
            _refuse_unknown_agent(form["assigned_agent"])
        task = drafted(desk, form, status)
        desk.refuse_crowd(task, lane)
        if parent is not None:
            task.parent_task_id = desk.task(parent).id
        task.column_id, task.column_position = lane.id, board.end_of(lane.id)
        task.add()
        desk.tell("task_created", taskId=task.id, title=task.title)
        desk.settle({task.id: None})
    return task


def change(task: Task, form: Mapping[str, Any]) -> Task:
    """Change what a task says; a status in it moves the task like anything else that moves it."""
    columns = {name: value for name, value in form.items() if name != "status"}
    with db.atomic():
        desk = Desk(task.project_id)
        task = desk.task(task.id)
        if columns.get("assigned_agent"):
            _refuse_unknown_agent(columns["assigned_agent"])
        if "workflow_id" in columns:
            workflow = workflow_of(desk, columns["workflow_id"])
            columns["pipeline_id"] = workflow and workflow.pipeline_id
        if "estimated_hours" in columns:
            columns["estimated_hours"] = board.kept_hours(columns["estimated_hours"])
        if columns:
            task.put(**columns, updated_at=now_ms())
        target = form.get("status")
        if target is not None and target != task.status:
            desk.refuse(task, target)
            desk.move(task, target)
        elif target is None:
            desk.tell("task_updated", taskId=task.id)
    return task


def transition(
    principal: Principal, task: Task, target: str, note: str | None = None, force: bool = False
) -> tuple[Task, str, Desk]:
    """Move a task to a status; also gives the status it had, and the board.

    `force` is for people: it leaves out policy, subtasks and dependencies, not limits of columns.
    """
    if force and principal.kind == "agent":
        raise Forbidden("An agent may not force a move")
    with db.atomic():
        desk = Desk(task.project_id)
        task = desk.task(task.id)
        if target != task.status:
            desk.refuse(task, target, force)
        before = desk.move(task, target, note=note)
    return task, before, desk


def move(task: Task, column_id: str, position: int) -> Task:
    """Put a task at a place of a column; in another one it takes that column's first status."""
    with db.atomic():
        desk = Desk(task.project_id)
        task = desk.task(task.id)
        lane = lane_by_id(desk, column_id)
        if not lane.statuses:
            raise Malformed("This column has no status that a task could take")
        target = task.status if lane.id == task.column_id else lane.statuses[0]
        if target != task.status:
            desk.refuse(task, target)
        renumber(lane.id, position)
        desk.move(task, target, column=lane.id, column_position=position)
        desk.tell("task_moved", taskId=task.id, columnId=lane.id)
    return task


def delete(task: Task) -> None:
    """Take a task off its board; what waited for it waits no longer. Conflict while a run works."""
    with db.atomic():
        desk = Desk(task.project_id)
        task = desk.task(task.id)
        if task.run_id is not None:
            raise Conflict(f"Run {task.run_id} works on {task.id}; cancel it first")
        look = _dependents(task.id)
        parents = {task.parent_task_id} if task.parent_task_id else set()
        Task.delete().where(Task.id == task.id).execute()
        desk.tell("task_deleted", taskId=task.id)
        desk.settle({}, {*look, *parents})


def claim(principal: Principal, task: Task, agent_id: str) -> Claim:
    """Give a free task to an agent. Of many that ask at once one gets it; it may ask again.

    Conflict when another has it or it cannot be begun yet, Malformed when its status is not one
    in which tasks are given out.
    """
    if principal.agent_id not in (None, agent_id):
        raise Forbidden("An agent claims for itself")
    _refuse_unknown_agent(agent_id)
    branch = task.branch or branches.task_branch(task.id, task.title)
    with db.atomic():
        claimed = _claimed(task, agent_id, branch)
        if claimed is None:
            return Claim(_not_claimed(task, agent_id), fresh=False)
        told = {"taskId": task.id, "agentId": agent_id, "branch": branch}
        tell_claimed(claimed, told)
    return Claim(claimed, fresh=True)


def branch_of(task: Task) -> tuple[str, bool]:
    """The branch of a task, and whether it was named just now."""
    with db.atomic():
        fresh = Task.locked(task.project_id, task.id)
        if fresh.branch is not None:
            return fresh.branch, False
        branch = branches.task_branch(fresh.id, fresh.title)
        fresh.name_branch(branch)
    return branch, True


def leave_workspace(task: Task, agent_id: str | None) -> None:
    """An agent is done with the files of a task: the folders of its runs that have ended go.

    What those runs left stays in the blob store, and whatever goes on with it finds it there.
    """
    with db.atomic():
        desk = Desk(task.project_id)
        for run_id in board.ended_runs(task.id):
            runs.remove_workspace.enqueue_twice(run_id)
        desk.tell("task_workspace_remove_requested", agentId=agent_id, taskId=task.id)


def depend(task: Task, from_task_id: str, kind: str) -> Dependency:
    """Have a task wait for another one; Malformed for itself, a double, or a circle."""
    with db.atomic():
        desk = Desk(task.project_id)
        before, after = desk.task(from_task_id), desk.task(task.id)
        _refuse_senseless(before, after, kind)
        edge = Dependency(
            id=Dependency.id.default(),
            project=desk.project.id,
            from_task=before.id,
            to_task=after.id,
            type=kind,
        )
        edge.add()
        about = {"dependencyId": edge.id, "fromTaskId": before.id, "toTaskId": after.id}
        desk.tell("dependency_added", taskId=after.id, **about, dependencyType=kind)
        desk.settle({}, {after.id})
    return edge


def release(edge: Dependency) -> None:
    """Have a task wait for another one no longer."""
    with db.atomic():
        desk = Desk(edge.project_id)
        Dependency.delete().where(Dependency.id == edge.id).execute()
        about = {"fromTaskId": edge.from_task_id, "toTaskId": edge.to_task_id}
        desk.tell("dependency_removed", taskId=edge.to_task_id, dependencyId=edge.id, **about)
        if edge.type == BLOCKS:
            desk.settle({}, {edge.to_task_id})


def lane_by_id(desk: Desk, column_id: str) -> Lane:
    """A column of this board; NotFound for any other."""
    lane = next((lane for lane in desk.board.lanes if lane.id == column_id), None)
    if lane is None:
        raise NotFound(f"Column {column_id} not found")
    return lane


def tell_claimed(task: Task, told: Mapping[str, Any]) -> None:
    """Tell the streams that somebody has the task; takes no lock of the board."""
    project = Project.find(task.project_id)
    if project is not None:
        about = {"projectId": project.id, **told}
        events.announce(project.owner_id, ("task_claimed", about), project_id=project.id)


def _place(desk: Desk, form: Mapping[str, Any]) -> tuple[Lane, str]:
    column_id = form.get("column_id")
    if column_id is not None:
        lane = lane_by_id(desk, column_id)
        if not lane.statuses:
            raise Malformed("This column has no status that a task could take")
        return lane, lane.statuses[0]
    place = desk.board.placement(form.get("parent_task_id") is not None)
    if place is None:
        raise Conflict("This project has no column with a status; add one first")
    return place


def _refuse_unknown_agent(agent_id: str) -> None:
    if not Agent.select().where(Agent.id == agent_id).exists():
        raise Agent.missing(agent_id)


_CLAIM = """
    UPDATE tasks SET assigned_agent = %(agent)s, updated_at = %(now)s,
        metadata = metadata || %(branch)s::jsonb
    WHERE id = %(task)s AND assigned_agent IS NULL
        AND status = ANY(%(claimable)s::text[])
        AND NOT EXISTS (SELECT FROM tasks AS child WHERE child.parent_task_id = tasks.id)
        AND NOT EXISTS (
            SELECT FROM dependency_edges JOIN tasks AS blocker ON blocker.id = from_task_id
            WHERE to_task_id IN (tasks.id, tasks.parent_task_id) AND type = 'blocks'
                AND NOT blocker.status = ANY(%(done)s::text[]))
        AND EXISTS (SELECT FROM projects WHERE id = project_id AND state = %(active)s)
    RETURNING *
"""


def _claimed(task: Task, agent_id: str, branch: str) -> Task | None:
    """One statement decides; None when the task is not to be had."""
    means = _means(task)
    cursor = {
        "agent": agent_id,
        "now": now_ms(),
        "branch": dumps({"git_branch": branch}),
        "task": task.id,
        "claimable": list(means.claimable),
        "done": list(means.terminal_done),
        "active": ACTIVE,
    }
    return next(iter(Task.read_named(_CLAIM, cursor)), None)


def _not_claimed(task: Task, agent_id: str) -> Task:
    """The task when the agent has it already; else raise why it is not to be had."""
    found = Task.find(task.id)
    if found is None:
        raise Task.missing(task.id)
    if found.assigned_agent == agent_id:
        return found
    if found.assigned_agent is not None:
        raise Conflict(f"{task.id} is already claimed by {found.assigned_agent}")
    means = _means(task)
    if found.status not in means.claimable:
        raise Malformed(f"{task.id} is {found.status}, in which tasks are not given out")
    if board.is_container(task.id):
        raise Conflict(f"{task.id} has subtasks; claim one of those")
    waits = board.unfinished_blockers(task.id, means.terminal_done)
    if waits:
        raise Conflict(f"{task.id} waits for: {', '.join(waits)}")
    raise Conflict(f"{task.id} cannot be claimed now: its project rests, or it was just taken")


def _means(task: Task) -> kanban.Semantics:
    told = Project.select(Project.status_semantics).where(Project.id == task.project_id).first()
    return kanban.Semantics.of(told.status_semantics if told else None)


def _dependents(task_id: str) -> list[str]:
    rows: Any = Dependency.select(Dependency.to_task).where(
        (Dependency.from_task == task_id) & (Dependency.type == BLOCKS)
    )
    return [found for (found,) in rows.tuples()]


def _refuse_senseless(before: Task, after: Task, kind: str) -> None:
    if before.id == after.id:
        raise Malformed("A task cannot depend on itself")
    pair = (Dependency.from_task == before.id) & (Dependency.to_task == after.id)
    if Dependency.select().where(pair).exists():
        raise Malformed(f"{after.id} depends on {before.id} already")
    if Dependency.select().where(Dependency.to_task == after.id).count() >= MOST_DEPENDENCIES:
        raise Invalid(f"A task depends on at most {MOST_DEPENDENCIES} others")
    if kind != BLOCKS:
        return
    way = kanban.closes_circle(board.cards([after.id]), before.id, after.id)
    if way:
        rows: Any = Task.select(Task.id, Task.title).where(Task.id.in_(way)).tuples()
        titles = dict(rows)
        named = " → ".join(titles.get(each, each) for each in [*way, after.id])
        raise Malformed(f"This would close a circle: {named}")
