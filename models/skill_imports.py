"""Companion files of skills that somebody looked at: kept for a day, until they ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from peewee import CharField

from models.base import IDENTIFIER, JsonField, Model, Moment, db, id_field, now_ms
from models.skill_texts import LONGEST_ID

KEPT_MS = 24 * 60 * 60 * 1000
MOST = 50  # of one person


class SkillImport(Model):
    """The files that came along with one SKILL.md, as texts by path."""

    label = "Import"

    id = id_field("ski_")
    owner_id = CharField(max_length=IDENTIFIER)
    name = CharField(max_length=LONGEST_ID)
    files = JsonField()
    created_at = Moment(default=now_ms, index=True)

    class Meta:
        table_name = "skill_imports"
        indexes = ((("owner_id", "name", "created_at"), False),)

    @classmethod
    def keep(cls, owner_id: str, name: str, files: Mapping[str, str]) -> Self:
        """Keep files for a skill of that name; of many that somebody keeps the oldest go."""
        kept = cls(id=cls.id.default(), owner_id=owner_id, name=name, files=dict(files)).add()
        db.later(_DROP, (owner_id, owner_id, MOST))
        return kept

    @classmethod
    def of(cls, owner_id: str, name: str, import_id: str | None = None) -> Self | None:
        """What somebody keeps under this id, or last kept for a skill of this name."""
        text = """
            SELECT * FROM skill_imports WHERE owner_id = %s AND name = %s AND created_at > %s
                AND coalesce(id = %s::text, true)
            ORDER BY created_at DESC LIMIT 1
        """
        rows = cls.read(text, owner_id, name, now_ms() - KEPT_MS, import_id)
        return next(iter(rows), None)


def forget_old() -> int:
    """Drop what nobody has asked for within a day; gives how many."""
    old = SkillImport.created_at < now_ms() - KEPT_MS
    return int(SkillImport.delete().where(old).execute())


def forget(owner_id: str, name: str) -> None:
    """Drop what somebody keeps for a skill of this name."""
    mine: Any = (SkillImport.owner_id == owner_id) & (SkillImport.name == name)
    SkillImport.delete().where(mine).execute()


_DROP = """
    DELETE FROM skill_imports WHERE owner_id = %s AND id NOT IN (
        SELECT id FROM skill_imports WHERE owner_id = %s ORDER BY created_at DESC LIMIT %s)
"""
