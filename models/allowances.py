"""What a person may use: the providers they bring keys to and those shared with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from models import keys, providers, shares
from models.base import now_ms
from models.budgets import Budget
from models.catalogue import Provider
from models.errors import Forbidden
from models.keys import PERSONAL, SHARED, Key, Keyring, Person
from models.providers import Held
from models.shares import Share


@dataclass(frozen=True)
class Allowance:
    """One provider: what the person has of it, or the share they have instead and its use."""

    held: Held
    configured: bool = True
    share: Share | None = None
    used: Budget | None = None
    key: Key | None = None

    @property
    def provider_id(self) -> str:
        return self.held.provider.id

    @property
    def is_shared(self) -> bool:
        return self.share is not None

    @property
    def is_blocked(self) -> bool:
        return self.blocked is not None

    @property
    def blocked(self) -> str | None:
        """Why the share is of no use any more today."""
        return shares.exhausted(self.share, self.used) if self.share else None

    @property
    def calls_today(self) -> int:
        return self.used.spent_calls if self.used else 0

    @property
    def cost_today(self) -> Decimal:
        return self.used.spent_usd if self.used else Decimal(0)

    @property
    def calls_left(self) -> int | None:
        limit = self.share.daily_limit if self.share else None
        return None if limit is None else max(0, limit - self.calls_today)

    @property
    def cost_left(self) -> Decimal | None:
        limit = self.share.daily_cost_limit_usd if self.share else None
        return None if limit is None else max(Decimal(0), limit - self.cost_today)

    def usage(self) -> dict[str, Any]:
        """How the share's limits stand."""
        share = self.share or Share()
        limit = share.daily_cost_limit_usd
        return {
            "provider_id": self.provider_id,
            "daily_limit": share.daily_limit,
            "daily_cost_limit_usd": None if limit is None else float(limit),
            "allowed_models": share.allowed_models,
            "calls_today": self.calls_today,
            "cost_today_usd": float(self.cost_today),
            "limit_exceeded": self.blocked is not None,
            "exceeded_reason": self.blocked,
        }


def of(person: Person) -> list[Allowance]:
    """A person's own providers first, then those shared with them that they have no row for."""
    about = _About(person)
    mine = [Allowance(held, configured=about.works(name)) for name, held in about.own.items()]
    return mine + about.lent([name for name in about.shared if name not in about.own])


def granted(person: Person) -> list[Allowance]:
    """The providers a person's calls may go to with a key of theirs or a share, by which key."""
    about = _About(person)
    found = {name: about.key(name) for name in sorted({*about.own, *about.shared})}
    mine = [
        Allowance(about.own[name], key=key)
        for name, key in found.items()
        if key and key.source == PERSONAL
    ]
    return mine + about.lent([name for name, key in found.items() if key and key.source == SHARED])


class _About:
    """All that is known of one person's providers."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.own = providers.owned_by(person.id)
        self.server = providers.server()
        self.shared = shares.for_user(person.id)

    def works(self, name: str) -> bool:
        """Whether a provider of the person's own lacks nothing, the server's address included."""
        return self.own[name].leaning_on(self._server(name)).configured

    def key(self, name: str) -> Key | None:
        """What would pay; None where nothing does."""
        lent = [self.shared[name]] if name in self.shared else []
        ring = Keyring(self.own.get(name), self._server(name), lent)
        try:
            return keys.choose(self.person, ring, None, now_ms())
        except Forbidden:
            return None

    def lent(self, names: Sequence[str]) -> list[Allowance]:
        """These shares, as far as the server has what it takes, with their use of today."""
        usable = [name for name in names if self._server(name).usable]
        used = shares.used_today(self.person.id, usable)
        return [
            Allowance(held, True, self.shared[name], used.get(name), self._with(held))
            for name, held in ((name, self._server(name)) for name in usable)
        ]

    def _server(self, name: str) -> Held:
        found = self.server.get(name)
        return found or Held(self.own[name].provider if name in self.own else GONE)

    def _with(self, held: Held) -> Key:
        return Key(held.provider.id, SHARED, self.person.id, held.credential)


GONE = Provider("gone", "A provider that is gone", "")  # a share may outlast its provider
