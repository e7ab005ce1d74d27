"""Templates of boards: what new projects begin with. Some ship, people may make more."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Self

from peewee import BooleanField, CharField, IntegerField

from models import stages
from models.base import IDENTIFIER, Common, JsonField, LongText, Moment, id_field, now_ms

DEFAULT = "software-dev"
LONGEST_KIND = 32  # of a workspace
SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


class ProjectTemplate(Common):
    """Columns, what their statuses mean, and the rest of what a new project takes over."""

    label = "Template"

    id = id_field("tmpl_")
    slug = CharField(max_length=64, unique=True)
    name = CharField(max_length=256)
    description = LongText(default="")
    icon = CharField(max_length=64, default="")
    is_builtin = BooleanField(default=False)
    customized = BooleanField(default=False)  # a person changed it: what ships leaves it alone
    columns = JsonField(default=list)
    status_semantics = JsonField(default=dict)
    default_pipeline_id = CharField(max_length=IDENTIFIER, null=True)
    onboarding_agent_chain = JsonField(default=list)
    metadata = JsonField(default=dict)
    stage_rules = JsonField(null=True)  # the workflow policy of its projects
    sort_order = IntegerField(default=100)
    created_by = CharField(max_length=IDENTIFIER, null=True)
    created_at = Moment(default=now_ms)
    updated_at = Moment(default=now_ms)

    class Meta:
        table_name = "project_templates"
        indexes = ((("sort_order", "id"), False),)

    @property
    def workspace_type(self) -> str | None:
        """Where its projects are worked on, if it says so; people write what they like there."""
        told = self.metadata.get("workspace_type")
        fits = isinstance(told, str) and 0 < len(told) <= LONGEST_KIND
        return told if fits else None

    @classmethod
    def named(cls, key: str) -> Self | None:
        """The template with this id or slug."""
        text = "SELECT * FROM project_templates WHERE id = %s OR slug = %s LIMIT 1"
        return next(iter(cls.read(text, key, key)), None)

    @classmethod
    def ship(cls, told: Mapping[str, Any]) -> bool:
        """Store a template that ships, unless a person has changed it; whether it was stored."""
        policy = told.get("stages")
        slug = told["slug"]
        row: dict[str, Any] = {
            **{key: value for key, value in told.items() if key != "stages"},
            "columns": [
                {"wip_limit": None, **column, "position": place}
                for place, column in enumerate(told["columns"])
            ],
            "stage_rules": stages.spelled(policy) if policy else None,
            "is_builtin": True,
            "updated_at": now_ms(),
        }
        kept = cls.named(slug)
        if kept is None:
            cls(id=f"tmpl_{slug}", **row).add()
        elif kept.customized or not kept.is_builtin:
            return False
        else:
            kept.put(**row)
        return True
