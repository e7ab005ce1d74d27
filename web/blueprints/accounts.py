"""Accounts: admins make and change them, everybody keeps their own profile."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models.accounts import User
from tasks import accounts
from web.resources import Blueprint, PageForm, listed, newest_first, page, visible
from web.schemas import accounts as wire
from web.security import admin, internal

blueprint = Blueprint("accounts", "Who has an account")
ME = "me"


def named(user_id: str) -> User:
    """The user that an address names; `me` is the caller."""
    return visible(User, g.principal.id if user_id == ME else user_id)


@blueprint.route("/users", "/admin/users")
class Accounts(MethodView):
    @admin
    @blueprint.arguments(PageForm, location="query")
    @blueprint.response(200, wire.AccountView(many=True))
    def get(self, form: dict[str, Any]) -> Any:
        """All accounts, newest first."""
        return page(listed(User, wire.AccountView), form, newest_first(User))

    @admin
    @blueprint.arguments(wire.AccountForm)
    @blueprint.response(201, wire.AccountView)
    def post(self, form: dict[str, Any]) -> Any:
        """Make an account."""
        return accounts.create(g.principal, form)


@blueprint.route("/users/<user_id>", "/admin/users/<user_id>")
class Account(MethodView):
    @blueprint.response(200, wire.AccountView)
    def get(self, user_id: str) -> Any:
        """An account: one's own (`me`), or any as an admin."""
        return named(user_id)

    @blueprint.arguments(wire.ChangeForm)
    @blueprint.response(200, wire.AccountView)
    def put(self, form: dict[str, Any], user_id: str) -> Any:
        """Change an account; rights and passwords only as an admin, and not one's own."""
        return accounts.change(g.principal, named(user_id).id, form)

    @admin
    @blueprint.response(200, wire.Deactivated)
    def delete(self, user_id: str) -> Any:
        """Disable an account: its logins end, its keys are revoked, its work stays."""
        user = accounts.deactivate(g.principal, named(user_id).id)
        return {"status": "deactivated", "userId": user.id}


@blueprint.route("/users/me/profile")
class Profile(MethodView):
    @blueprint.response(200, wire.Profile)
    def get(self) -> Any:
        """How the caller is called and reached."""
        return named(ME)

    @blueprint.arguments(wire.ProfileForm)
    @blueprint.response(200, wire.Profile)
    def put(self, form: dict[str, Any]) -> Any:
        """Change how the caller is called and reached."""
        return accounts.change(g.principal, named(ME).id, form)


@blueprint.route("/users/by-slack-id/<slack_id>")
class BySlack(MethodView):
    @internal
    @blueprint.response(200, wire.Linked)
    def get(self, slack_id: str) -> Any:
        """Who has linked this Slack member id."""
        return accounts.linked(User.slack_id, slack_id)


@blueprint.route("/users/by-discord-id/<discord_id>")
class ByDiscord(MethodView):
    @internal
    @blueprint.response(200, wire.Linked)
    def get(self, discord_id: str) -> Any:
        """Who has linked this Discord user id."""
        return accounts.linked(User.discord_id, discord_id)
