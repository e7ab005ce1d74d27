"""Onboarding: talking to agents until a project comes of it."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models.onboarding import ABANDONED, ACTIVE, OnboardingSession
from tasks import facts, onboarding
from web.resources import Blueprint, Order, listed, page, visible
from web.schemas import onboarding as wire

blueprint = Blueprint("onboarding", "Conversations that become projects")
LATEST = Order((OnboardingSession.updated_at, OnboardingSession.id))


@blueprint.route("/onboarding/sessions")
class Sessions(MethodView):
    @blueprint.arguments(wire.OnboardingListForm, location="query")
    @blueprint.response(200, wire.Summary(many=True))
    def get(self, form: dict[str, Any]) -> Any:
        """The caller's sessions, those that changed last first."""
        wanted = [form["status"]] if "status" in form else [ACTIVE, ABANDONED]
        mine = listed(OnboardingSession, wire.Summary).where(OnboardingSession.state.in_(wanted))
        return wire.summaries(page(mine, form, LATEST))

    @blueprint.arguments(wire.OnboardingStartForm)
    @blueprint.response(200, wire.Session)
    def post(self, form: dict[str, Any]) -> Any:
        """Begin a conversation that is to become a project; the first agent greets."""
        return wire.shown(onboarding.start(g.principal, form))


@blueprint.route("/onboarding/sessions/<onboarding_id>")
class OneSession(MethodView):
    @blueprint.response(200, wire.Session)
    def get(self, onboarding_id: str) -> Any:
        """A session with all that was said in it."""
        return wire.shown(visible(OnboardingSession, onboarding_id))

    @blueprint.response(200, wire.Ended)
    def delete(self, onboarding_id: str) -> Any:
        """Delete a session; a project that it became stays."""
        session = visible(OnboardingSession, onboarding_id)
        onboarding.delete(session)
        return wire.ended("deleted", session)


@blueprint.route("/onboarding/sessions/<onboarding_id>/message")
class Message(MethodView):
    @blueprint.arguments(wire.OnboardingSayForm)
    @blueprint.response(200, wire.Queued)
    def post(self, form: dict[str, Any], onboarding_id: str) -> Any:
        """Say something to the agent that has the word."""
        session = visible(OnboardingSession, onboarding_id)
        return wire.queued(session, *onboarding.say(session, form))


@blueprint.route("/onboarding/sessions/<onboarding_id>/handoff")
class Handoff(MethodView):
    @blueprint.arguments(wire.OnboardingHandoffForm)
    @blueprint.response(200, wire.HandedOver)
    def post(self, form: dict[str, Any], onboarding_id: str) -> Any:
        """Give the word to a later agent, or finish with `done`."""
        session = visible(OnboardingSession, onboarding_id)
        before = session.current_agent_id
        return wire.handed_over(before, *onboarding.hand_over(g.principal, session, form))


@blueprint.route("/onboarding/sessions/<onboarding_id>/finalize")
class Finalize(MethodView):
    @blueprint.arguments(wire.OnboardingFinalizeForm)
    @blueprint.response(200, wire.Finalized)
    def post(self, form: dict[str, Any], onboarding_id: str) -> Any:
        """Make the project, with its board, vision, agents and plan; once."""
        session = visible(OnboardingSession, onboarding_id)
        return wire.finalized(*onboarding.finish(g.principal, session, form))


@blueprint.route("/onboarding/sessions/<onboarding_id>/resume")
class Resume(MethodView):
    @blueprint.response(200, wire.Session)
    def post(self, onboarding_id: str) -> Any:
        """Go on with a session that was given up; one that is active stays as it is."""
        session = visible(OnboardingSession, onboarding_id)
        return wire.shown(onboarding.resume(g.principal, session))


@blueprint.route("/onboarding/sessions/<onboarding_id>/stop")
class Stop(MethodView):
    @blueprint.response(200, wire.Stopped)
    def post(self, onboarding_id: str) -> Any:
        """Call off the answer under way."""
        session = onboarding.stop(visible(OnboardingSession, onboarding_id))
        return {**wire.ended("stop_sent", session), "chatSessionId": session.chat_session_id}


@blueprint.route("/onboarding/sessions/<onboarding_id>/abandon")
class Abandon(MethodView):
    @blueprint.response(200, wire.Ended)
    def patch(self, onboarding_id: str) -> Any:
        """Give a session up, until it is resumed."""
        session = visible(OnboardingSession, onboarding_id)
        return wire.ended("abandoned", onboarding.abandon(session))


@blueprint.route("/onboarding/sessions/<onboarding_id>/context")
class Context(MethodView):
    @blueprint.arguments(wire.OnboardingContextForm, example=wire.CONTEXT["example"])
    @blueprint.response(200, wire.Known)
    def patch(self, form: dict[str, Any], onboarding_id: str) -> Any:
        """Add to what is known, key by key."""
        session = visible(OnboardingSession, onboarding_id)
        return {"status": "updated", "context": facts.learn(session, form)}


@blueprint.route("/onboarding/sessions/<onboarding_id>/landing-page")
class LandingPage(MethodView):
    @blueprint.arguments(wire.OnboardingPageForm)
    @blueprint.response(200, wire.Shown)
    def patch(self, form: dict[str, Any], onboarding_id: str) -> Any:
        """Put up another page about the project; show it in a sandboxed frame."""
        session = visible(OnboardingSession, onboarding_id)
        agent, caption = session.current_agent_id, form.get("caption")
        state = facts.show(session, agent, form["html"], caption)
        return {"status": "updated", "landingPageState": state}
