"""Who is calling. Accounts follow; today there are the anonymous admin and the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Principal:
    """A resolved caller. `id` is what owner columns hold; an admin sees every row."""

    id: str
    kind: Literal["anonymous", "service", "user", "agent"]
    is_admin: bool = False

    @property
    def is_service(self) -> bool:
        return self.kind == "service"


ANONYMOUS = Principal("anonymous", "anonymous", is_admin=True)
SERVICE = Principal("service:engine", "service", is_admin=True)
