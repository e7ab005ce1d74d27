"""What waits for somebody: steps that were refused a hand, and whatever's request was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.base import CLOCK, db
from models.runs import Run


@dataclass(frozen=True)
class Waiting:
    """How much waits for the workers of a queue, and the first of it.

    A step by its id, a run that nobody has begun by its id and its attempt.
    """

    number: int
    first: Sequence[tuple[str, int | None]]


def refused(agent_id: str, limit: int) -> list[str]:
    """The ids of the agent's steps that were due and refused, the most urgent and oldest first.

    One that is due from the start (`due_at` 0) is on its way to a worker. The caller holds the
    agent's lock: whoever is being refused at this moment has been written down.
    """
    rows = db.now(
        f"""
        SELECT steps.id FROM steps JOIN runs ON runs.id = steps.run_id
        WHERE steps.agent_id = %s AND steps.queue = 'agents'
          AND steps.state = 'queued' AND runs.state = 'running'
          AND steps.due_at BETWEEN 1 AND {CLOCK}
        ORDER BY steps.priority DESC, steps.created_at, steps.id LIMIT %s
        """,  # noqa: S608
        (agent_id, limit),
    )
    return [step_id for (step_id,) in rows]


def forgotten(older_than_ms: int, limit: int = 200) -> Mapping[str, Waiting]:
    """By queue, the due steps that nobody takes though their agents have hands, and the new runs.

    Either their requests wait as they do, or those were lost: Redis knows how many it has.
    """
    rows = db.execute_sql(
        f"""
        WITH late AS (
            SELECT steps.queue, steps.id, NULL AS attempt, steps.priority, steps.created_at
            FROM steps JOIN runs ON runs.id = steps.run_id
                LEFT JOIN agents ON agents.id = steps.agent_id
                LEFT JOIN (
                    SELECT agent_id, count(*) AS steps FROM steps
                    WHERE state = 'running' AND queue = 'agents' GROUP BY agent_id
                ) AS busy ON busy.agent_id = steps.agent_id
            WHERE steps.state = 'queued' AND runs.state = 'running'
              AND (steps.queue <> 'agents'
                   OR coalesce(busy.steps, 0) < coalesce(agents.concurrent_steps, 2))
              AND greatest(steps.due_at, steps.updated_at) + %s < {CLOCK}
            UNION ALL
            SELECT CASE kind WHEN 'executor' THEN 'executors' ELSE 'agents' END,
                id, attempt, priority, created_at
            FROM runs
            WHERE state = 'pending' AND kind <> 'chat' AND updated_at + %s < {CLOCK}
        ), waiting AS (
            SELECT *, count(*) OVER (PARTITION BY queue) AS number,
                row_number() OVER (PARTITION BY queue
                    ORDER BY priority DESC, created_at, id) AS place
            FROM late
        )
        SELECT queue, max(number), array_agg(id ORDER BY place), array_agg(attempt ORDER BY place)
        FROM waiting WHERE place <= %s GROUP BY queue
        """,  # noqa: S608
        (older_than_ms, older_than_ms, limit),
    )
    return {
        queue: Waiting(number, list(zip(ids, attempts, strict=True)))
        for queue, number, ids, attempts in rows
    }


def overslept(limit: int = 200) -> list[str]:
    """The ids of waiting steps that nobody woke although what they wait for is over or gone."""
    rows = db.execute_sql(
        """
        SELECT steps.id FROM steps
            LEFT JOIN runs ON runs.id = steps.waits_for
            LEFT JOIN swarms ON swarms.id = steps.waits_for
        WHERE steps.state = 'waiting'
          AND coalesce(runs.state, swarms.state, 'gone')
              IN ('completed', 'failed', 'cancelled', 'gone')
        LIMIT %s
        """,
        (limit,),
    )
    return [step_id for (step_id,) in rows]


def forsaken(limit: int = 100) -> list[str]:
    """The ids of swarms and executors at work for a step that is over or gone: nobody waits.

    An executor that a person began anew stands `apart`: it is at work for that person.
    """
    rows = db.execute_sql(
        """
        SELECT delegate.id FROM (
            SELECT id, meta->>'asked_by' AS asked_by FROM runs
            WHERE state IN ('pending', 'running', 'paused') AND kind = 'executor'
              AND NOT meta ?| ARRAY['swarm_id', 'apart']
            UNION ALL
            SELECT id, asked_by FROM swarms WHERE state IN ('pending', 'running', 'merging')
        ) AS delegate LEFT JOIN steps ON steps.id = split_part(delegate.asked_by, ':', 1)
        WHERE delegate.asked_by IS NOT NULL
          AND (steps.id IS NULL OR steps.state IN ('completed', 'failed', 'cancelled'))
        LIMIT %s
        """,
        (limit,),
    )
    return [delegate_id for (delegate_id,) in rows]


def idle_runs(older_than_ms: int, limit: int = 200) -> Sequence[Run]:
    """Runs that should move but have no step under way or waiting; a chat rests between turns.

    Other new runs are among the `forgotten`, if they are.
    """
    text = f"""
        SELECT * FROM runs
        WHERE (state = 'running' OR state = 'pending' AND kind = 'chat')
            AND updated_at + %s < {CLOCK}
            AND NOT EXISTS (SELECT FROM steps WHERE steps.run_id = runs.id
                AND steps.state IN ('queued', 'running', 'waiting'))
            AND (kind <> 'chat' OR state = 'pending' OR EXISTS (
                SELECT FROM chat_messages WHERE session_id = runs.id
                    AND chat_messages.state IN ('queued', 'running')))
        LIMIT %s
    """  # noqa: S608
    return Run.read(text, older_than_ms, limit)
