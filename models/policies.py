"""Workflow policies of projects; what they mean is in `models.stages`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peewee import ForeignKeyField

from models import board, stages
from models.base import JsonField, Model, Moment, db, id_field, now_ms
from models.board import Task
from models.projects import Project
from models.stages import Policy, Standing


class WorkflowPolicy(Model):
    """What a project demands of each kind of work; at most one per project."""

    label = "Workflow policy"
    project_id: str

    id = id_field("wfp_")
    project = ForeignKeyField(Project, on_delete="CASCADE", unique=True)
    stage_rules = JsonField(default=dict)
    created_at = Moment(default=now_ms)
    updated_at = Moment(default=now_ms)

    class Meta:
        table_name = "workflow_policies"


def of_project(project_id: str) -> Policy | None:
    """The rules of a project; None when it has no policy."""
    text = "SELECT stage_rules FROM workflow_policies WHERE project_id = %s"
    row: Any = db.now(text, (project_id,)).fetchone()
    return row[0] if row else None


def resolved(project: Project, task: Task, what_if: Mapping[str, Any]) -> dict[str, Any]:
    """Where a task stands in its workflow and where it may go from there."""
    standing = Standing(
        what_if.get("status", task.status),
        what_if.get("work_type", task.work_type),
        tuple(what_if.get("completed_stages", task.completed_stages)),
    )
    told = {
        "task_id": task.id,
        "work_type": standing.work_type,
        "current_stage": standing.stage,
        "current_status": standing.status,
        "completed_stages": list(standing.completed),
    }
    policy = of_project(project.id)
    if policy is None:
        message = "This project has no workflow policy: every move is allowed"
        return {**told, "has_policy": False, "message": message}
    rules, layout = stages.rules_for(policy, standing.work_type), board.layout(project)
    return {
        **told,
        "has_policy": True,
        "required_stages": stages.of(rules, stages.REQUIRED),
        "optional_stages": stages.of(rules, stages.OPTIONAL),
        "skipped_stages": stages.of(rules, stages.SKIP),
        "next_required_stage": stages.next_required(rules, standing),
        "next_valid_stages": stages.next_valid(layout, rules, standing),
        "next_valid_statuses": stages.next_statuses(layout, rules, standing),
    }
