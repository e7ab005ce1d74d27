"""The agents' timeline: what each one did, when (runs.md section 18.5 of the wire contract)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peewee import BigAutoField, CharField

from models import events
from models.accounts import Principal
from models.base import IDENTIFIER, JsonField, Model, Moment, now_ms


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
        """Whoever the agent worked for, and admins."""
        query = cls.select()
        return query if principal.is_admin else query.where(cls.owner_id == principal.id)


def note(
    agent_id: str, owner_id: str | None, run_id: str | None, *entries: tuple[str, Mapping[str, Any]]
) -> None:
    """Write timeline entries and tell the streams, in the current transaction."""
    rows = [
        {"agent_id": agent_id, "owner_id": owner_id, "run_id": run_id, "type": kind, "data": data}
        for kind, data in entries
    ]
    made = Activity.insert_many(rows).returning(Activity.id).tuples().execute()
    told = [
        ("activity", {"agentId": agent_id, "id": str(key), "activityType": kind, "data": data})
        for (key,), (kind, data) in zip(made, entries, strict=True)
    ]
    events.announce(owner_id, *told)
