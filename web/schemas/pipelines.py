"""Pipelines on the wire."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from models.grammar_yaml import MAX_BYTES
from models.pipelines import Pipeline
from web.bodies import Form
from web.schemas.base import derived, made

PipelineView = made(
    "PipelineView",
    {
        **derived(Pipeline, "id", "name", "description", "version"),
        "valid": fields.Boolean(),
        "errors": fields.List(fields.String()),
        "warnings": fields.List(fields.String()),
        "shipped": fields.Boolean(),
        "defaults": fields.Dict(metadata={"example": {"model": "anthropic/claude-sonnet-4-5"}}),
        "agents": fields.List(fields.Dict(), metadata={"example": [{"id": "yukihiro"}]}),
        "steps": fields.List(
            fields.Dict(), metadata={"example": [{"id": "IMPLEMENT", "agent": "yukihiro"}]}
        ),
    },
)

COLUMNS = [
    field for name, field in Pipeline._meta.fields.items() if name not in {"yaml", "created_at"}
]

Verdict = made(
    "Verdict",
    {
        "valid": fields.Boolean(),
        "pipeline_id": fields.String(),
        "errors": fields.List(fields.String()),
        "warnings": fields.List(fields.String()),
    },
)

Raw = made(
    "Raw",
    {
        "pipeline_id": fields.String(attribute="id"),
        "yaml": fields.String(),
        "file": fields.String(),
    },
)

Written = made(
    "Written",
    {
        "status": fields.String(metadata={"example": "updated"}),
        "pipeline_id": fields.String(),
        "file": fields.String(),
    },
)


class PipelineForm(Form):
    """The whole text of a pipeline."""

    yaml_content = fields.String(required=True, validate=validate.Length(max=MAX_BYTES))


def described(pipeline: Pipeline) -> dict[str, Any]:
    """A pipeline as its author wrote it: steps and agents are the raw mappings of the YAML."""
    raw = pipeline.raw
    parts = {"agents": _mappings(raw.get("agents")), "steps": _mappings(raw.get("steps"))}
    defaults = raw.get("defaults")
    return {
        **pipeline.__data__,
        **parts,
        "valid": pipeline.valid,
        "defaults": defaults if isinstance(defaults, dict) else {},
    }


def _mappings(value: Any) -> list[dict[str, Any]]:
    """What of a list in a broken file can be shown at all."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
