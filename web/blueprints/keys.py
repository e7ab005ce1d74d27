"""API keys: one's own, those of the operator's programs, those of agents."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models.accounts import ApiKey
from models.agents import Agent
from tasks import keys
from web.resources import Blueprint, PageForm, listed, newest_first, page, visible
from web.schemas import keys as wire
from web.security import admin, operators

blueprint = Blueprint("keys", "What programs call with")


@blueprint.route("/auth/api-keys")
class Keys(MethodView):
    @blueprint.arguments(PageForm, location="query")
    @blueprint.response(200, wire.KeyView(many=True))
    def get(self, form: dict[str, Any]) -> Any:
        """The caller's keys that are not revoked, newest first."""
        mine = (ApiKey.user == g.principal.id) & ApiKey.is_active
        return page(listed(ApiKey, wire.KeyView).where(mine), form, newest_first(ApiKey))

    @blueprint.arguments(wire.KeyForm)
    @blueprint.response(200, wire.NewKey)
    def post(self, form: dict[str, Any]) -> Any:
        """Make a key that acts as the caller, who must have logged in; `key` is shown only now."""
        return wire.minted(keys.mint(g.principal, **form))


@blueprint.route("/auth/api-keys/all")
class AllKeys(MethodView):
    @admin
    @blueprint.arguments(PageForm, location="query")
    @blueprint.response(200, wire.AnyKeyView(many=True))
    def get(self, form: dict[str, Any]) -> Any:
        """Everybody's keys that are not revoked, newest first."""
        shown = listed(ApiKey, wire.AnyKeyView).select_extend(ApiKey.user)
        return page(shown.where(ApiKey.is_active), form, newest_first(ApiKey))


@blueprint.route("/auth/api-keys/service")
class ServiceKeys(MethodView):
    @admin
    @blueprint.arguments(wire.ServiceKeyForm)
    @blueprint.response(200, wire.NewKey)
    def post(self, form: dict[str, Any]) -> Any:
        """Make a key for a program of the operator's; it belongs to no person."""
        return wire.minted(keys.mint_service(g.principal, **form))


@blueprint.route("/auth/api-keys/agent")
class AgentKeys(MethodView):
    @operators
    @blueprint.arguments(wire.AgentKeyForm)
    @blueprint.response(200, wire.AgentKey)
    def post(self, form: dict[str, Any]) -> Any:
        """The key of an agent, made if there is none; `rotate` revokes the old one.

        `key` is there only when `created`.
        """
        agent = visible(Agent, form["agent_id"])
        return wire.of_agent(keys.of_agent(g.principal, agent, form["rotate"]))


@blueprint.route("/auth/api-keys/<key_id>")
class Key(MethodView):
    @blueprint.response(200, wire.Revoked)
    def delete(self, key_id: str) -> Any:
        """Revoke a key for good."""
        keys.revoke(g.principal, visible(ApiKey, key_id))
        return {"status": "revoked", "id": key_id}
