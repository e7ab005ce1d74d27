"""Secrets: credentials that people hand to agents, and in whose runs each of them is used.

A secret of the instance is the admins'; one of a user is theirs alone. Agents get the values as
environment variables, and only in runs whose owner may use the secret: an admin sees that somebody
keeps a secret, but no run of theirs is given it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from peewee import CharField, ForeignKeyField, fn

from models.accounts import User
from models.base import IDENTIFIER, LongText, Model, Moment, id_field, now_ms
from models.errors import Conflict, DomainError
from models.logs import log
from models.principals import Principal
from models.vault import Sealed, Unreadable, Vaulted

INSTANCE, USER = "instance", "user"
TYPES: Mapping[str, str] = {
    "pat": "Personal Access Token",
    "ssh_key": "SSH Private Key",
    "env_var": "Environment Variable",
    "password": "Password",
    "api_key": "API Key",
    "token": "Token",
    "other": "Other",
}
LONGEST_NAME = LONGEST_KEY = 256
LONGEST_DESCRIPTION = 4_096
LARGEST = 64 * 1024  # bytes of a value
MOST = 500  # secrets of one owner, and of the instance
MOST_GIVEN = 200  # variables of one agent
ENV_KEY = re.compile(r"[A-Z_][A-Z0-9_]*")
# What decides which programs run, what they load, or where our own ones connect.
DENIED = frozenset(
    re.findall(
        r"\w+",
        """
        PATH HOME SHELL IFS ENV BASH_ENV SHELLOPTS BASHOPTS PS4 PROMPT_COMMAND NODE_OPTIONS
        PERL5LIB PERL5OPT RUBYLIB RUBYOPT GIT_SSH GIT_SSH_COMMAND GIT_DIR GIT_WORK_TREE
        GIT_EXEC_PATH ENGINE_INTERNAL_TOKEN REDIS_URL DATABASE_URL
        """,
    )
)
DENIED_BEGINNINGS = ("LD_", "DYLD_", "PYTHON", "AGENT_", "DJINNBOT_", "MCPO_", "GIT_CONFIG")


class Secret(Vaulted):
    """One credential; the value is sealed, and the mask is all that is ever shown of it."""

    label = "Secret"
    owner_id: str | None

    id = id_field("sec_")
    owner = ForeignKeyField(User, null=True, on_delete="CASCADE", index=False)
    scope = CharField(max_length=16)
    name = CharField(max_length=LONGEST_NAME)
    description = LongText(null=True)
    secret_type = CharField(max_length=32)
    env_key = CharField(max_length=LONGEST_KEY)
    value = Sealed()
    masked_preview = CharField(max_length=64)
    created_at = Moment(default=now_ms)
    updated_at = Moment(default=now_ms)

    class Meta:
        table_name = "secrets"
        indexes = ((("owner", "created_at", "id"), False), (("created_at", "id"), False))

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """One's own and those of the instance that one was given; all for admins and the engine."""
        query = cls.select()
        return query if _sees_all(principal) else query.where(_usable(principal.id))

    @classmethod
    def named(cls, principal: Principal, key: str) -> Self:
        """The visible secret with this id or else, if only one has it, this name."""
        mine = cls.visible_to(principal)
        found = mine.where(cls.id == key).first()
        alike = [found] if found else list(mine.where(cls.name == key).limit(2))
        if len(alike) > 1:
            raise Conflict(f"Several secrets are called {key}: say which by its id")
        if not alike:
            raise cls.missing(key)
        secret: Self = alike[0]
        return secret

    def edited_by(self, principal: Principal) -> bool:
        """Whether somebody may change it: to use a secret is less than to own it."""
        return principal.is_admin or self.owner_id == principal.id


class AgentGrant(Model):
    """An agent may have a secret, in runs whose owner may use it."""

    label = "Grant"
    secret_id: str

    id = id_field("grt_")
    secret = ForeignKeyField(Secret, on_delete="CASCADE", index=False)
    agent_id = CharField(max_length=IDENTIFIER)
    granted_by = CharField(max_length=IDENTIFIER, null=True)
    granted_at = Moment(default=now_ms)

    class Meta:
        table_name = "agent_secret_grants"
        indexes = ((("secret", "agent_id"), True), (("agent_id", "granted_at", "id"), False))


