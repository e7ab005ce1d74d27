"""Who used the API for what: runs and chats, and whose keys of providers they were given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peewee import SQL, Value

from models import tallies
from models.accounts import User
from models.chats import ChatSession
from models.runs import Run
from models.tallies import CHAT, RUN, Usage

SYSTEM, INSTANCE, PERSONAL, SHARED = "system", "instance", "personal", "admin_shared"
WHOLE = {INSTANCE: SYSTEM, PERSONAL: "executing_user"}  # of rows that name no single provider
PROVIDER_SOURCES = "key_resolution->'providerSources'"


def usage(filters: Mapping[str, Any], limit: int, offset: int) -> tuple[list[Any], dict[str, int]]:
    """Runs and chats that match, newest first, from `offset` on; and how many of each match.

    `filters`: user_id, status, key_source, type.
    """
    both = {kind: _narrowed(kind, filters) for kind in _kinds(filters)}
    newest = SQL("created_at DESC"), SQL("id DESC")
    # each is cut to what may be on the page before they are put together: neither is sorted whole
    firsts = [query.order_by(*newest).limit(offset + limit) for query in both.values()]
    found = firsts[0] if len(firsts) == 1 else firsts[0].union_all(firsts[1])
    page = found.order_by(*newest).limit(limit).offset(offset)
    return _named(list(page.dicts())), {kind: query.count() for kind, query in both.items()}


def spent(filters: Mapping[str, Any]) -> dict[str, Any]:
    """What the calls of a user's runs and chats that match add up to.

    A state is known of each run alone.
    """
    wanted = filters.get("type")
    if filters.get("status") is None:
        mine = Usage.select().where(Usage.owner_id == filters["user_id"])
        return tallies.total(mine.where(Usage.type == wanted) if wanted else mine)
    return tallies.total_of_runs(*(_narrowed(kind, filters, ids=True) for kind in _kinds(filters)))


def _kinds(filters: Mapping[str, Any]) -> list[str]:
    return [kind for kind in (RUN, CHAT) if filters.get("type") in (None, kind)]


def _narrowed(kind: str, filters: Mapping[str, Any], ids: bool = False) -> Any:
    """The runs or the chats that match; their ids alone if only these are asked for."""
    model: Any = Run if kind == RUN else ChatSession
    whose = Run.owner_id if kind == RUN else ChatSession.user_id
    query = _runs() if kind == RUN else _chats()
    query = query.select(model.id) if ids else query
    if filters.get("user_id") is not None:
        query = query.where(whose == filters["user_id"])
    if filters.get("status") is not None:
        query = query.where(model.state == filters["status"])
    if filters.get("key_source") is not None:
        query = query.where(_paid_by(filters["key_source"]))
    return query


def _runs() -> Any:
    told = Run.pipeline_id.alias("agent_id"), Run.kind.alias("source")
    columns = *_columns(Run, RUN, Run.owner_id), *told, Run.model_override.alias("model")
    return Run.select(*columns).where(Run.kind != CHAT)


def _chats() -> Any:
    told = ChatSession.agent_id, ChatSession.source, ChatSession.model
    return ChatSession.select(*_columns(ChatSession, CHAT, ChatSession.user_id), *told)


def _columns(model: Any, kind: str, whose: Any) -> tuple[Any, ...]:
    shown = model.id, whose.alias("owner_id"), model.state, model.key_resolution, model.created_at
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
