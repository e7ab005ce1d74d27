"""Sharing the server's keys with people, within limits."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models.shares import Share
from tasks import shares as commands
from web.resources import Blueprint, PageForm, newest_first, page, visible
from web.schemas import shares as wire
from web.security import admin

blueprint = Blueprint("shares", "Sharing the server's keys")


@blueprint.route("/admin/shared-providers")
@admin
class Shares(MethodView):
    @blueprint.arguments(PageForm, location="query")
    @blueprint.response(200, wire.ShareView(many=True))
    def get(self, form: dict[str, Any]) -> Any:
        """What is shared with whom, the newest first."""
        return page(Share.visible_to(g.principal), form, newest_first(Share))

    @blueprint.arguments(wire.ShareForm)
    @blueprint.response(201, wire.ShareView)
    def post(self, form: dict[str, Any]) -> Any:
        """Share a provider with a person, or (without one) with everybody."""
        return commands.create(g.principal, form)


@blueprint.route("/admin/shared-providers/usage")
@admin
class Usage(MethodView):
    @blueprint.response(200, wire.UsageOfShares)
    def get(self) -> Any:
        """How much of each share has been used today (UTC), and by whom most."""
        return {"shares": commands.usage()}


@blueprint.route("/admin/shared-providers/<share_id>")
@admin
class OneShare(MethodView):
    @blueprint.arguments(wire.ShareChange)
    @blueprint.response(200, wire.ShareView)
    def patch(self, form: dict[str, Any], share_id: str) -> Any:
        """Change limits; null keeps one, `clear...: true` takes it away."""
        return commands.change(g.principal, visible(Share, share_id).id, form)

    @blueprint.response(200, wire.ShareRevoked)
    def delete(self, share_id: str) -> Any:
        """Share no longer."""
        commands.revoke(g.principal, visible(Share, share_id).id)
        return {"status": "revoked", "id": share_id}
