"""Secrets: kept, given to agents and people, read by agents alone."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models import secrets as known
from models.accounts import User
from models.agents import Agent
from models.secrets import Secret
from tasks import secrets
from web.resources import Blueprint, Order, PageForm, newest_first, page, visible
from web.schemas import secrets as wire
from web.security import admin, for_agents, internal

blueprint = Blueprint("secrets", "What agents need and nobody may read")
OWN_FIRST = Order((Secret.scope, Secret.created_at, Secret.id))  # "user" before "instance"


@blueprint.route("/secrets")
class Secrets(MethodView):
    @blueprint.arguments(PageForm, location="query")
    @blueprint.response(200, wire.SecretView(many=True))
    def get(self, form: dict[str, Any]) -> Any:
        """The secrets the caller may use, newest first, masked."""
        mine = known.shown(Secret.visible_to(g.principal))
        return [wire.labelled(row) for row in page(mine, form, newest_first(Secret))]

    @blueprint.arguments(wire.SecretForm)
    @blueprint.response(201, wire.SecretView)
    def post(self, form: dict[str, Any]) -> Any:
        """Keep a secret."""
        return wire.labelled(known.described(secrets.create(g.principal, form)))


@blueprint.route("/secrets/types")
class Types(MethodView):
    @blueprint.response(200, wire.SecretTypes)
    def get(self) -> Any:
        """The kinds of secrets there are."""
        return wire.TYPES_LISTED


@blueprint.route("/secrets/<secret_id>")
class OneSecret(MethodView):
    @blueprint.response(200, wire.SecretView)
    def get(self, secret_id: str) -> Any:
        """A secret, masked."""
        return wire.labelled(known.described(visible(Secret, secret_id)))

    @blueprint.arguments(wire.SecretChanges)
    @blueprint.response(200, wire.SecretView)
    def put(self, form: dict[str, Any], secret_id: str) -> Any:
        """Change some fields; a new value replaces the old one."""
        secret = secrets.change(g.principal, visible(Secret, secret_id).id, form)
        return wire.labelled(known.described(secret))

    @blueprint.response(204)
    def delete(self, secret_id: str) -> Any:
        """Forget a secret, named by its id or by its name."""
        secrets.delete(g.principal, Secret.named(g.principal, secret_id).id)


@blueprint.route("/secrets/<secret_id>/grant/<agent_id>")
class Grant(MethodView):
    @blueprint.response(200, wire.SecretGrant)
    def post(self, secret_id: str, agent_id: str) -> Any:
        """Let an agent have the secret, in runs whose owner may use it."""
        secret, agent = visible(Secret, secret_id), visible(Agent, agent_id)
        return secrets.grant(g.principal, secret.id, agent.id)

    @blueprint.response(204)
    def delete(self, secret_id: str, agent_id: str) -> Any:
        """Take the secret from an agent."""
        secrets.revoke(g.principal, visible(Secret, secret_id).id, agent_id)


@blueprint.route("/secrets/agents/<agent_id>")
class OfAgent(MethodView):
    @blueprint.arguments(PageForm, location="query")
    @blueprint.response(200, wire.SecretView(many=True))
    def get(self, form: dict[str, Any], agent_id: str) -> Any:
        """The secrets an agent was given, as far as the caller may use them, masked."""
        mine = known.shown(Secret.visible_to(g.principal))
        given = page(known.of_agent(mine, agent_id), form, newest_first(Secret))
        return [wire.labelled(row) for row in given]


@blueprint.route("/secrets/agents/<agent_id>/env")
class AgentEnvironment(MethodView):
    @internal
    @for_agents
    @blueprint.response(200, wire.AgentEnvironment)
    def get(self, agent_id: str) -> Any:
        """What an agent was given, in the clear: for the engine and for the agent's own key."""
        return wire.handed(agent_id, secrets.hand_out(g.principal, agent_id))


@blueprint.route("/users/me/secrets")
class Mine(MethodView):
    @blueprint.arguments(PageForm, location="query")
    @blueprint.response(200, wire.SecretOfMine(many=True))
    def get(self, form: dict[str, Any]) -> Any:
        """One's own secrets, then those of the instance that one was given."""
        mine = known.shown(known.of_person(g.principal.id))
        rows = page(mine, form, OWN_FIRST)
        return [wire.of_mine(row, g.principal.id) for row in rows]


@blueprint.route("/admin/secrets/<secret_id>/grant-user/<user_id>")
class Loan(MethodView):
    @admin
    @blueprint.response(201, wire.SecretLoan)
    def post(self, secret_id: str, user_id: str) -> Any:
        """Let a person use a secret of the instance."""
        secret, user = visible(Secret, secret_id), visible(User, user_id)
        lent = secrets.lend(g.principal, secret.id, user)
        status = "granted" if lent else "already_granted"
        return {"status": status, "secretId": secret.id, "userId": user.id}

    @admin
    @blueprint.response(204)
    def delete(self, secret_id: str, user_id: str) -> Any:
        """Take a secret from a person, and from the agents that they gave it to."""
        secrets.take_back(g.principal, visible(Secret, secret_id).id, user_id)
