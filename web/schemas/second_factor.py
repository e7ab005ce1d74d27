"""The second factor on the wire."""

from __future__ import annotations

from typing import Any

from flask import current_app
from marshmallow import fields

from models import second_factor
from tasks.second_factor import Enrolment
from web.bodies import Form
from web.schemas.base import made
from web.schemas.logins import known

SHOWN_ONCE = "Keep these codes where you find them without your device; they are shown only now."


class ConfirmForm(Form):
    """A code of the authenticator."""

    code = known("123456", required=True)


class DisableForm(Form):
    """One proof is enough."""

    password = known("correct horse battery staple", allow_none=True)
    totp_code = known("123456", allow_none=True, data_key="totpCode")
    code = known("123456", allow_none=True)


Enrolled = made(
    "Enrolled",
    {
        "secret": fields.String(metadata={"example": "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"}),
        "provisioningUri": fields.String(
            metadata={"example": "otpauth://totp/DjinnBot:ada%40example.com?secret=JBSW"}
        ),
    },
)
_CODES: dict[str, fields.Field] = {
    "recoveryCodes": fields.List(fields.String(), metadata={"example": ["ABCD-EFGH-2345-67QR"]}),
    "message": fields.String(metadata={"example": SHOWN_ONCE}),
}
Codes = made("RecoveryCodes", _CODES)
Enabled = made(
    "SecondFactorOn", {"status": fields.String(metadata={"example": "enabled"}), **_CODES}
)
Disabled = made("SecondFactorOff", {"status": fields.String(metadata={"example": "disabled"})})


def enrolled(enrolment: Enrolment) -> dict[str, Any]:
    """What an authenticator is given to read."""
    issuer = current_app.extensions["settings"].totp_issuer
    uri = second_factor.uri(enrolment.secret, enrolment.email, issuer)
    return {"secret": enrolment.secret, "provisioningUri": uri}


def codes(fresh: list[str]) -> dict[str, Any]:
    """Recovery codes, shown this once."""
    return {"recoveryCodes": fresh, "message": SHOWN_ONCE}
