"""Templates: what the boards of new projects begin with."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from tasks import templates
from web.resources import Blueprint
from web.schemas import templates as wire

blueprint = Blueprint("templates", "Templates of boards")


@blueprint.route("/project-templates")
class Templates(MethodView):
    @blueprint.response(200, wire.Templates)
    def get(self) -> Any:
        """All templates, in their order."""
        return {"templates": wire.all_of_them()}

    @blueprint.arguments(wire.TemplateForm)
    @blueprint.response(201, wire.TemplateView)
    def post(self, form: dict[str, Any]) -> Any:
        """Make a template."""
        return templates.add(g.principal, form)


@blueprint.route("/project-templates/<template_id>")
class OneTemplate(MethodView):
    @blueprint.response(200, wire.TemplateView)
    def get(self, template_id: str) -> Any:
        """A template, by its id or slug."""
        return wire.template(template_id)

    @blueprint.arguments(wire.TemplateChange)
    @blueprint.response(200, wire.TemplateView)
    def put(self, form: dict[str, Any], template_id: str) -> Any:
        """Change a template; projects that began with it stay as they are."""
        found = wire.template(template_id)
        templates.change(g.principal, found, form)
        return found

    @blueprint.response(200, wire.TemplateDeleted)
    def delete(self, template_id: str) -> Any:
        """Delete a template that a person made."""
        found = wire.template(template_id)
        templates.delete(g.principal, found)
        return {"status": "deleted", "id": found.id}


@blueprint.route("/project-templates/<template_id>/clone")
class CloneTemplate(MethodView):
    @blueprint.arguments(wire.CloneForm, required=False)
    @blueprint.response(201, wire.TemplateView)
    def post(self, form: dict[str, Any], template_id: str) -> Any:
        """Make a template like another one."""
        return templates.clone(g.principal, wire.template(template_id), form)
