"""Workflow policies on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, pre_load, validate, validates_schema

from models import board
from models.policies import WorkflowPolicy
from models.projects import Project
from models.stages import DISPOSITIONS, STAGES, WORK_TYPES
from web.bodies import Form
from web.schemas.base import Free, Milliseconds, made

RULES = {"bugfix": [{"stage": "implement", "disposition": "required", "agent_role": "swe"}]}

PolicyView = made(
    "WorkflowPolicyView",
    {
        "id": fields.String(metadata={"example": "wfp_5f0c9a1b2c3d4e5f"}),
        "project_id": fields.String(),
        "stage_rules": Free(metadata={"example": RULES}),
        "created_at": Milliseconds(),
        "updated_at": Milliseconds(),
        "exists": fields.Boolean(),
    },
)
Resolved = made(
    "ResolvedWorkflow",
    {
        "task_id": fields.String(),
        "has_policy": fields.Boolean(),
        "current_status": fields.String(metadata={"example": "in_progress"}),
        "work_type": fields.String(allow_none=True, metadata={"example": "bugfix"}),
        **{
            name: fields.List(fields.String(validate=validate.OneOf(STAGES)))
            for name in (
                *("required_stages", "optional_stages", "skipped_stages", "completed_stages"),
                "next_valid_stages",
            )
        },
        "current_stage": fields.String(allow_none=True, metadata={"example": "implement"}),
        "next_required_stage": fields.String(allow_none=True, metadata={"example": "test"}),
        "next_valid_statuses": fields.List(fields.String(metadata={"example": "review"})),
        "message": fields.String(),
    },
)


class RuleForm(Form):
    """What is demanded of a stage."""

    stage = fields.String(required=True, validate=validate.OneOf(STAGES))
    disposition = fields.String(required=True, validate=validate.OneOf(DISPOSITIONS))
    agent_role = fields.String(validate=validate.Length(1, 32), metadata={"example": "swe"})


class PolicyForm(Form):
    """The rules for each kind of work; what is read can be sent back as it is."""

    stage_rules = fields.Dict(
        keys=fields.String(validate=validate.OneOf(WORK_TYPES)),
        values=fields.List(fields.Nested(RuleForm)),
        data_key="stageRules",
        required=True,
        metadata={"example": RULES},
    )

    @pre_load
    def other_name(self, data: Any, **_: Any) -> Any:
        if isinstance(data, dict) and "stage_rules" in data:
            return {"stageRules": data["stage_rules"], **data}
        return data

    @validates_schema
    def once(self, data: Mapping[str, Any], **_: Any) -> None:
        for kind, rules in data["stage_rules"].items():
            named = [rule["stage"] for rule in rules]
            if len(set(named)) < len(named):
                raise ValidationError({"stageRules": {kind: ["Names a stage twice."]}})


class WhatIfForm(Form):
    """Where the task would stand; by default where it does."""

    status = fields.String(validate=validate.Length(1, board.STATUS))
    work_type = fields.String(allow_none=True, validate=validate.OneOf(WORK_TYPES))
    completed_stages = fields.List(fields.String(validate=validate.OneOf(STAGES)))


def policy(project: Project) -> dict[str, Any]:
    """The policy of a project, or that there is none."""
    found = WorkflowPolicy.get_or_none(WorkflowPolicy.project == project.id)
    if found is None:
        return {"project_id": project.id, "stage_rules": {}, "exists": False}
    return stored(found)


def stored(found: WorkflowPolicy) -> dict[str, Any]:
    """A policy that there is."""
    return {**found.__data__, "project_id": found.project_id, "exists": True}
