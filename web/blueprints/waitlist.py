"""The waitlist: asking for an account, being invited, and how invitations are mailed."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models import waitlist
from models.mail import EmailSettings
from models.waitlist import INVITED, REGISTERED, Entry
from tasks import mail
from tasks import waitlist as commands
from web import throttles
from web.resources import Blueprint, PageForm, listed, newest_first, page, visible
from web.schemas import waitlist as wire
from web.security import admin, public

blueprint = Blueprint("waitlist", "Who would like an account")
THANKS = "You are on the list. We write to you when there is an account for you."


@blueprint.route("/waitlist")
class Waitlist(MethodView):
    @admin
    @blueprint.arguments(PageForm, location="query")
    @blueprint.response(200, wire.EntryView(many=True))
    def get(self, form: dict[str, Any]) -> Any:
        """Everybody on the list, newest first."""
        return page(listed(Entry, wire.EntryView), form, newest_first(Entry))


@blueprint.route("/waitlist")
@blueprint.route("/waitlist/join")
class Join(MethodView):
    @public
    @throttles.at_most("5 per hour", "waitlist")
    @blueprint.arguments(wire.JoinForm)
    @blueprint.response(200, wire.Joined)
    def post(self, email: str) -> Any:
        """Ask for an account; the answer never says whether the address is known."""
        waitlist.join(email)
        return {"status": "ok", "message": THANKS}


@blueprint.route("/waitlist/register")
class Register(MethodView):
    @public
    @throttles.at_most("10 per hour", "register")
    @blueprint.arguments(wire.RegisterForm)
    @blueprint.response(200, wire.Registered)
    def post(self, form: dict[str, Any]) -> Any:
        """Use an invitation: make the account that it is for, and log in with it afterwards."""
        user = commands.register(form.pop("token"), form)
        return {"status": REGISTERED, "email": user.email, "userId": user.id}


@blueprint.route("/waitlist/<entry_id>")
class OneEntry(MethodView):
    @admin
    @blueprint.response(200, wire.Deleted)
    def delete(self, entry_id: str) -> Any:
        """Take somebody off the list; their invitation opens nothing any more."""
        commands.remove(g.principal, visible(Entry, entry_id))
        return {"status": "deleted", "id": entry_id}


@blueprint.route("/waitlist/<entry_id>/invite")
class Invite(MethodView):
    @admin
    @blueprint.response(200, wire.Invited)
    def post(self, entry_id: str) -> Any:
        """Mail somebody the link by which they register; they are `invited` once it has left."""
        letter = commands.invite(g.principal, visible(Entry, entry_id).id)
        return {"status": INVITED, "email": letter.recipient, "jobId": letter.id}


@blueprint.route("/waitlist/email-settings")
class Settings(MethodView):
    @admin
    @blueprint.response(200, wire.EmailSettingsView)
    def get(self) -> Any:
        """How mail is sent."""
        return EmailSettings.current()

    @admin
    @blueprint.arguments(wire.EmailSettingsForm)
    @blueprint.response(200, wire.Saved)
    def put(self, form: dict[str, Any]) -> Any:
        """Change how mail is sent."""
        mail.save_settings(g.principal, form)
        return {"status": "saved"}


@blueprint.route("/waitlist/email-settings/test")
class Test(MethodView):
    @admin
    @blueprint.arguments(wire.TestForm)
    @blueprint.response(200, wire.Tested)
    def post(self, form: dict[str, Any]) -> Any:
        """Send a test letter, and say what the mail server did not like: 502."""
        mail.try_out(g.principal, form["recipient"])
        return {"status": "sent", "recipient": form["recipient"]}
