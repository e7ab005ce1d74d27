"""Favorites: the models that somebody has marked, or the server for who has marked none."""

from __future__ import annotations

from typing import Any

from peewee import CharField

from models.base import IDENTIFIER, JsonField, Model, Moment, now_ms
from models.principals import Principal

SERVER = "server"  # whose list is everybody's first
MOST = 200


class Favorites(Model):
    """The list of one person, or the server's; the id says whose."""

    id = CharField(max_length=IDENTIFIER, primary_key=True)
    models = JsonField(default=list)
    updated_at = Moment(default=now_ms)

    class Meta:
        table_name = "model_favorites"

    @classmethod
    def of(cls, principal: Principal) -> list[dict[str, Any]]:
        """What a caller reads: their own list, the server's as long as they have none."""
        found = cls.find(holder(principal)) or cls.find(SERVER)
        return list(found.models) if found else []


def holder(principal: Principal) -> str:
    """Whose list a caller writes: a person's own, else the server's."""
    return principal.id if principal.is_person else SERVER
