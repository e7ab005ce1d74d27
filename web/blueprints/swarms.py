"""Swarms: ask for one, watch it, call it off."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models.swarms import Swarm, SwarmTask
from tasks import swarms
from web import progress
from web.resources import Blueprint, newest_first, only, page, visible
from web.schemas import swarms as wire
from web.schemas.events import StreamForm
from web.schemas.runs import KeyForm
from web.security import streaming

blueprint = Blueprint("swarms", "Tasks that executors work on side by side")
STREAM: dict[str, Any] = {"content_type": "text/event-stream", "description": "Progress"}


@blueprint.route("/swarm/execute", "/internal/swarm-execute")
class Execute(MethodView):
    @blueprint.arguments(KeyForm, location="headers")
    @blueprint.arguments(wire.SwarmForm)
    @blueprint.response(200, wire.Dispatched)
    def post(self, header: dict[str, Any], form: dict[str, Any]) -> Any:
        """Ask for a swarm; its tasks begin as soon as their dependencies and workers allow."""
        wire.refuse_unknown_tasks(form["tasks"])
        return wire.dispatched(swarms.launch(g.principal.id, form, key=header["key"]))


@blueprint.route("/swarm", "/internal/swarms")
class Swarms(MethodView):
    @blueprint.arguments(wire.SwarmsForm, location="query")
    @blueprint.response(200, wire.SwarmStates)
    def get(self, form: dict[str, Any]) -> Any:
        """Swarms the caller may see, newest first."""
        mine = only(Swarm.visible_to(g.principal).select(*wire.LISTED), form, wire.FILTERS)
        return {"swarms": wire.states(page(mine, form, newest_first(Swarm)))}


@blueprint.route("/swarm/<swarm_id>", "/internal/swarm/<swarm_id>")
class OneSwarm(MethodView):
    @blueprint.response(200, wire.SwarmState)
    def get(self, swarm_id: str) -> Any:
        """A swarm with its tasks as they stand."""
        return wire.state(visible(Swarm, swarm_id))


@blueprint.route("/swarm/<swarm_id>/tasks", "/internal/swarm/<swarm_id>/tasks")
class Tasks(MethodView):
    @blueprint.arguments(wire.TasksForm, location="query")
    @blueprint.response(200, wire.TaskView(many=True))
    def get(self, form: dict[str, Any], swarm_id: str) -> Any:
        """The tasks of a swarm, all of them or those of one status."""
        swarm = visible(Swarm, swarm_id)
        tasks = SwarmTask.of(swarm, without=wire.UNSEEN)
        return wire.told([task for task in tasks if form.get("status") in (None, task.state)])


@blueprint.route("/swarm/<swarm_id>/cancel", "/internal/swarm/<swarm_id>/cancel")
class Cancel(MethodView):
    @blueprint.response(200, wire.Cancelling)
    def post(self, swarm_id: str) -> Any:
        """End a swarm that is not over, and the executors that work for it."""
        swarm = swarms.cancel(visible(Swarm, swarm_id).id)
        return {"status": "cancel_requested", "swarm_id": swarm.id}


@blueprint.route("/swarm/<swarm_id>/stream", "/internal/swarm/<swarm_id>/stream")
class Stream(MethodView):
    @streaming
    @blueprint.arguments(StreamForm, location="query")
    @blueprint.response(200, {"type": "string"}, **STREAM)
    def get(self, form: dict[str, Any], swarm_id: str) -> Any:
        """A swarm as it stands, what happens in it, and how it stood at its end."""
        return progress.of_swarm(visible(Swarm, swarm_id))
