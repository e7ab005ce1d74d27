"""Pipelines as operators wrote them, and the frozen versions that runs are pinned to."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Self

from peewee import BooleanField, CharField, TextField

from models import definitions, grammar
from models.base import IDENTIFIER, Common, JsonField, LongText, Model, Moment, now_ms
from models.errors import Invalid


class PipelineVersion(Model):
    """A definition by its fingerprint; never changed, shared by every run pinned to it."""

    id = CharField(max_length=64, primary_key=True)
    definition = JsonField()
    created_at = Moment(default=now_ms)

    class Meta:
        table_name = "pipeline_versions"

    @property
    def parsed(self) -> definitions.Definition:
        return grammar.from_json(self.definition)


@lru_cache(maxsize=256)
def definition_of(version_id: str) -> definitions.Definition:
    """The definition a run is pinned to; versions never change, so they are kept."""
    version: PipelineVersion = PipelineVersion.get_by_id(version_id)
    return version.parsed


class Pipeline(Common):
    """The current text of a pipeline, what it means, and what is wrong with it."""

    label = "Pipeline"

    id = CharField(max_length=IDENTIFIER, primary_key=True)
    name = CharField(max_length=256)
    description = TextField(null=True)
    version = CharField(max_length=64, default="1.0.0")
    yaml = LongText()
    raw = JsonField()
    version_id = CharField(max_length=64, null=True)  # null: not valid, cannot run
    errors = JsonField(default=list)
    warnings = JsonField(default=list)
    shipped = BooleanField(default=False)
    created_at = Moment(default=now_ms)
    updated_at = Moment(default=now_ms)

    class Meta:
        table_name = "pipelines"

    @property
    def valid(self) -> bool:
        return self.version_id is not None

    @property
    def file(self) -> str:
        return f"{self.id}.yml"

    def runnable(self) -> str:
        """The id of the version a new run is pinned to; Invalid when the text has errors."""
        if self.version_id is None:
            raise Invalid(f"Pipeline {self.id} is not valid: {self.errors[0]}")
        return str(self.version_id)

    @classmethod
    def store(cls, pipeline_id: str, text: str, parsed: grammar.Parsed, shipped: bool) -> Self:
        """Write the text and its meaning; an older version stays for the runs pinned to it."""
        now = now_ms()
        raw = parsed.raw or {}
        row: dict[str, Any] = {
            "id": pipeline_id,
            "name": str(raw.get("name") or pipeline_id)[:256],
            "description": str(raw["description"]) if raw.get("description") else None,
            "version": str(raw.get("version") or "1.0.0")[:64],
            "yaml": text,
            "raw": raw,
            "version_id": parsed.definition and pin(parsed.definition),
            "errors": [str(problem) for problem in parsed.errors],
            "warnings": [str(problem) for problem in parsed.warnings],
            "shipped": shipped,
            "created_at": now,
            "updated_at": now,
        }
        cls.upsert(row)
        return cls.get_by_id(pipeline_id)


def pin(definition: definitions.Definition) -> str:
    """Keep a definition for the runs that follow it; gives the id of its version."""
    version = grammar.fingerprint(definition)
    row = {"id": version, "definition": grammar.to_json(definition), "created_at": now_ms()}
    PipelineVersion.insert(row).on_conflict_ignore().execute()
    return version
