"""What somebody has used: runs, chats, and what their model calls cost."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models import tallies
from web.resources import Blueprint
from web.schemas import usage as wire

blueprint = Blueprint("usage", "What one has used, and what it cost")


@blueprint.route("/usage", "/usage/me")
class Usage(MethodView):
    @blueprint.arguments(wire.UsageForm, location="query")
    @blueprint.response(200, wire.Usage)
    def get(self, form: dict[str, Any]) -> Any:
        """One's runs and chats, newest first, and what all that match took and cost."""
        return wire.usage(g.principal.id, form)


@blueprint.route("/usage/history")
class History(MethodView):
    @blueprint.arguments(wire.HistoryForm, location="query")
    @blueprint.response(200, wire.History)
    def get(self, form: dict[str, Any]) -> Any:
        """What one's model calls took and cost by hour, day or month, and by group if asked."""
        return wire.history(tallies.Usage.visible_to(g.principal), form)
