"""What runs here, and whether there is something newer."""

from __future__ import annotations

from typing import Any

from flask import current_app, g
from flask.views import MethodView

from tasks import updates
from web.resources import Blueprint
from web.schemas import updates as wire
from web.security import admin

blueprint = Blueprint("updates", "Versions and updates")


@blueprint.route("/updates/check", "/system/updates/check")
class Check(MethodView):
    @blueprint.response(200, wire.Check)
    def get(self) -> Any:
        """The newest release, as the last check found it."""
        return wire.checked(current_app.extensions["settings"])

    @blueprint.response(200, wire.Check)
    def post(self) -> Any:
        """Have it checked now; the answer is what was known before, ask again in a moment."""
        updates.ask()
        return wire.checked(current_app.extensions["settings"])


@blueprint.route("/updates/version", "/system/updates/version")
class Version(MethodView):
    @blueprint.response(200, wire.Version)
    def get(self) -> Any:
        """What runs here."""
        return wire.version(current_app.extensions["settings"])


@blueprint.route("/updates/apply", "/system/updates/apply")
class Apply(MethodView):
    @admin
    @blueprint.arguments(wire.UpdateForm)
    @blueprint.response(200, wire.Triggered)
    @blueprint.alt_response(501, "NOT_IMPLEMENTED")
    def post(self, form: dict[str, Any]) -> Any:
        """Ask for an update: it is written down, and answered 501 with what to do instead.

        Who started these processes decides which version of them runs.
        """
        updates.apply(g.principal, form["target_version"])
