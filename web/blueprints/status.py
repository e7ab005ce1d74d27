"""How the whole is doing: open to everybody, so it costs next to nothing."""

from __future__ import annotations

import time
from typing import Any

from flask import current_app
from flask.views import MethodView

from models import health
from web.resources import Blueprint
from web.schemas import status as wire
from web.security import public

blueprint = Blueprint("status", "How the server is doing")
FRESH_SECONDS = 5.0


@blueprint.route("/status")
@public
class Status(MethodView):
    @blueprint.response(200, wire.Status)
    def get(self) -> Any:
        """What works and how much is going on, at most five seconds old."""
        known: tuple[float, Any] = current_app.extensions.get("status", (0.0, None))
        if known[1] is None or time.monotonic() - known[0] > FRESH_SECONDS:
            known = (time.monotonic(), health.report(current_app.extensions["settings"]))
            current_app.extensions["status"] = known
        return known[1]
