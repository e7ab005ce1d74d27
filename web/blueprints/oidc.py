"""Identity providers: which there are, and logging in by them (OpenID Connect)."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models.errors import DomainError
from models.oidc import OidcProvider
from tasks import identities, oidc
from web import browsers, throttles
from web.resources import Blueprint, Order, PageForm, listed, page, visible
from web.schemas import oidc as wire
from web.schemas.logins import LoginAnswer, told_or_asked
from web.security import admin, origin, public

blueprint = Blueprint("oidc", "Logging in by identity providers")
blueprint.register_error_handler(DomainError, browsers.sent_home_with)
OLDEST_FIRST = Order((OidcProvider.created_at, OidcProvider.id), descending=False)


@blueprint.route("/auth/oidc", "/auth/providers")
class Providers(MethodView):
    @admin
    @blueprint.arguments(PageForm, location="query")
    @blueprint.response(200, wire.ProviderView(many=True))
    def get(self, form: dict[str, Any]) -> Any:
        """Every identity provider, also those that are disabled."""
        return page(listed(OidcProvider, wire.ProviderView), form, OLDEST_FIRST)

    @admin
    @blueprint.arguments(wire.NewProviderForm)
    @blueprint.response(200, wire.Created)
    def post(self, form: dict[str, Any]) -> Any:
        """Add an identity provider; where it is asked for what it says itself, if it can."""
        return oidc.create(g.principal, form)


@blueprint.route("/auth/oidc/<provider_id>", "/auth/providers/<provider_id>")
class Provider(MethodView):
    @admin
    @blueprint.arguments(wire.ProviderForm)
    @blueprint.response(200, wire.Updated)
    def put(self, form: dict[str, Any], provider_id: str) -> Any:
        """Change what is named; null, an empty secret and a masked one keep what is there."""
        found = visible(OidcProvider, OidcProvider.id_of(provider_id))
        return oidc.change(g.principal, found, form)

    @admin
    @blueprint.response(200, wire.Deleted)
    def delete(self, provider_id: str) -> Any:
        """Delete an identity provider; the accounts that came from it stay."""
        found = visible(OidcProvider, OidcProvider.id_of(provider_id))
        oidc.remove(g.principal, found)
        return found


@blueprint.route("/auth/oidc/<provider_id>/test", "/auth/providers/<provider_id>/test")
class Probe(MethodView):
    @admin
    @blueprint.response(200, wire.Probed)
    def post(self, provider_id: str) -> Any:
        """Ask the provider now where it is asked for what."""
        return oidc.probe(visible(OidcProvider, OidcProvider.id_of(provider_id)))


@blueprint.route("/auth/oidc/<slug>/authorize")
class Authorize(MethodView):
    @public
    @throttles.at_most("60 per minute", "oidc begin")
    @blueprint.arguments(wire.AuthorizeForm, location="query")
    @blueprint.response(200, wire.Authorization)
    def get(self, form: dict[str, Any], slug: str) -> Any:
        """Begin to log in: where to go for it. A browser is sent there at once."""
        cookie = browsers.drawn_cookie()
        back = browsers.public_url(f"/v1/auth/oidc/{slug}/callback")
        way = identities.Beginning(back, cookie, form.get("redirect"))
        state, url = identities.begin(slug, way)
        return browsers.sent_away(url, state, cookie) if cookie else {"authorizationUrl": url}


@blueprint.route("/auth/oidc/<slug>/callback")
class Callback(MethodView):
    @public
    @throttles.at_most("60 per minute", "oidc finish")
    @blueprint.arguments(wire.CallbackForm)
    @blueprint.response(200, LoginAnswer)
    def post(self, form: dict[str, Any], slug: str) -> Any:
        """Finish a login with the code that the provider has sent along."""
        return told_or_asked(identities.finish(slug, _brought(form), origin()).admitted)

    @public
    @throttles.at_most("60 per minute", "oidc finish")
    @blueprint.arguments(wire.ReturnForm, location="query")
    @blueprint.response(200, LoginAnswer)
    def get(self, form: dict[str, Any], slug: str) -> Any:
        """Where the provider sends people back to; a browser is sent on to the dashboard.

        One that did not begin the login here takes the code along: whoever began it finishes it.
        """
        back = _brought(form)
        if browsers.is_page() and back.browser is None and back.code:
            return browsers.sent_home(form)
        arrival = identities.finish(slug, back, origin())
        return browsers.arrived(told_or_asked(arrival.admitted), arrival.next_path)


def _brought(form: dict[str, Any]) -> identities.Return:
    """What somebody has brought back, and what their browser has kept."""
    state = form["state"]
    code, error, issuer = (form.get(name) for name in ("code", "error", "iss"))
    return identities.Return(state, code, error, issuer, browsers.kept_cookie(state))
