"""For whoever watches over the process: is it alive, can it work."""

from __future__ import annotations

from typing import Any

from flask import current_app
from flask.views import MethodView

from models import health, streams
from models.errors import Unavailable
from web.resources import Blueprint
from web.schemas import status as wire
from web.security import public

blueprint = Blueprint("health", "Probes")
blueprint.url_prefix = None


@blueprint.route("/healthz")
@public
class Alive(MethodView):
    @blueprint.response(200, wire.Alive)
    def get(self) -> Any:
        """The process answers."""
        return {"status": "ok"}


@blueprint.route("/readyz")
@public
class Ready(MethodView):
    @blueprint.response(200, wire.Ready)
    def get(self) -> Any:
        """Work can be accepted: the database answers and is up to date. Redis may be away."""
        if not health.migrated():
            raise Unavailable("The database does not answer or has not been migrated")
        hears = streams.answers(current_app.extensions["settings"].redis_url)
        return {"status": "ok", "database": True, "redis": hears}
