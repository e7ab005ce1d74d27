"""Events as they happen (server-sent events)."""

from __future__ import annotations

from typing import Any

from flask.views import MethodView

from models.runs import Run
from web import stream
from web.resources import Blueprint, visible
from web.schemas import events as wire
from web.security import streaming

blueprint = Blueprint("events", "What happens, while it happens")
STREAM: dict[str, Any] = {"content_type": "text/event-stream", "description": "Events"}


@blueprint.route("/events/stream")
class Stream(MethodView):
    @streaming
    @blueprint.arguments(wire.FeedForm, location="query")
    @blueprint.response(200, {"type": "string"}, **STREAM)
    def get(self, form: dict[str, Any]) -> Any:
        """One run from its first event to its last, or everything the caller may see.

        Every frame has an id to resume after, with `Last-Event-ID`, at any later time.
        """
        if "run_id" in form:
            return stream.of_run(visible(Run, form["run_id"]), form, form["follow"])
        return stream.of_everything(form)


@blueprint.route("/events/stream/<run_id>")
class RunStream(MethodView):
    @streaming
    @blueprint.arguments(wire.StreamForm, location="query")
    @blueprint.response(200, {"type": "string"}, **STREAM)
    def get(self, form: dict[str, Any], run_id: str) -> Any:
        """One run for older clients: the original's event names, and it stays open."""
        return stream.of_run(visible(Run, run_id), {"names": "legacy"} | form, follow=True)
