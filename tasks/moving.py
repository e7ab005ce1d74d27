"""Moving tasks over a board: the one place that changes a task's status, and what follows from it.

Whoever moves tasks holds the project's row lock, so limits, dependencies and parents are judged by
what is true, and nobody waits for anybody in a circle.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any

from models import board, events, kanban, policies, stages
from models.base import db, now_ms
from models.board import Task
from models.errors import Conflict, Malformed
from models.kanban import Board, Lane
from models.projects import ACTIVE, Project, ProjectAgent
from models.stages import Policy, Standing
from tasks import task as declared

MOST_NOTES = 100  # of a task's moves


@declared(queue="short")
def call(agent_id: str, task_id: str, act: str) -> None:
    """Wake the agent that looks after what a task has come to; `act` names the move."""


class Desk:
    """A project's board while it is locked; made inside the transaction that changes it."""

    def __init__(self, project_id: str) -> None:
        self.project = Project.locked(project_id)

    @cached_property
    def board(self) -> Board:
        return board.layout(self.project)

    @cached_property
    def policy(self) -> Policy | None:
        return policies.of_project(self.project.id)

    @cached_property
    def crew(self) -> set[str]:
        """The agents that work on the project."""
        rows = ProjectAgent.select(ProjectAgent.agent_id)
        return {row.agent_id for row in rows.where(ProjectAgent.project == self.project.id)}

    def task(self, task_id: str) -> Task:
        """A task of this board, locked; NotFound for any other."""
        return Task.locked(self.project.id, task_id)

    def tell(self, kind: str, **data: Any) -> None:
        """Tell the streams what happened on the board."""
        about = {"projectId": self.project.id, **data}
        events.announce(self.project.owner_id, (kind, about), project_id=self.project.id)

    def refuse_unless_active(self) -> None:
        """Raise Conflict where the project rests or is over: no work begins there."""
        if self.project.state != ACTIVE:
            raise Conflict(f"Project {self.project.id} is {self.project.state}; nothing begins")

    def rules(self, task: Task) -> stages.Rules:
        """What the policy says about this kind of work; nothing without a policy."""
        return stages.rules_for(self.policy, task.work_type) if self.policy else []

    def lane_for(self, status: str) -> Lane:
        """The column of a status; Malformed names the ones there are."""
        lane = self.board.lane_of(status)
        if lane is None:
            known = ", ".join(sorted(self.board.statuses)) or "none, it has no columns"
            raise Malformed(f"Unknown status {status!r}; this board has: {known}")
        return lane

    def refuse(self, task: Task, target: str, force: bool = False) -> None:
        """Raise what speaks against moving a task by hand; `force` leaves out policy and order."""
        lane = self.lane_for(target)
        self.refuse_crowd(task, lane)
        if force:
            return
        refusal = stages.refusal(self.board, self.rules(task), standing(task), target)
        if refusal:
            raise _refused(f"{task.id} cannot become {target}: {refusal}", self.board.done(target))
        if self.board.done(target):
            left = board.unfinished_children(task.id, self.board.means.terminal_done)
            if left:
                raise Conflict(f"{task.id} has {left} unfinished subtasks")
        if target in self.board.means.in_progress:
            self.refuse_waiting(task)

    def refuse_crowd(self, task: Task, lane: Lane) -> None:
        """Raise Conflict when the column is full and the task is not in it already."""
        if lane.wip_limit is None or task.column_id == lane.id:
            return
        if board.crowd(lane.id) >= lane.wip_limit:
            raise Conflict(f"The column is full: its limit is {lane.wip_limit} tasks")

    def refuse_waiting(self, task: Task) -> None:
        """Raise Conflict while something that the task depends on is not done."""
        waits = board.unfinished_blockers(task.id, self.board.means.terminal_done)
        if waits:
            raise Conflict(f"{task.id} waits for: {', '.join(waits)}")

    def move(
        self,
        task: Task,
        target: str,
        reason: str | None = None,
        note: str | None = None,
        **also: Any,
    ) -> str:
        """Give a task a status, with all that follows for others; gives the status it had.

        `also` are further columns. The same status again only writes those.
        """
        before = task.status
        if target == before:
            if also:
                task.put(updated_at=now_ms(), **also)
            return before
        self._write(task, target, None, note, also)
        self._told(task, before, target, reason, note)
        self.settle({task.id: before})
        return before

    def settle(self, was: Mapping[str, str | None], look: Collection[str] = ()) -> None:
        """Let the rules say what follows for others from what has changed, and do that."""
        cards = board.cards({*was, *look})
        for change in kanban.settle(self.board, cards, was, look):
            task = self.task(change.task_id)
            before = task.status
            if change.status == before:
                task.put(held_from=change.held_from)
                continue
            self._write(task, change.status, change.held_from, None, {})
            self._told(task, before, change.status, change.reason, None)

    def _write(
        self,
        task: Task,
        target: str,
        held_from: str | None,
        note: str | None,
        also: Mapping[str, Any],
    ) -> None:
        now, lane = now_ms(), self.lane_for(target)
        done = self.board.done(target)
        changes: dict[str, Any] = {
            "status": target,
            "held_from": held_from,
            "completed_stages": stages.completed_by(self.board, standing(task), target),
            "completed_at": (task.completed_at or now) if done else None,
            "updated_at": now,
        }
        if lane.id != task.column_id:
            changes |= {"column": lane.id, "column_position": board.end_of(lane.id)}
        if note:
            changes["metadata"] = noted(task, target, note, now)
        task.put(**{**changes, **also})

    def _told(
        self, task: Task, before: str, target: str, reason: str | None, note: str | None
    ) -> None:
        about = {"taskId": task.id, "status": target, "fromStatus": before, "toStatus": target}
        self.tell("task_status_changed", **about, note=note, reason=reason)
        woken = stages.agent_for(self.rules(task), target, task.work_type)
        if woken is not None:
            context = {"taskId": task.id, "taskTitle": task.title, "status": target}
            told = {"agentId": woken, "source": "transition_trigger", "context": context}
            self.tell("pulse_triggered", **told)
            if woken in self.crew and task.run_id is None:
                call.enqueue_twice(woken, task.id, f"move:{secrets.token_hex(12)}")
        if self.board.done(target) and task.assigned_agent:
            gone = {"agentId": task.assigned_agent, "taskId": task.id}
            self.tell("task_workspace_remove_requested", **gone)


def standing(task: Task) -> Standing:
    """Where a task stands in its workflow."""
    return Standing(task.status, task.work_type, tuple(task.completed_stages))


def renumber(lane_id: str, position: int) -> None:
    """Make room for a task at a place of a column, if somebody has that place."""
    db.later(
        """
        UPDATE tasks SET column_position = column_position + 1
        WHERE column_id = %(lane)s AND column_position >= %(place)s AND EXISTS (
            SELECT FROM tasks WHERE column_id = %(lane)s AND column_position = %(place)s)
        """,
        {"lane": lane_id, "place": position},
    )


def noted(task: Task, target: str, note: str, now: int, **more: str) -> dict[str, Any]:
    """A task's metadata with one more note about a move, or about it where it stands."""
    entry = {"from": task.status, "to": target, "note": note, "timestamp": now, **more}
    return {**task.metadata, "transition_notes": [*task.notes, entry][-MOST_NOTES:]}


def _refused(message: str, ends: bool) -> Exception:
    """Work that is left out can be caught up on; a stage that is skipped stays so."""
    return Conflict(message) if ends else Malformed(message)
