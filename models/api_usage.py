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


def page(filters: Mapping[str, Any], limit: int, offset: int) -> list[Any]:
    """Runs and chats that match, newest first, from `offset` on.

    `filters`: user_id, status, key_source, type.
    """
    both = list(_matching(filters).values())
    newest = SQL("created_at DESC"), SQL("id DESC")
    # each is cut to what may be on the page before they are put together: neither is sorted whole
    firsts = [query.order_by(*newest).limit(offset + limit) for query in both]
    found = firsts[0] if len(firsts) == 1 else firsts[0].union_all(firsts[1])
    return _named(list(found.order_by(*newest).limit(limit).offset(offset).dicts()))


def counts(filters: Mapping[str, Any]) -> dict[str, int]:
    """How many runs and how many chats match."""
    return {kind: query.count() for kind, query in _matching(filters).items()}


def spent(filters: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, Any]]:
    """How many of a user's runs and chats match, and what their calls add up to.

    A state is known of each run alone, so there they are counted and added up in one go.
    """
    if filters.get("status") is not None:
        return tallies.total_of_runs(_matching(filters))
    mine, wanted = Usage.select().where(Usage.owner_id == filters["user_id"]), filters.get("type")
    return counts(filters), tallies.total(mine.where(Usage.type == wanted) if wanted else mine)


def _matching(filters: Mapping[str, Any]) -> dict[str, Any]:
    kinds = [kind for kind in (RUN, CHAT) if filters.get("type") in (None, kind)]
    return {kind: _narrowed(kind, filters) for kind in kinds}


def _narrowed(kind: str, filters: Mapping[str, Any]) -> Any:
    model: Any = Run if kind == RUN else ChatSession
    whose = Run.owner_id if kind == RUN else ChatSession.user_id
    query = _runs() if kind == RUN else _chats()
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
