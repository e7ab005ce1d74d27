"""Making answers out of columns: types and null-ness are taken over, names are written out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import peewee
from marshmallow import INCLUDE, Schema, fields, validate

from models.base import JsonField, Moment, Touched
from models.lifecycle import StateField

EXAMPLES: Mapping[str, Any] = {
    "pipeline_id": "engineering",
    "task": "Build a REST API for a todo app",
    "task_description": "Build a REST API for a todo app",
    "agent_id": "yukihiro",
    "agentId": "yukihiro",
    "step_id": "IMPLEMENT",
    "run_id": "run_5f0c9a1b2c3d4e5f",
    "model": "anthropic/claude-sonnet-4-5",
    "model_override": "anthropic/claude-sonnet-4-5",
    "swarm_id": "swarm_5f0c9a1b2c3d4e5f",
    "project_id": "todo",
    "task_id": "T1",
    "title": "Add the login page",
    "execution_prompt": "Add a login page with a form for name and password, and tests",
    "deviation_rules": "Change nothing outside src/login",
    "branch": "feat/T1-add-the-login-page-A",
    "task_branch": "feat/T1-add-the-login-page-A",
    "model_used": "anthropic/claude-sonnet-4-5",
    "provider": "anthropic",
    "version": "1.0.0",
    "name": "Engineering",
    "outputs": {"result": "SUCCESS"},
    "yaml_content": "id: hello\nname: Hello\nagents: []\nsteps: []\n",
    "content": "- **Name:** Yukihiro\n- **Role:** Software engineer\n",
}


class Milliseconds(fields.Integer):
    """A moment: milliseconds since the epoch, UTC."""


class Free(fields.Dict):
    """A JSON object whose keys are not ours to name."""


class Open(Schema):
    """An object with further keys than those that are described; it goes out as it is."""

    class Meta:
        unknown = INCLUDE

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        return obj


def made(name: str, columns: Mapping[str, fields.Field]) -> type[Schema]:
    """A schema with exactly these fields."""
    return Schema.from_dict(dict(columns), name=name)


def opened(name: str, columns: Mapping[str, fields.Field]) -> type[Schema]:
    """A schema that names these fields and lets others through."""
    return Open.from_dict(dict(columns), name=name)


def derived(model: Any, *names: str, **renamed: str) -> dict[str, fields.Field]:
    """Fields for the columns `names`; `wire=column` shows a column under another name."""
    shown = {name: name for name in names} | renamed
    return {wire: field_of(model._meta.fields[name]) for wire, name in shown.items()}


def field_of(column: Any) -> fields.Field:
    """The field for a column."""
    options: dict[str, Any] = {
        "attribute": column.name,
        "allow_none": column.null,
        "dump_only": True,
    }
    if isinstance(column, StateField):
        words = " | ".join(column.arrows)
        return fields.String(**options, metadata={"description": words})
    return _KINDS.get(type(column), fields.String)(**options)


_KINDS: Mapping[type, type[fields.Field]] = {
    Moment: Milliseconds,
    Touched: Milliseconds,
    JsonField: fields.Raw,
    peewee.BigAutoField: fields.Integer,
    peewee.IntegerField: fields.Integer,
    peewee.BigIntegerField: fields.Integer,
    peewee.BooleanField: fields.Boolean,
    peewee.FloatField: fields.Float,
    peewee.DecimalField: fields.Float,
}


def example_of(schema: Any) -> Any:
    """An instance that fits the schema, for the documentation."""
    schema = schema() if isinstance(schema, type) else schema
    entry = {
        field.data_key or name: _example(field.data_key or name, field)
        for name, field in schema.fields.items()
    }
    return [entry] if schema.many else entry


def _example(name: str, field: fields.Field) -> Any:
    if "example" in field.metadata:
        return field.metadata["example"]
    for rule in field.validators:
        if isinstance(rule, validate.OneOf):
            return next(iter(rule.choices))
    if isinstance(field, fields.Nested):
        return example_of(field.schema)
    if isinstance(field, fields.List):
        return [_example(name, field.inner)]
    if isinstance(field, fields.String) and name in EXAMPLES:
        return EXAMPLES[name]
    return next((value for kind, value in _BY_KIND if isinstance(field, kind)), EXAMPLES.get(name))


_BY_KIND: tuple[tuple[type[fields.Field], Any], ...] = (
    (Milliseconds, 1_730_000_000_000),
    (fields.Boolean, True),
    (fields.Integer, 1),
    (fields.Float, 0.0123),
    (fields.Dict, {"result": "SUCCESS"}),
    (fields.String, "text"),
)
