"""The agents' timeline: what each one did, when (runs.md section 18.5 of the wire contract)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peewee import BigAutoField, CharField

from models import outbox
from models.base import IDENTIFIER, JsonField, Model, Moment, db, dumps, now_ms
from models.principals import Principal
from models.projects import of_runs
from models.runs import Run


class Activity(Model):
    """One entry of an agent's timeline."""

    id = BigAutoField()
    agent_id = CharField(max_length=IDENTIFIER)
    owner_id = CharField(max_length=IDENTIFIER, null=True)
    run_id = CharField(max_length=IDENTIFIER, null=True)
    type = CharField(max_length=32)
    data = JsonField()
    created_at = Moment(default=now_ms)

    class Meta:
        table_name = "activities"
        indexes = ((("agent_id", "id"), False), (("run_id",), False), (("created_at",), False))

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Its owner, the members of its run's project, and admins."""
        return of_runs(cls, Run, principal)


def note(
    agent_id: str, owner_id: str | None, run_id: str | None, *entries: tuple[str, Mapping[str, Any]]
) -> None:
    """Write timeline entries and tell the streams, in the current transaction."""
    db.later(
        f"""
        WITH entries AS (
            INSERT INTO activities (agent_id, owner_id, run_id, type, data, created_at)
            SELECT %(agent)s, %(owner)s, %(run)s, kind, data, %(at)s
            FROM unnest(%(kinds)s::text[], %(datas)s::text[]::jsonb[]) AS entry (kind, data)
            RETURNING id, type, data
        )
        INSERT INTO outbox (queue, body, due_at)
        SELECT %(queue)s, jsonb_build_object(
            'run', %(run)s, 'seq', NULL, 'owner', %(owner)s,
            'project', (SELECT project_id FROM runs WHERE id = %(run)s),
            'type', 'activity', 'at', %(at)s, 'data', jsonb_build_object(
                'agentId', %(agent)s, 'id', id::text, 'activityType', type,
                'data', {outbox.STREAMED})), 0
        FROM entries ORDER BY id
        """,  # noqa: S608
        {
            "agent": agent_id,
            "owner": owner_id,
            "run": run_id,
            "kinds": [kind for kind, _ in entries],
            "datas": [dumps(data) for _, data in entries],
            "queue": outbox.EVENTS,
            "at": now_ms(),
        },
    )
    outbox.ring()


def timeline(query: Any, form: Mapping[str, Any]) -> list[Activity]:
    """Entries newest first: of these agents and types, between moments, at most `limit`."""
    conditions = {
        "agent_id": Activity.agent_id.in_,
        "type": Activity.type.in_,
        "since": Activity.created_at.__ge__,
        "until": Activity.created_at.__lt__,
    }
    for name, condition in conditions.items():
        if form.get(name) is not None:
            query = query.where(condition(form[name]))
    return list(query.order_by(Activity.id.desc()).limit(form["limit"]))


def recent(query: Any, limit: int, since: int | None = None) -> list[Activity]:
    """The newest `limit` entries, or the oldest that many after a moment; newest first."""
    if since is None:
        return list(query.order_by(Activity.id.desc()).limit(limit))
    later = query.where(Activity.created_at > since).order_by(Activity.id).limit(limit)
    return list(later)[::-1]
