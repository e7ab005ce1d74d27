"""What could be begun on a board: in one look, whatever its size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.base import db
from models.kanban import Board

COLUMNS = (
    *("id", "title", "description", "status", "priority", "assigned_agent", "tags"),
    *("estimated_hours", "work_type", "completed_stages"),
)
SHORT = ("id", "title", "status", "priority")


def ready(project_id: str, board: Board, form: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tasks that wait for nothing and nobody, most urgent first, with those that wait for them.

    `form` says for whom (`agent_id`: theirs and nobody's), which statuses (by default those from
    which work may begin), which kinds of work, and how many (`limit`).
    """
    asked = form.get("statuses")
    statuses = list(asked if asked is not None else board.means.claimable)
    waiting = set(statuses) & set(board.means.initial)
    rows = db.now(
        _READY_AMONG_MANY if waiting else _READY,
        {
            "project": project_id,
            "done": list(board.means.terminal_done),
            "statuses": statuses,
            "agent": form.get("agent_id"),
            "kinds": form.get("work_types"),
            "limit": form["limit"],
        },
    )
    return [
        {**dict(zip(COLUMNS, row[:-1], strict=True)), "blocking_tasks": row[-1] or []}
        for row in rows
    ]


def in_progress(project_id: str, statuses: Sequence[str], limit: int) -> list[dict[str, Any]]:
    """Tasks in these statuses, most urgent first, with those that wait for them."""
    rows = db.now(_BEGUN, {"project": project_id, "statuses": list(statuses), "limit": limit})
    return [{**dict(zip(SHORT, row[:-1], strict=True)), "blocks": row[-1] or []} for row in rows]


_WAITING = """
    (SELECT json_agg(json_build_object('id', w.id, 'title', w.title, 'status', w.status))
     FROM (SELECT later.id, later.title, later.status
           FROM dependency_edges JOIN tasks AS later ON later.id = to_task_id
           WHERE from_task_id = tasks.id AND type = 'blocks'
           ORDER BY later.priority, later.id LIMIT 50) AS w)
"""
# Where a task waits for nothing: asked task by task, or of all that wait at once, which is quicker
# where most do, as among those that have not been begun with.
_ONE_BY_ONE = """
    NOT EXISTS (
        SELECT FROM dependency_edges JOIN tasks AS blocker ON blocker.id = from_task_id
        WHERE to_task_id = one.id AND type = 'blocks'
            AND NOT blocker.status = ANY(%(done)s::text[]))
    AND NOT EXISTS (
        SELECT FROM dependency_edges JOIN tasks AS blocker ON blocker.id = from_task_id
        WHERE to_task_id = one.parent_task_id AND type = 'blocks'
            AND NOT blocker.status = ANY(%(done)s::text[]))
"""
_ALL_AT_ONCE = """
    one.id NOT IN (SELECT task_id FROM held)
    AND (one.parent_task_id IS NULL OR one.parent_task_id NOT IN (SELECT task_id FROM held))
"""


def _asking(free: str) -> str:
    """Status by status, each along the index and no further than needed."""
    return f"""
    WITH held (task_id) AS (
        SELECT to_task_id FROM dependency_edges
        WHERE project_id = %(project)s AND type = 'blocks' AND from_task_id NOT IN (
            SELECT id FROM tasks
            WHERE project_id = %(project)s AND status = ANY(%(done)s::text[]))
    )
    SELECT {", ".join(f"tasks.{name}" for name in COLUMNS)}, {_WAITING}
    FROM unnest(%(statuses)s::text[]) AS wanted (status), LATERAL (
        SELECT * FROM tasks AS one
        WHERE one.project_id = %(project)s AND one.status = wanted.status
            AND run_id IS NULL
            AND (assigned_agent IS NULL OR %(agent)s::text IS NULL
                OR assigned_agent = %(agent)s::text)
            AND (%(kinds)s::text[] IS NULL OR work_type IS NULL
                OR work_type = ANY(%(kinds)s::text[]))
            AND NOT EXISTS (SELECT FROM tasks AS child WHERE child.parent_task_id = one.id)
            AND {free}
        ORDER BY priority, column_position, id LIMIT %(limit)s::bigint
    ) AS tasks
    ORDER BY priority, column_position, id LIMIT %(limit)s::bigint
    """  # noqa: S608


_READY = _asking(_ONE_BY_ONE)
_READY_AMONG_MANY = _asking(_ALL_AT_ONCE)
_BEGUN = f"""
    SELECT {", ".join(f"tasks.{name}" for name in SHORT)}, {_WAITING}
    FROM tasks WHERE project_id = %(project)s AND status = ANY(%(statuses)s::text[])
    ORDER BY priority, column_position, id LIMIT %(limit)s::bigint
"""  # noqa: S608
