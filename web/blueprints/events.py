"""Events as they happen (server-sent events)."""

from __future__ import annotations

from typing import Any

from flask.views import MethodView

from models.agents import Agent
from models.runs import Run
from web import channels, chat_stream, stream
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


@blueprint.route("/events/llm-calls")
class LlmCalls(MethodView):
    @streaming
    @blueprint.arguments(wire.StreamForm, location="query")
    @blueprint.response(200, {"type": "string"}, **STREAM)
    def get(self, form: dict[str, Any]) -> Any:
        """Calls of models."""
        return channels.changes(form, channels.of_kind("llm_call"))


@blueprint.route("/events/activity/<agent_id>")
class ActivityStream(MethodView):
    @streaming
    @blueprint.arguments(wire.ActivityForm, location="query")
    @blueprint.response(200, {"type": "string"}, **STREAM)
    def get(self, form: dict[str, Any], agent_id: str) -> Any:
        """An agent's timeline: its latest entries, its state, then what comes."""
        return channels.activity(visible(Agent, agent_id), form["limit"])


@blueprint.route("/events/chat-sessions")
class ChatSessionChanges(MethodView):
    @streaming
    @blueprint.arguments(wire.StreamForm, location="query")
    @blueprint.response(200, {"type": "string"}, **STREAM)
    def get(self, form: dict[str, Any]) -> Any:
        """Chats that begin and end."""
        return channels.changes(form, channels.chat_changes)


@blueprint.route("/events/work-locks/<agent_id>")
class WorkLocks(MethodView):
    @streaming
    @blueprint.arguments(wire.StreamForm, location="query")
    @blueprint.response(200, {"type": "string"}, **STREAM)
    def get(self, form: dict[str, Any], agent_id: str) -> Any:
        """Work that an agent takes into its hands and puts down."""
        agent = visible(Agent, agent_id)
        return channels.changes(form, channels.of_kind("lock_", agent.id))


@blueprint.route("/events/sessions")
class SessionChanges(MethodView):
    @streaming
    @blueprint.arguments(wire.StreamForm, location="query")
    @blueprint.response(200, {"type": "string"}, **STREAM)
    def get(self, form: dict[str, Any]) -> Any:
        """Sessions that begin and end."""
        return channels.changes(form, channels.session_changes())


@blueprint.route("/events/sessions/<agent_id>")
class AgentSessionChanges(MethodView):
    @streaming
    @blueprint.arguments(wire.StreamForm, location="query")
    @blueprint.response(200, {"type": "string"}, **STREAM)
    def get(self, form: dict[str, Any], agent_id: str) -> Any:
        """An agent's sessions that begin and end."""
        agent = visible(Agent, agent_id)
        return channels.changes(form, channels.session_changes(agent.id))


@blueprint.route("/events/sessions/<session_id>/events")
class SessionEvents(MethodView):
    @streaming
    @blueprint.arguments(wire.StreamForm, location="query")
    @blueprint.response(200, {"type": "string"}, **STREAM)
    def get(self, form: dict[str, Any], session_id: str) -> Any:
        """One session: what happened in it, then what happens."""
        return chat_stream.of_session(session_id, form)


@blueprint.route("/events/events")
class AgentChanges(MethodView):
    @streaming
    @blueprint.arguments(wire.StreamForm, location="query")
    @blueprint.response(200, {"type": "string"}, **STREAM)
    def get(self, form: dict[str, Any]) -> Any:
        """Agents that take up work and put it down."""
        return channels.changes(form, channels.agent_changes)
