"""Browser cookies: logins that people lend to agents, one set for each site.

Their content is sealed here and nowhere else. It becomes files only in the sandbox of a step, in
runs of whoever owns the set, and is gone with the step.
"""

from __future__ import annotations

from typing import Any, Self

from peewee import BigAutoField, BigIntegerField, CharField, ForeignKeyField, IntegerField, fn

from models.accounts import User
from models.base import IDENTIFIER, Model, Moment, id_field, now_ms
from models.netscape import LONGEST_DOMAIN
from models.principals import Principal
from models.runs import Run
from models.vault import Sealed, Vaulted

LONGEST_NAME = 256
LARGEST = 1 << 20  # bytes of a cookie file
MOST_COOKIES = 500
MOST = 100  # sets of one owner
MOST_GIVEN = 20  # sets of one agent in one run


class CookieSet(Vaulted):
    """The cookies of one site, as a cookie file."""

    label = "Cookie set"
    user_id: str | None

    id = id_field("ck_")
    owner_id = CharField(max_length=IDENTIFIER)
    user = ForeignKeyField(User, null=True, on_delete="CASCADE", index=True)  # owners with accounts
    name = CharField(max_length=LONGEST_NAME)
    domain = CharField(max_length=LONGEST_DOMAIN)
    content = Sealed()
    cookie_count = IntegerField()
    expires_at = BigIntegerField(null=True)  # epoch seconds, as cookies have it
    created_at = Moment(default=now_ms)
    updated_at = Moment(default=now_ms)

    class Meta:
        table_name = "browser_cookie_sets"
        indexes = ((("owner_id", "created_at", "id"), False), (("created_at", "id"), False))

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """One's own; admins see all."""
        query = cls.select()
        return query if principal.is_admin else query.where(cls.owner_id == principal.id)

    @classmethod
    def usable(cls, agent_id: str, owner_id: str) -> list[Self]:
        """The sets that an agent gets in runs of their owner, the one granted last first."""
        return cls.read(_USABLE, agent_id, owner_id)

    @property
    def filename(self) -> str:
        """What the file is called; a person's words are no part of it."""
        return f"{self.id}.txt"


class CookieGrant(Model):
    """An agent may have a set, in runs of its owner."""

    label = "Grant"
    cookie_set_id: str

    id = BigAutoField()
    agent_id = CharField(max_length=IDENTIFIER)
    cookie_set = ForeignKeyField(CookieSet, on_delete="CASCADE", index=True)
    granted_by = CharField(max_length=IDENTIFIER)
    granted_at = Moment(default=now_ms)

    class Meta:
        table_name = "agent_cookie_grants"
        indexes = ((("agent_id", "cookie_set"), True),)

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Those of one's own sets; an agent's own, in a run those it has there; all for admins."""
        query = cls.select().join(CookieSet)
        if principal.is_admin:
            return query
        if principal.kind != "agent":
            return query.where(CookieSet.owner_id == principal.id)
        query = query.where(cls.agent_id == principal.agent_id)
        if principal.run_id is None:
            return query
        owner = Run.select(Run.owner_id).where(Run.id == principal.run_id)
        return query.where(CookieSet.owner_id.in_(owner))


def shown(query: Any) -> Any:
    """The query for what may be shown of sets, as dicts: everything but the cookies."""
    columns = [column for name, column in CookieSet._meta.fields.items() if name != "content"]
    return query.select(*columns, _grants().alias("grants")).dicts()


def described(cookies: CookieSet) -> dict[str, Any]:
    """What may be shown of one set."""
    row: dict[str, Any] = shown(CookieSet.select()).where(CookieSet.id == cookies.id).get()
    return row


def of_agent(principal: Principal, agent_id: str) -> Any:
    """The query for an agent's grants and what each is called, as dicts."""
    query = CookieGrant.visible_to(principal).where(CookieGrant.agent_id == agent_id)
    sets = (CookieSet.name.alias("cookie_set_name"), CookieSet.domain.alias("cookie_set_domain"))
    return query.select(CookieGrant, *sets).dicts()


def _grants() -> Any:
    """The grants of a set as JSON, the oldest first."""
    names = ("agent_id", "granted_by", "granted_at")
    words = [word for name in names for word in (name, getattr(CookieGrant, name))]
    given = CookieGrant.select(fn.jsonb_build_object(*words))
    given = given.where(CookieGrant.cookie_set == CookieSet.id).order_by(CookieGrant.id)
    return fn.to_jsonb(fn.ARRAY(given))


_USABLE = f"""
    SELECT sets.id, sets.name, sets.domain, sets.content
    FROM agent_cookie_grants AS given
        JOIN browser_cookie_sets AS sets ON sets.id = given.cookie_set_id
        LEFT JOIN users ON users.id = sets.user_id
    WHERE given.agent_id = %s AND sets.owner_id = %s
        AND (sets.user_id IS NULL OR users.is_active)
    ORDER BY given.granted_at DESC, given.id DESC LIMIT {MOST_GIVEN}
"""  # noqa: S608
