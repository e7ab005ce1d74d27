"""What agents have done and are doing: timelines and sessions."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models import activities, presence
from models.activities import Activity
from models.agents import Agent
from models.events import Event
from models.sessions import ACTIVE, Session
from tasks import sessions
from web.resources import Blueprint, listed, newest_first, only, page, visible, wrapped
from web.schemas import lifecycle as wire

blueprint = Blueprint("lifecycle", "Timelines and sessions of agents")


@blueprint.route("/lifecycle/timeline")
class Timeline(MethodView):
    @blueprint.arguments(wire.TimelineForm, location="query")
    @blueprint.response(200, wire.Timeline)
    def get(self, form: dict[str, Any]) -> Any:
        """What all agents did, newest first."""
        one_more = form | {"limit": form["limit"] + 1}
        found = activities.timeline(Activity.visible_to(g.principal), one_more)
        more = len(found) > form["limit"]
        return {"timeline": wire.entries(found[: form["limit"]]), "hasMore": more}


@blueprint.route("/agents/<agent_id>/activity")
class AgentTimeline(MethodView):
    @blueprint.arguments(wire.ActivityForm, location="query")
    @blueprint.response(200, wire.AgentTimeline)
    def get(self, form: dict[str, Any], agent_id: str) -> Any:
        """What one agent did, newest first; with `since` the first entries after it."""
        known = Activity.visible_to(g.principal)
        mine = known.where(Activity.agent_id == visible(Agent, agent_id).id)
        return wire.agent_timeline(activities.recent(mine, **form))


@blueprint.route("/agents/<agent_id>/activity/stats")
class Stats(MethodView):
    @blueprint.response(200, wire.Stats)
    def get(self, agent_id: str) -> Any:
        """How much one agent did in the last day and week."""
        return presence.statistics(g.principal, visible(Agent, agent_id).id)


@blueprint.route("/agents/<agent_id>/lifecycle")
class AgentLifecycle(MethodView):
    @blueprint.response(200, wire.AgentLifecycle)
    def get(self, agent_id: str) -> Any:
        """What one agent does right now."""
        agent = visible(Agent, agent_id)
        return wire.lifecycle_of(agent, presence.presences(g.principal, [agent.id])[agent.id])


@blueprint.route("/lifecycle/sessions")
class ActiveSessions(MethodView):
    @blueprint.arguments(wire.SessionsForm, location="query")
    @blueprint.response(200, wire.Sessions)
    def get(self, form: dict[str, Any]) -> Any:
        """Sessions under way, or those of the states asked for, newest first."""
        found = only(listed(Session, wire.SessionItem), {"status": ACTIVE} | form, wire.FILTERS)
        return wrapped("sessions", page(found, form, newest_first(Session)))


@blueprint.route("/sessions")
class Sessions(MethodView):
    @blueprint.arguments(wire.SessionsForm, location="query")
    @blueprint.response(200, wire.Sessions)
    def get(self, form: dict[str, Any]) -> Any:
        """All sessions, newest first."""
        found = only(listed(Session, wire.SessionItem), form, wire.FILTERS)
        return wrapped("sessions", page(found, form, newest_first(Session)))


@blueprint.route("/agents/<agent_id>/sessions")
class AgentSessions(MethodView):
    @blueprint.arguments(wire.AgentSessionsForm, location="query")
    @blueprint.response(200, wire.Sessions)
    def get(self, form: dict[str, Any], agent_id: str) -> Any:
        """One agent's sessions, newest first."""
        asked = form | {"agent_ids": [visible(Agent, agent_id).id]}
        found = only(listed(Session, wire.SessionItem), asked, wire.FILTERS)
        return wrapped("sessions", page(found, form, newest_first(Session)))


@blueprint.route("/sessions/<session_id>")
class OneSession(MethodView):
    @blueprint.response(200, wire.SessionView)
    def get(self, session_id: str) -> Any:
        """A session with what happened in it."""
        session = visible(Session, session_id)
        events = Event.select().where(Event.session_id == session.id).order_by(Event.seq)
        return wire.session_with(session, list(events))


@blueprint.route("/sessions/<session_id>/stop")
class Stop(MethodView):
    @blueprint.response(200, wire.Stopped)
    def post(self, session_id: str) -> Any:
        """Stop an agent at work; its run is cancelled with it."""
        sessions.stop(visible(Session, session_id))
        told = "The run this session worked for is cancelled"
        return {"session_id": session_id, "status": "stopped", "message": told}
