"""Chats: begin one, say something, steer the answer, end it."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models.agents import Agent
from models.chats import ChatSession
from tasks import chats
from web import chat_stream
from web.resources import Blueprint, listed, newest_first, only, page, visible
from web.schemas import chats as wire
from web.schemas.events import StreamForm
from web.schemas.runs import KeyForm
from web.security import streaming

blueprint = Blueprint("chats", "Conversations with agents")
STREAM: dict[str, Any] = {"content_type": "text/event-stream", "description": "Events"}


@blueprint.route("/chat/sessions")
class Sessions(MethodView):
    @blueprint.arguments(wire.ChatListForm, location="query")
    @blueprint.response(200, wire.Sessions)
    def get(self, form: dict[str, Any]) -> Any:
        """The caller's chats, newest first; those under way unless a status is named."""
        asked = form if "status" in form else form | {"active": True}
        mine = only(listed(ChatSession, wire.SessionRow), asked, wire.FILTERS)
        return wire.listed(page(mine, form, newest_first(ChatSession)))

    @blueprint.arguments(KeyForm, location="headers")
    @blueprint.arguments(wire.ChatStartForm)
    @blueprint.response(200, wire.Started)
    def post(self, header: dict[str, Any], form: dict[str, Any]) -> Any:
        """Begin a chat with an agent."""
        agent = visible(Agent, form.pop("agent_id"))
        return wire.started(chats.start(g.principal, agent, form, header["key"]))


@blueprint.route("/agents/<agent_id>/chat/start")
class Start(MethodView):
    @blueprint.arguments(KeyForm, location="headers")
    @blueprint.arguments(wire.ChatBeginForm, required=False)
    @blueprint.response(200, wire.Started)
    def post(self, header: dict[str, Any], form: dict[str, Any], agent_id: str) -> Any:
        """Begin a chat with this agent."""
        agent = visible(Agent, agent_id)
        return wire.started(chats.start(g.principal, agent, form, header["key"]))


@blueprint.route("/agents/<agent_id>/chat/sessions")
class AgentSessions(MethodView):
    @blueprint.arguments(wire.ChatListForm, location="query")
    @blueprint.response(200, wire.Sessions)
    def get(self, form: dict[str, Any], agent_id: str) -> Any:
        """The caller's chats with an agent, newest first, those that are over among them."""
        asked = form | {"agent_id": visible(Agent, agent_id).id}
        mine = only(listed(ChatSession, wire.SessionRow), asked, wire.FILTERS)
        return wire.listed(page(mine, form, newest_first(ChatSession)))


@blueprint.route("/chat/sessions/<chat_id>")
class OneSession(MethodView):
    @blueprint.response(200, wire.SessionView)
    def get(self, chat_id: str) -> Any:
        """A chat with all that was said in it, oldest first."""
        return wire.shown(visible(ChatSession, chat_id))

    @blueprint.arguments(wire.ChatChangeForm)
    @blueprint.response(200, wire.SessionRow)
    def patch(self, form: dict[str, Any], chat_id: str) -> Any:
        """Have another model answer, give the chat a title, or end it."""
        return chats.change(visible(ChatSession, chat_id), form)

    @blueprint.arguments(wire.ChatEndForm, location="query")
    @blueprint.response(200, wire.Ended)
    def delete(self, form: dict[str, Any], chat_id: str) -> Any:
        """End a chat; what was said is kept, unless it is to be purged."""
        (chats.purge if form["purge"] else chats.end)(visible(ChatSession, chat_id))
        return wire.ended(chat_id)


@blueprint.route("/chat/sessions/<chat_id>/message", "/agents/<agent_id>/chat/<chat_id>/message")
class Message(MethodView):
    @blueprint.arguments(KeyForm, location="headers")
    @blueprint.arguments(wire.ChatMessageForm)
    @blueprint.response(200, wire.Queued)
    def post(
        self, header: dict[str, Any], form: dict[str, Any], chat_id: str, agent_id: str = ""
    ) -> Any:
        """Say something; the answer comes once those to earlier messages have."""
        chat = wire.with_agent(visible(ChatSession, chat_id), agent_id)
        return wire.queued(*chats.say(chat, form, header["key"]))


@blueprint.route("/agents/<agent_id>/chat/<chat_id>/end", "/chat/sessions/<chat_id>/end")
class End(MethodView):
    @blueprint.response(200, wire.Ended)
    def post(self, chat_id: str, agent_id: str = "") -> Any:
        """End a chat; one that is not there has ended, too."""
        chats.end_if_there(g.principal, chat_id)
        return wire.ended(chat_id)


@blueprint.route("/agents/<agent_id>/chat/<chat_id>/stop", "/chat/sessions/<chat_id>/stop")
class Stop(MethodView):
    @blueprint.response(200, wire.Stopped)
    def post(self, chat_id: str, agent_id: str = "") -> Any:
        """Call off the answer under way; what it has said so far is kept."""
        chat = wire.with_agent(visible(ChatSession, chat_id), agent_id)
        return wire.stopped(chats.stop(chat))


@blueprint.route("/agents/<agent_id>/chat/<chat_id>/restart", "/chat/sessions/<chat_id>/restart")
class Restart(MethodView):
    @blueprint.response(200, wire.Started)
    def post(self, chat_id: str, agent_id: str = "") -> Any:
        """Go on with a chat that was over; one that is not stays as it is."""
        chat = wire.with_agent(visible(ChatSession, chat_id), agent_id)
        return wire.started(chats.restart(chat))


@blueprint.route("/agents/<agent_id>/chat/<chat_id>/status", "/chat/sessions/<chat_id>/status")
class Status(MethodView):
    @blueprint.response(200, wire.Status)
    def get(self, chat_id: str, agent_id: str = "") -> Any:
        """How a chat stands; `not_found` where the caller has none of this id."""
        mine = ChatSession.visible_to(g.principal).where(ChatSession.id == chat_id)
        return wire.status_of(chat_id, mine.first())


@blueprint.route("/agents/<agent_id>/chat/<chat_id>/model", "/chat/sessions/<chat_id>/model")
class Model(MethodView):
    @blueprint.arguments(wire.ChatModelForm, location="query")
    @blueprint.response(200, wire.Switched)
    def patch(self, form: dict[str, Any], chat_id: str, agent_id: str = "") -> Any:
        """Have another model answer what is said from now on."""
        chat = wire.with_agent(visible(ChatSession, chat_id), agent_id)
        changed = chats.change(chat, form)
        return {"status": "updated", "sessionId": chat_id, "model": changed.model}


@blueprint.route(
    "/agents/sessions/<session_id>/events",
    "/sessions/<session_id>/events",
    "/sessions/<session_id>/stream",
)
class SessionEvents(MethodView):
    @streaming
    @blueprint.arguments(StreamForm, location="query")
    @blueprint.response(200, {"type": "string"}, **STREAM)
    def get(self, form: dict[str, Any], session_id: str) -> Any:
        """A chat, or another session of an agent: what happened in it, then what happens."""
        return chat_stream.of_session(session_id, form)
