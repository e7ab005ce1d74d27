"""Pulse routines: what agents do by themselves now and again."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models.agents import Agent
from models.routines import Routine
from tasks import pulses, routines
from web.resources import Blueprint, visible
from web.schemas import routines as wire
from web.security import internal

blueprint = Blueprint("routines", "What agents do by themselves")
ALL = ("/pulse-routines/<agent_id>", "/agents/<agent_id>/pulse-routines")
ONE = tuple(f"{path}/<routine_id>" for path in ALL)


@blueprint.route(*ALL)
class Routines(MethodView):
    @blueprint.response(200, wire.Routines)
    def get(self, agent_id: str) -> Any:
        """The caller's routines of an agent, in their order."""
        return {"routines": wire.all_of(agent_id)}

    @blueprint.arguments(wire.RoutineForm)
    @blueprint.response(201, wire.RoutineView)
    def post(self, form: dict[str, Any], agent_id: str) -> Any:
        """Have an agent do something now and again, in the caller's name."""
        agent = visible(Agent, agent_id, Agent.id)
        return routines.create(g.principal, agent.id, wire.changes_of(form))


@blueprint.route(*ONE)
class OneRoutine(MethodView):
    @blueprint.response(200, wire.RoutineView)
    def get(self, agent_id: str, routine_id: str) -> Any:
        """A routine."""
        return wire.of_agent(agent_id, routine_id)

    @blueprint.arguments(wire.RoutineChange)
    @blueprint.response(200, wire.RoutineView)
    def put(self, form: dict[str, Any], agent_id: str, routine_id: str) -> Any:
        """Change a routine; what is not named stays, null clears what may be empty."""
        return routines.change(wire.of_agent(agent_id, routine_id), wire.changes_of(form))

    @blueprint.response(200, wire.RoutineDeleted)
    def delete(self, agent_id: str, routine_id: str) -> Any:
        """Delete a routine; what is at work for it ends."""
        routines.delete(wire.of_agent(agent_id, routine_id))
        return {"status": "deleted", "id": routine_id}


@blueprint.route(*(f"{path}/toggle" for path in ONE))
class Toggle(MethodView):
    @blueprint.response(200, wire.Toggled)
    def patch(self, agent_id: str, routine_id: str) -> Any:
        """Switch a routine on or off; off, it calls off what has not begun."""
        return routines.toggle(wire.of_agent(agent_id, routine_id))


@blueprint.route(*(f"{path}/trigger" for path in ONE))
class Trigger(MethodView):
    @blueprint.response(202, wire.Triggered)
    def post(self, agent_id: str, routine_id: str) -> Any:
        """Have a routine come up now; the agent's timeline tells what became of it."""
        routine = pulses.trigger(wire.of_agent(agent_id, routine_id))
        return {"status": "triggered", "routineId": routine.id, "routineName": routine.name}


@blueprint.route(*(f"{path}/duplicate" for path in ONE))
class Duplicate(MethodView):
    @blueprint.response(201, wire.RoutineView)
    def post(self, agent_id: str, routine_id: str) -> Any:
        """A copy of a routine that is the caller's, switched off, without its one-offs."""
        return routines.duplicate(g.principal, wire.of_agent(agent_id, routine_id))


@blueprint.route(*(f"{path}/reorder" for path in ALL))
class Reorder(MethodView):
    @blueprint.arguments(wire.OrderForm)
    @blueprint.response(200, wire.Reordered)
    def post(self, form: dict[str, Any], agent_id: str) -> Any:
        """Put the caller's routines of an agent into another order."""
        routines.reorder(wire.all_of(agent_id), form["routine_ids"])
        return {"status": "reordered"}


@blueprint.route("/pulse-routines/<routine_id>/record-run")
class RecordRun(MethodView):
    @internal
    @blueprint.response(200, wire.Recorded)
    def post(self, routine_id: str) -> Any:
        """Count a run of a routine that an engine elsewhere did."""
        at = routines.record_run(visible(Routine, routine_id))
        return {"status": "recorded", "routineId": routine_id, "lastRunAt": at}


@blueprint.route("/pulses/timeline")
class Timeline(MethodView):
    @blueprint.arguments(wire.WindowForm, location="query")
    @blueprint.response(200, wire.PulseTimeline)
    def get(self, form: dict[str, Any]) -> Any:
        """When the caller's routines will come up, and where agents get in each other's way."""
        return wire.timeline(**form)
