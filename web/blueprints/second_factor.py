"""The second factor: turning it on and off, recovery codes."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from tasks import second_factor
from web.resources import Blueprint
from web.schemas import second_factor as wire

blueprint = Blueprint("second_factor", "A code beside the password")


@blueprint.route("/auth/2fa/enable", "/auth/totp/setup")
class Enable(MethodView):
    @blueprint.response(200, wire.Enrolled)
    def post(self) -> Any:
        """Draw a secret for the caller's authenticator; it counts once a code was verified."""
        return wire.enrolled(second_factor.enrol(g.principal))


@blueprint.route("/auth/2fa/verify", "/auth/totp/confirm")
class Verify(MethodView):
    @blueprint.arguments(wire.ConfirmForm)
    @blueprint.response(200, wire.Enabled)
    def post(self, form: dict[str, Any]) -> Any:
        """Turn the second factor on; answers with recovery codes, and other logins end."""
        codes = second_factor.confirm(g.principal, form["code"])
        return wire.codes(codes) | {"status": "enabled"}


@blueprint.route("/auth/2fa/disable")
class Disable(MethodView):
    @blueprint.arguments(wire.DisableForm)
    @blueprint.response(200, wire.Disabled)
    def post(self, form: dict[str, Any]) -> Any:
        """Turn the second factor off, with the password or a code."""
        code = form.get("totp_code") or form.get("code")
        second_factor.disable(g.principal, form.get("password"), code)
        return {"status": "disabled"}


@blueprint.route("/auth/totp")
class Totp(MethodView):
    @blueprint.arguments(wire.DisableForm)
    @blueprint.response(200, wire.Disabled)
    def delete(self, form: dict[str, Any]) -> Any:
        """Turn the second factor off, as `POST /v1/auth/2fa/disable` does."""
        code = form.get("totp_code") or form.get("code")
        second_factor.disable(g.principal, form.get("password"), code)
        return {"status": "disabled"}


@blueprint.route("/auth/2fa/recovery-codes", "/auth/totp/recovery-codes")
class RecoveryCodes(MethodView):
    @blueprint.arguments(wire.ConfirmForm)
    @blueprint.response(200, wire.Codes)
    def post(self, form: dict[str, Any]) -> Any:
        """Replace the caller's recovery codes."""
        return wire.codes(second_factor.renew_codes(g.principal, form["code"]))
