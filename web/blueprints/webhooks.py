"""Webhooks: take in what GitHub tells, and look at what it has told."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models.webhooks import WebhookEvent, WebhookSecret
from tasks import webhooks
from web import deliveries
from web.resources import Blueprint, Order, listed, only, page, visible
from web.schemas import webhooks as wire
from web.security import admin, public

blueprint = Blueprint("webhooks", "What GitHub tells us")
BODY = {"application/json": {"schema": {"type": "object"}, "example": {"zen": "Keep it simple."}}}
NEWEST = Order((WebhookEvent.received_at, WebhookEvent.id))


@blueprint.route("/github/webhooks", "/webhooks/github")
@public
class Deliveries(MethodView):
    @blueprint.doc(requestBody={"required": True, "content": BODY})
    @blueprint.response(200, wire.Received)
    def post(self) -> Any:
        """A delivery of GitHub's, proved by `X-Hub-Signature-256`; what it entails is done later.

        The same delivery again is answered with the event that it made first.
        """
        return wire.receipt(webhooks.receive(deliveries.signed()))


@blueprint.route("/webhooks/events")
class Events(MethodView):
    @admin
    @blueprint.arguments(wire.EventsForm, location="query")
    @blueprint.response(200, wire.Events)
    def get(self, form: dict[str, Any]) -> Any:
        """What GitHub has told, newest first."""
        told = only(listed(WebhookEvent, wire.Event), form, wire.FILTERS)
        return wire.events(page(told, form, NEWEST), form)


@blueprint.route("/webhooks/events/<event_id>")
class OneEvent(MethodView):
    @admin
    @blueprint.response(200, wire.EventDetail)
    def get(self, event_id: str) -> Any:
        """One event with all that GitHub told."""
        return visible(WebhookEvent, event_id)


@blueprint.route("/webhooks/events/<event_id>/replay")
class Replay(MethodView):
    @admin
    @blueprint.response(200, wire.Replayed)
    def post(self, event_id: str) -> Any:
        """Act on an event once more; runs that it has started are not started again."""
        event = visible(WebhookEvent, event_id, WebhookEvent.id)
        webhooks.replay(g.principal, event.id)
        return {"status": "replayed", "event_id": event.id, "message": "It is acted on again"}


@blueprint.route("/github/webhook-secrets")
class Secrets(MethodView):
    @admin
    @blueprint.response(200, wire.SecretItem(many=True))
    def get(self) -> Any:
        """The installations that sign with a secret of their own; not the secrets."""
        return list(WebhookSecret.visible_to(g.principal).order_by(WebhookSecret.created_at))

    @admin
    @blueprint.arguments(wire.WebhookSecretForm)
    @blueprint.response(200, wire.SecretItem)
    def put(self, form: dict[str, Any]) -> Any:
        """Let an installation sign with a secret of its own, and with no other."""
        return webhooks.set_secret(g.principal, form["installation_id"], form["secret"])


@blueprint.route("/github/webhook-secrets/<installation_id>")
class OneSecret(MethodView):
    @admin
    @blueprint.response(200, wire.SecretDropped)
    def delete(self, installation_id: str) -> Any:
        """Let an installation sign with the App's secret again."""
        webhooks.drop_secret(g.principal, installation_id)
        return {"status": "deleted"}
