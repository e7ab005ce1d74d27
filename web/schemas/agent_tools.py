"""Tools of agents on the wire (runs.md section 6 of the contract)."""

from __future__ import annotations

from marshmallow import fields, validate

from models.agent_tools import ToolOverride
from web.bodies import Flag, Form
from web.schemas.base import derived, made

MOST = 500

ToolView = made(
    "ToolOverride",
    derived(ToolOverride, "tool_name", "enabled", "updated_at", "updated_by")
    | {"agent_id": fields.String()},
)


class ToolForm(Form):
    """Whether the agent may use the tool."""

    enabled = Flag(required=True)


class Override(ToolForm):
    """One tool and whether the agent may use it."""

    tool_name = fields.String(required=True, metadata={"example": "bash"})


class OverridesForm(Form):
    """What is decided about several tools at once; the last word about one counts."""

    overrides = fields.List(
        fields.Nested(Override), required=True, validate=validate.Length(max=MOST)
    )
