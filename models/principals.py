"""Who is calling, once they have been named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

READ = "read"  # the scope of a key that may only look
ENGINE = "engine"  # the scope of a service key that may do what the engine does


@dataclass(frozen=True)
class Principal:
    """A resolved caller. `id` is what owner columns hold; an admin sees every row.

    `session_id` is there when a person has logged in, `key_id` when a key calls. An agent's
    key names its agent. An agent at work is bound to its run, and sees no more than the run's
    owner does.
    """

    id: str
    kind: Literal["anonymous", "service", "user", "agent"]
    is_admin: bool = False
    scopes: frozenset[str] = frozenset()
    session_id: str | None = None
    key_id: str | None = None
    agent_id: str | None = None
    run_id: str | None = None
    owner_id: str | None = None  # of that run
    project_id: str | None = None  # of that run
    name: str | None = None

    @property
    def is_service(self) -> bool:
        return self.kind == "service"

    @property
    def is_engine(self) -> bool:
        """Whether this is our own engine, or a key that may do the same."""
        return self.is_service and (self.is_admin or ENGINE in self.scopes)

    @property
    def is_person(self) -> bool:
        """Whether there is an account behind it."""
        return self.kind == "user"

    @property
    def may_write(self) -> bool:
        return READ not in self.scopes


ANONYMOUS = Principal("anonymous", "anonymous", is_admin=True, name="Anonymous")
SERVICE = Principal("service:engine", "service", is_admin=True, name="Engine Service")
