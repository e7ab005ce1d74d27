"""Who used the API for what: runs and chats, and whose keys of providers they were given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peewee import SQL, Value

from models.accounts import User
from models.runs import Run
from models.sessions import Session

CHAT, RUN = "chat", "run"
SYSTEM, INSTANCE, PERSONAL, SHARED = "system", "instance", "personal", "admin_shared"
WHOLE = {INSTANCE: SYSTEM, PERSONAL: "executing_user"}  # of rows that name no single provider
PROVIDER_SOURCES = "key_resolution->'providerSources'"


def usage(filters: Mapping[str, Any], limit: int, offset: int) -> tuple[list[Any], int]:
    """Runs and chats that match, newest first, from `offset` on; and how many match in all.

    `filters`: user_id, status, key_source, type.
    """
    both = [_narrowed(kind, filters) for kind in (RUN, CHAT) if filters.get("type", kind) == kind]
    found = both[0] if len(both) == 1 else both[0].union_all(both[1])
    page = found.order_by(SQL("created_at DESC"), SQL("id DESC")).limit(limit).offset(offset)
    total = sum(query.count() for query in both)
    return _named(list(page.dicts())), total


def _narrowed(kind: str, filters: Mapping[str, Any]) -> Any:
    model: Any = Run if kind == RUN else Session
    query = _runs() if kind == RUN else _chats()
    if filters.get("user_id") is not None:
        query = query.where(model.owner_id == filters["user_id"])
    if filters.get("status") is not None:
        query = query.where(model.state == filters["status"])
    if filters.get("key_source") is not None:
        query = query.where(_paid_by(filters["key_source"]))
    return query


def _runs() -> Any:
    told = Run.pipeline_id.alias("agent_id"), Run.kind.alias("source")
    return Run.select(*_columns(Run, RUN), *told, Run.model_override.alias("model"))


def _chats() -> Any:
    told = Session.agent_id, Session.source, Session.model
    return Session.select(*_columns(Session, CHAT), *told).where(Session.run_id.is_null())


def _columns(model: Any, kind: str) -> tuple[Any, ...]:
    shown = model.id, model.owner_id, model.state, model.key_resolution, model.created_at
    return *shown, model.completed_at, Value(kind).cast("text").alias("type")


def _paid_by(source: str) -> SQL:
    """Rows of which any provider had a key from `source`; who names none had the system's."""
    return SQL(
        f"""
        CASE WHEN coalesce({PROVIDER_SOURCES}, '{{}}') <> '{{}}' THEN EXISTS (
            SELECT FROM jsonb_each({PROVIDER_SOURCES}) AS told WHERE told.value->>'source' = %s)
        WHEN key_resolution IS NOT NULL THEN key_resolution->>'source' = %s
        ELSE %s = '{SYSTEM}' END
        """,
        [source, WHOLE.get(source, source), source],
    )


def _named(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the names of their users."""
    ids = {row["owner_id"] for row in rows}
    users: Any = User.select(User.id, User.email, User.display_name).where(User.id.in_(ids)).dicts()
    known = {user.pop("id"): user for user in users}
    unknown = {"email": None, "display_name": None}
    return [row | known.get(row["owner_id"], unknown) for row in rows]
