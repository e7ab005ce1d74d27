"""Agents that answer to what happens in a project's repository."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models.assignments import Assignment, Trigger
from models.projects import Project
from tasks import assignments
from web.resources import Blueprint, Order, PageForm, newest_first, only, page, visible
from web.schemas import assignments as wire

blueprint = Blueprint("assignments", "Agents that answer to GitHub")
LATEST = Order((Trigger.triggered_at, Trigger.id))


@blueprint.route("/projects/<project_id>/github/assignments")
class Assignments(MethodView):
    @blueprint.arguments(PageForm, location="query")
    @blueprint.response(200, wire.Assignments)
    def get(self, form: dict[str, Any], project_id: str) -> Any:
        """Which agents answer to what."""
        return wire.listed(page(within(Assignment, project_id), form, newest_first(Assignment)))

    @blueprint.arguments(wire.AssignmentForm)
    @blueprint.response(200, wire.AssignmentView)
    def post(self, form: dict[str, Any], project_id: str) -> Any:
        """Let an agent answer to an event, if it passes all filters."""
        return assignments.assign(g.principal, visible(Project, project_id), form)


@blueprint.route("/projects/<project_id>/github/assignments/<assignment_id>")
class OneAssignment(MethodView):
    @blueprint.response(200, wire.AssignmentView)
    def get(self, project_id: str, assignment_id: str) -> Any:
        """One assignment."""
        return one(Assignment, project_id, assignment_id)

    @blueprint.arguments(wire.ChangesForm)
    @blueprint.response(200, wire.AssignmentView)
    def put(self, form: dict[str, Any], project_id: str, assignment_id: str) -> Any:
        """Change an assignment; what is not named stays as it is."""
        return assignments.reassign(g.principal, one(Assignment, project_id, assignment_id), form)

    @blueprint.response(200, wire.Unassigned)
    def delete(self, project_id: str, assignment_id: str) -> Any:
        """Take an assignment back; what it has called for goes on."""
        assignments.unassign(g.principal, one(Assignment, project_id, assignment_id))
        return {"status": "deleted", "id": assignment_id}


@blueprint.route("/projects/<project_id>/github/triggers")
class Triggers(MethodView):
    @blueprint.arguments(wire.TriggersForm, location="query")
    @blueprint.response(200, wire.Triggers)
    def get(self, form: dict[str, Any], project_id: str) -> Any:
        """What has called agents, newest first, and what became of it."""
        mine = only(within(Trigger, project_id), form, wire.FILTERS)
        return wire.triggers(page(mine, form, LATEST), form)


@blueprint.route("/projects/<project_id>/github/triggers/<trigger_id>")
class OneTrigger(MethodView):
    @blueprint.response(200, wire.TriggerView)
    def get(self, project_id: str, trigger_id: str) -> Any:
        """One call of an agent."""
        return one(Trigger, project_id, trigger_id)


def within(model: Any, project_id: str) -> Any:
    """The rows of a project that the caller may see; NotFound without the project."""
    project = visible(Project, project_id)
    return model.visible_to(g.principal).where(model.project == project.id)


def one(model: Any, project_id: str, key: str) -> Any:
    """A row of this project and of no other."""
    for row in within(model, project_id).where(model.id == key):
        return row
    raise model.missing(key)
