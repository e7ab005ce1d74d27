"""Providers of models: the server's keys, those that people bring, what each offers."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models import allowances, providers
from models.keys import person_of
from tasks import offers, provider_keys
from tasks import providers as commands
from web.resources import Blueprint
from web.schemas import providers as wire
from web.security import admin, operators

blueprint = Blueprint("providers", "Providers of models and their keys")
OWN = ("/settings/user-providers", "/users/me/providers")


@blueprint.route("/settings/providers")
class Providers(MethodView):
    @blueprint.response(200, wire.ModelProviderView(many=True))
    def get(self) -> Any:
        """Every provider as the server has it; custom ones come last."""
        return list(providers.server().values())

    @admin
    @blueprint.arguments(wire.CustomForm)
    @blueprint.response(200, wire.ModelProviderView)
    def post(self, form: dict[str, Any]) -> Any:
        """Add a server of your own that speaks OpenAI's chat completions."""
        return commands.make_custom(g.principal, form)


@blueprint.route("/settings/providers/<provider_id>")
class OneProvider(MethodView):
    @operators
    @blueprint.arguments(wire.ModelProviderForm)
    @blueprint.response(200, wire.ModelProviderView)
    def put(self, form: dict[str, Any], provider_id: str) -> Any:
        """Set the server's key and further values, switch the provider on or off.

        What the engine reports of its environment never replaces what an admin has set.
        """
        return commands.set_server(g.principal, provider_id, form)

    @admin
    @blueprint.response(200, wire.ProviderRemoved)
    def delete(self, provider_id: str) -> Any:
        """Forget what was set for a provider; a custom one is gone then, with its shares."""
        commands.remove_server(g.principal, provider_id)
        return {"status": "ok", "providerId": provider_id}


@blueprint.route("/settings/providers/<provider_id>/models")
class Models(MethodView):
    @blueprint.response(200, wire.OffersView)
    def get(self, provider_id: str) -> Any:
        """What a provider offers as it tells itself (kept for five minutes), or as we know."""
        return offers.offered(g.principal, provider_id)


@blueprint.route("/settings/providers/keys/all")
class Keys(MethodView):
    @blueprint.arguments(wire.KeysForm, location="query")
    @blueprint.response(200, wire.KeysView)
    def get(self, form: dict[str, Any]) -> Any:
        """The keys in the clear, for the engine: the server's, or what a person may use.

        A person may ask with `user_id=me` whose keys their calls use, without the keys.
        """
        return provider_keys.for_engine(g.principal, form.get("user_id"))


@blueprint.route(*OWN)
class OwnProviders(MethodView):
    @blueprint.response(200, wire.OwnProviderView(many=True))
    def get(self) -> Any:
        """The caller's own providers, then those that are shared with them and what is left."""
        return allowances.of(person_of(g.principal))


@blueprint.route(*(f"{path}/<provider_id>" for path in OWN))
class OwnProvider(MethodView):
    @blueprint.arguments(wire.ModelProviderForm)
    @blueprint.response(200, wire.OwnProviderView)
    def put(self, form: dict[str, Any], provider_id: str) -> Any:
        """Bring a key of your own; your runs use it before anything else."""
        return commands.set_own(g.principal, provider_id, form)

    @blueprint.response(200, wire.ProviderRemoved)
    def delete(self, provider_id: str) -> Any:
        """Forget a key of your own."""
        commands.remove_own(g.principal, provider_id)
        return {"status": "ok", "providerId": provider_id}
