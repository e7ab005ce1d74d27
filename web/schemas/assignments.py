"""Agents' assignments to what happens on GitHub, on the wire."""

from __future__ import annotations

from typing import Any

from flask import g
from marshmallow import fields, validate

from models.assignments import EVENTS, STATUS, STATUSES, Assignment, Trigger
from web.bodies import Flag, Form, Text
from web.resources import MOST, PageForm
from web.schemas.base import Milliseconds, derived, made

FILTERS = {
    "status": lambda status: status == STATUS,
    "agent_id": lambda agent: Trigger.agent_id == agent,
}
MOST_WORDS = 50  # of one filter


def words(example: str, most: int = 200) -> fields.List:
    """A filter: a list of words, or null for none."""
    word = Text(required=True, validate=validate.Length(1, most), metadata={"example": example})
    return fields.List(word, allow_none=True, validate=validate.Length(max=MOST_WORDS))


_FILTERS: dict[str, fields.Field] = {
    "filter_labels": words("bug"),
    "filter_file_patterns": words("src/**/*.py", 256),
    "filter_authors": words("!dependabot[bot]"),
}
_ROUTINE = {
    "example": None,
    "description": "With `auto_respond`: this routine of the agent's and yours is woken",
}
AssignmentView = made(
    "GithubAssignment",
    {
        **derived(Assignment, "id"),
        "project_id": fields.String(),
        **derived(Assignment, "agent_id", "event_type", "event_action"),
        **_FILTERS,
        **derived(Assignment, "auto_respond"),
        "routine_id": fields.String(allow_none=True, metadata=_ROUTINE),
        **derived(Assignment, "created_at", "updated_at"),
    },
)
Assignments = made(
    "GithubAssignments",
    {
        "assignments": fields.List(fields.Nested(AssignmentView)),
        "count": fields.Integer(metadata={"description": "How many there are"}),
    },
)
Unassigned = made("GithubUnassigned", {"status": fields.String(), "id": fields.String()})
TriggerView = made(
    "GithubTrigger",
    {
        **derived(Trigger, "id"),
        "project_id": fields.String(),
        **derived(Trigger, "agent_id", "assignment_id", "event_id"),
        **derived(Trigger, "event_type", "event_action", "subject", "run_id", "error"),
        "status": fields.String(validate=validate.OneOf(STATUSES)),
        **derived(Trigger, "triggered_at"),
        "completed_at": Milliseconds(allow_none=True),
    },
)
Triggers = made(
    "GithubTriggers",
    {
        "triggers": fields.List(fields.Nested(TriggerView)),
        "count": fields.Integer(metadata={"description": "How many are on this page"}),
        "total": fields.Integer(metadata={"description": "How many match"}),
        "limit": fields.Integer(),
        "offset": fields.Integer(),
    },
)


class ChangesForm(Form):
    """What to change of an assignment."""

    agent_id = Text(validate=validate.Length(1, 128))
    event_type = fields.String(validate=validate.OneOf(EVENTS))
    event_action = fields.String(allow_none=True, validate=validate.Length(1, 64))
    filter_labels = _FILTERS["filter_labels"]
    filter_file_patterns = _FILTERS["filter_file_patterns"]
    filter_authors = _FILTERS["filter_authors"]
    auto_respond = Flag()
    routine_id = fields.String(allow_none=True, validate=validate.Length(1, 128), metadata=_ROUTINE)


class AssignmentForm(ChangesForm):
    """Which agent answers to what."""

    agent_id = Text(required=True, validate=validate.Length(1, 128))
    event_type = fields.String(required=True, validate=validate.OneOf(EVENTS))


class TriggersForm(PageForm):
    """Which triggers are wanted."""

    limit = fields.Integer(load_default=50, validate=validate.Range(0, MOST))
    status = fields.String(validate=validate.OneOf(STATUSES))
    agent_id = fields.String(validate=validate.Length(max=128))


def listed(rows: list[Assignment]) -> dict[str, Any]:
    """A page of assignments."""
    return {"assignments": rows, "count": g.total}


def triggers(rows: list[Trigger], form: dict[str, Any]) -> dict[str, Any]:
    """A page of triggers."""
    place = {"limit": form["limit"], "offset": form["offset"]}
    return {"triggers": rows, "count": len(rows), "total": g.total, **place}