class UserGrant(Model):
    """A person may use a secret of the instance."""

    label = "Grant"
    secret_id: str
    user_id: str

    id = id_field("usg_")
    secret = ForeignKeyField(Secret, on_delete="CASCADE", index=False)
    user = ForeignKeyField(User, on_delete="CASCADE", index=True)
    granted_by = CharField(max_length=IDENTIFIER, null=True)
    granted_at = Moment(default=now_ms)

    class Meta:
        table_name = "user_secret_grants"
        indexes = ((("secret", "user"), True),)


@dataclass(frozen=True)
class Environment:
    """Variables for an agent.

    Of several secrets with one key the one granted last is taken, and the key is among the
    `conflicts`. `lost` are keys whose values do not open.
    """

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def key_fault(key: str) -> str | None:
    """Why no secret may have this environment key; None when one may."""
    if not ENV_KEY.fullmatch(key) or len(key) > LONGEST_KEY:
        return (
            "Must be a letter or underscore, then letters, digits and underscores,"
            f" at most {LONGEST_KEY}."
        )
    if key in DENIED or key.startswith(DENIED_BEGINNINGS):
        return f"{key} is reserved: it would change how an agent's commands run."
    return None


def key_of(name: str) -> str:
    """The environment key that a secret's name suggests."""
    return re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")


def shown(query: Any) -> Any:
    """The query for what may be shown of secrets, as dicts: everything but the values."""
    columns = [column for name, column in Secret._meta.fields.items() if name != "value"]
    return query.select(*columns, _agents().alias("granted_agents")).dicts()


def described(secret: Secret) -> dict[str, Any]:
    """What may be shown of one secret."""
    row: dict[str, Any] = shown(Secret.select()).where(Secret.id == secret.id).get()
    return row


def of_agent(query: Any, agent_id: str) -> Any:
    """The query narrowed to what one agent was given."""
    given = AgentGrant.select(AgentGrant.secret).where(AgentGrant.agent_id == agent_id)
    return query.where(Secret.id.in_(given))


def of_person(user_id: str) -> Any:
    """The query for one's own secrets and those of the instance that one was given."""
    return Secret.select().where(_usable(user_id))


def granted(agent_id: str) -> Environment:
    """All that an agent was given, by whomever."""
    return _opened(Secret.read(f"{_GRANTED} {_NEWEST}", agent_id))


def usable(agent_id: str, owner_id: str) -> Environment:
    """What an agent was given and the owner of a run may use."""
    text = f"{_GRANTED} AND {_IN_RUNS} {_NEWEST}"
    return _opened(Secret.read(text, agent_id, owner_id, owner_id, owner_id))


def _opened(rows: list[Secret]) -> Environment:
    """The values of these secrets, the one granted last first."""
    values: dict[str, str] = {}
    used, conflicts, lost = [], [], []
    for secret in rows:
        if secret.env_key in values:
            conflicts.append(secret.env_key)
            continue
        try:
            values[secret.env_key] = secret.reveal("value") or ""
            used.append(secret.id)
        except (Unreadable, DomainError) as error:
            log.warning("secret does not open", secret=secret.id, error=str(error))
            lost.append(secret.env_key)
    return Environment(values, tuple(used), tuple(sorted(set(conflicts))), tuple(lost))


def _sees_all(principal: Principal) -> bool:
    return principal.is_admin or principal.is_engine


def _usable(user_id: str) -> Any:
    lent = UserGrant.select(UserGrant.secret).where(UserGrant.user == user_id)
    return (Secret.owner == user_id) | Secret.id.in_(lent)


def _agents() -> Any:
    given = AgentGrant.select(AgentGrant.agent_id).where(AgentGrant.secret == Secret.id)
    return fn.ARRAY(given.order_by(AgentGrant.granted_at, AgentGrant.id))


_GRANTED = """
    SELECT secrets.id, secrets.env_key, secrets.value
    FROM agent_secret_grants AS given JOIN secrets ON secrets.id = given.secret_id
    WHERE given.agent_id = %s
"""
# Whose run it is: an account that is open, or nobody's (no accounts, or a service).
_IN_RUNS = """(
    EXISTS (
        SELECT FROM users WHERE users.id = %s AND users.is_active AND (
            secrets.owner_id = users.id
            OR secrets.scope = 'instance' AND (users.is_admin OR EXISTS (
                SELECT FROM user_secret_grants AS lent
                WHERE lent.secret_id = secrets.id AND lent.user_id = users.id)))
    )
    OR secrets.scope = 'instance' AND (%s = 'anonymous' OR %s LIKE 'service:%%')
)"""
_NEWEST = f"ORDER BY given.granted_at DESC, given.id DESC LIMIT {MOST_GIVEN}"
