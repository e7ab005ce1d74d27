"""What happened: durable events, numbered without gaps per run, and their names on the wire.

`record` writes them under the run's row lock together with the outbox row that sends them out, so
nobody hears of what did not commit. Payload fields: runs.md section 18 of the wire contract.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from peewee import CharField, CompositeKey, IntegerField

from models import outbox
from models.base import CLOCK, IDENTIFIER, JsonField, Model, Moment, db, dumps, now_ms

Happening = tuple[str, Mapping[str, Any]]

LEGACY = {
    "agent_output": "STEP_OUTPUT",
    "agent_thinking": "STEP_THINKING",
    "session_created": "CONTAINER_CREATED",
    "session_destroyed": "CONTAINER_DESTROYED",
    "llm_call": "llm_call",
    "activity": "activity",
    "swarm_task_started": "swarm:task_started",
    "swarm_task_complete": "swarm:task_completed",
    "swarm_task_failed": "swarm:task_failed",
    "swarm_task_skipped": "swarm:task_skipped",
    "swarm_complete": "swarm:completed",
    "swarm_failed": "swarm:failed",
}
FINAL = frozenset({"run_complete", "run_failed"})


class Event(Model):
    """One durable event of a run; `seq` counts 1, 2, 3 ... within the run."""

    run_id = CharField(max_length=IDENTIFIER)
    seq = IntegerField()
    type = CharField(max_length=48)
    session_id = CharField(max_length=IDENTIFIER, null=True)
    data = JsonField()
    created_at = Moment()

    class Meta:
        table_name = "events"
        primary_key = CompositeKey("run_id", "seq")
        indexes = ((("session_id", "seq"), False),)

    def payload(self) -> dict[str, Any]:
        """The event as clients read it."""
        return payload(self.type, {"runId": self.run_id} | self.data, self.created_at)


def legacy_name(kind: str) -> str:
    """The original's name of an event type."""
    return LEGACY.get(kind, kind.upper())


def payload(kind: str, data: Mapping[str, Any], at: int) -> dict[str, Any]:
    """What a frame or a log entry says: both names, the fields, the time in milliseconds."""
    return {"type": kind, "legacyType": legacy_name(kind), **data, "timestamp": at}


def record(run_id: str, *happenings: Happening, session_id: str | None = None) -> None:
    """Append events to a run, in order, in the current transaction; nothing when it is gone.

    Takes the run's row lock; one clock, the database's, says when. What is too large for the
    streams is cut there and says that it is not `whole`.
    """
    kinds = [kind for kind, _ in happenings]
    datas = [dumps(data) for _, data in happenings]
    db.later(
        f"""
        WITH counted AS (
            UPDATE runs SET event_seq = event_seq + %(count)s WHERE id = %(run)s
            RETURNING event_seq - %(count)s AS base, owner_id, project_id
        ), written AS (
            INSERT INTO events (run_id, seq, type, session_id, data, created_at)
            SELECT %(run)s, base + place, kind, %(session)s, data, {CLOCK}
            FROM counted, unnest(%(kinds)s::text[], %(datas)s::text[]::jsonb[])
                WITH ORDINALITY AS happening (kind, data, place)
            RETURNING seq, type, data, created_at
        )
        INSERT INTO outbox (queue, body, due_at)
        SELECT %(queue)s, jsonb_build_object(
            'run', %(run)s, 'seq', seq, 'owner', owner_id, 'project', project_id,
            'type', type, 'data', {outbox.STREAMED}, 'at', created_at,
            'whole', octet_length(data::text) <= {outbox.LARGEST}), 0
        FROM written, counted ORDER BY seq
        """,  # noqa: S608
        {
            "run": run_id,
            "count": len(kinds),
            "kinds": kinds,
            "datas": datas,
            "session": session_id,
            "queue": outbox.EVENTS,
        },
    )
    outbox.ring()


def announce(owner_id: str | None, *happenings: Happening, project_id: str | None = None) -> None:
    """Tell the live streams of something that belongs to no run's history."""
    for kind, data in happenings:
        outbox.ask(outbox.EVENTS, loose(owner_id, kind, data, project_id))


def loose(
    owner_id: str | None, kind: str, data: Mapping[str, Any], project_id: str | None = None
) -> dict[str, Any]:
    """The stream body of an event without a number: live only."""
    return {
        "run": data.get("runId") or data.get("run_id"),
        "seq": None,
        "owner": owner_id,
        "project": project_id,
        "type": kind,
        "data": dict(data),
        "at": now_ms(),
    }


PAST = """
    SELECT runs.state, runs.event_seq, next.seq, next.type, next.told, next.created_at
    FROM runs LEFT JOIN LATERAL (
        SELECT seq, type, data::text AS told, created_at,
            sum(octet_length(data::text)) OVER (ORDER BY seq) - octet_length(data::text) AS before
        FROM (
            SELECT * FROM events WHERE run_id = runs.id AND seq > %s ORDER BY seq LIMIT %s
        ) AS following
    ) AS next ON next.before < %s
    WHERE runs.id = %s ORDER BY next.seq
"""


class Told(NamedTuple):
    """A piece of a run's past, and how the run stands: `state` is None when it is gone."""

    payloads: list[tuple[int, dict[str, Any]]]
    state: str | None = None
    newest: int = 0


def told(run_id: str, seq: int, limit: int, size: int) -> Told:
    """Numbers and payloads after number `seq`: at most `limit`, and about `size` bytes or one.

    Streams replay with it: several times quicker than rows as objects.
    """
    rows = db.execute_sql(PAST, (seq, limit, size, run_id)).fetchall()
    payloads = [
        (number, payload(kind, {"runId": run_id} | orjson.loads(data), at))
        for _, _, number, kind, data, at in rows
        if number is not None
    ]
    return Told(payloads, *rows[0][:2]) if rows else Told([])


def told_since(run_id: str, seq: int, session_id: str | None) -> bool:
    """Whether a session has told anything after number `seq` of its run."""
    text = """
        SELECT EXISTS (SELECT FROM events WHERE run_id = %s AND seq > %s AND session_id = %s)
    """
    return bool(db.now(text, (run_id, seq, session_id)).fetchone()[0])


def after(run_id: str, seq: int, limit: int) -> Sequence[Event]:
    """The run's events after number `seq`, in order, at most `limit`."""
    query = Event.select().where((Event.run_id == run_id) & (Event.seq > seq))
    return list(query.order_by(Event.seq).limit(limit))
