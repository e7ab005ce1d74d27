"""Logins: setting up, logging in and out, passwords, where one is logged in."""

from __future__ import annotations

from typing import Any

from flask import current_app, g
from flask.views import MethodView

from models.accounts import UserSession, users_exist
from models.oidc import OidcProvider
from tasks import accounts, logins, second_factor
from web import throttles, tokens
from web.resources import Blueprint, PageForm, listed, newest_first, page, visible
from web.schemas import logins as wire
from web.security import origin, public

blueprint = Blueprint("logins", "Logging in and out")


@blueprint.route("/auth/status")
class Status(MethodView):
    @public
    @blueprint.response(200, wire.AuthStatus)
    def get(self) -> Any:
        """Whether one must log in here, and how one can."""
        enabled = current_app.extensions["settings"].auth_enabled
        ready = users_exist()
        offered = OidcProvider.all_offered() if ready else []
        return {"authEnabled": enabled, "setupComplete": ready, "oidcProviders": offered}


@blueprint.route("/auth/setup")
class Setup(MethodView):
    @public
    @throttles.at_most("5 per minute", "setup")
    @blueprint.arguments(wire.SetupForm)
    @blueprint.response(200, wire.Tokens)
    def post(self, form: dict[str, Any]) -> Any:
        """Make the first account, an admin's, and log in; only once."""
        return wire.told(logins.set_up(form, origin()))


@blueprint.route("/auth/login")
class Login(MethodView):
    @public
    @throttles.of_logins
    @blueprint.arguments(wire.LoginForm)
    @blueprint.response(200, wire.LoginAnswer)
    def post(self, form: dict[str, Any]) -> Any:
        """Log in; answers with tokens, or with `requiresTOTP` when a code is asked for as well."""
        return wire.told_or_asked(logins.log_in(form["email"], form["password"], origin()))


@blueprint.route("/auth/login/2fa", "/auth/login/totp")
class SecondFactor(MethodView):
    @public
    @blueprint.arguments(wire.CodeForm)
    @blueprint.response(200, wire.Tokens)
    def post(self, form: dict[str, Any]) -> Any:
        """Finish a login with a code of the authenticator, or with a recovery code."""
        challenge = tokens.challenge_id(form["token"])
        return wire.told(second_factor.answer(challenge, form["code"], origin()))


@blueprint.route("/auth/login/recovery")
class Recovery(MethodView):
    @public
    @blueprint.arguments(wire.CodeForm)
    @blueprint.response(200, wire.RecoveredTokens)
    def post(self, form: dict[str, Any]) -> Any:
        """Finish a login with a recovery code, which is used up; says how many are left."""
        challenge = tokens.challenge_id(form["token"])
        login = second_factor.recover(challenge, form["code"], origin())
        return wire.told_with_codes_left(login)


@blueprint.route("/auth/refresh")
class Refresh(MethodView):
    @public
    @throttles.at_most("60 per minute", "refresh")
    @blueprint.arguments(wire.RefreshForm)
    @blueprint.response(200, wire.Tokens)
    def post(self, form: dict[str, Any]) -> Any:
        """Go on with a login: a new pair of tokens for the refresh token, which is used up."""
        return wire.told(logins.refresh(form["token"]))


@blueprint.route("/auth/logout")
class Logout(MethodView):
    @blueprint.arguments(wire.LogoutForm)
    @blueprint.response(200, wire.Done)
    def post(self, form: dict[str, Any]) -> Any:
        """End the caller's login: its tokens open nothing from now on."""
        logins.log_out(g.principal, form.get("token"))
        return {"status": "ok"}


@blueprint.route("/auth/me")
class Me(MethodView):
    @blueprint.response(200, wire.Me)
    def get(self) -> Any:
        """Who is calling."""
        return wire.me(g.principal)


@blueprint.route("/auth/password")
class Password(MethodView):
    @blueprint.arguments(wire.PasswordForm)
    @blueprint.response(200, wire.Done)
    def post(self, form: dict[str, Any]) -> Any:
        """Change the caller's password; their other logins end."""
        accounts.change_password(g.principal, form["current"], form["new"])
        return {"status": "ok"}


@blueprint.route("/auth/sessions")
class Sessions(MethodView):
    @blueprint.arguments(PageForm, location="query")
    @blueprint.response(200, wire.LoginView(many=True))
    def get(self, form: dict[str, Any]) -> Any:
        """Where the caller is logged in, newest first."""
        return page(listed(UserSession, wire.LoginView), form, newest_first(UserSession))


@blueprint.route("/auth/sessions/<login_id>")
class Session(MethodView):
    @blueprint.response(200, wire.Ended)
    def delete(self, login_id: str) -> Any:
        """End one of the caller's logins."""
        logins.end(visible(UserSession, login_id))
        return {"status": "ended", "id": login_id}
