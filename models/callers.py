"""Whether callers are still who they were: for what lasts longer than a request."""

from __future__ import annotations

from collections.abc import Iterable

from models.base import db, now_ms
from models.principals import Principal


def alive(principals: Iterable[Principal]) -> set[Principal]:
    """Those whose login or key still makes them who they are; asked for all of them at once."""
    callers = list(principals)
    logins = [caller.session_id for caller in callers if caller.session_id]
    keys = [caller.key_id for caller in callers if caller.key_id]
    rights = dict(db.now(_RIGHTS, (logins, now_ms(), keys, now_ms())).fetchall())
    return {caller for caller in callers if _unchanged(caller, rights)}


def _unchanged(caller: Principal, rights: dict[str, bool | None]) -> bool:
    proof = caller.session_id or caller.key_id
    if proof is None:
        return True  # the service token, or nobody in particular where accounts are off
    return proof in rights and rights[proof] in (None, caller.is_admin)


_RIGHTS = """
    SELECT logins.id, users.is_admin FROM user_sessions AS logins
        JOIN users ON users.id = logins.user_id
    WHERE logins.id = ANY(%s) AND users.is_active AND logins.expires_at > %s
    UNION ALL
    SELECT api_keys.id, users.is_admin FROM api_keys LEFT JOIN users ON users.id = api_keys.user_id
    WHERE api_keys.id = ANY(%s) AND api_keys.is_active
        AND (api_keys.expires_at IS NULL OR api_keys.expires_at > %s)
        AND (api_keys.user_id IS NULL OR users.is_active)
"""
