"""The waitlist and how mail is sent, on the wire."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields, post_load, validate

from models import mail
from models.accounts import LONGEST_EMAIL, LONGEST_NAME
from models.errors import Malformed
from models.mail import EmailSettings
from models.waitlist import Entry
from tasks.mail import MASK
from web.bodies import Flag, Form, Text, Whole
from web.schemas.base import derived, made
from web.schemas.logins import Password

HOST = validate.Regexp(r"[A-Za-z0-9._:-]{0,256}\Z", error="Must be the name of a host.")
ONE_LINE = validate.Regexp(r"[^\x00-\x1f\x7f]*\Z", error="Must be one line.")
EXAMPLE = {"example": "ada@example.org"}

EntryView = made(
    "WaitlistEntry",
    {
        **derived(Entry, "id", "email", status="state", invitedAt="invited_at"),
        **derived(Entry, registeredAt="registered_at", createdAt="created_at"),
    },
)
_STATUS = {
    "status": fields.String(metadata={"example": "ok"}),
}
Joined = made("WaitlistJoined", {**_STATUS, "message": fields.String()})
Invited = made("WaitlistInvited", {**_STATUS, "email": fields.String(), "jobId": fields.String()})
Registered = made(
    "WaitlistRegistered", {**_STATUS, "email": fields.String(), "userId": fields.String()}
)
Deleted = made("WaitlistDeleted", {**_STATUS, "id": fields.String()})
Saved = made("EmailSettingsSaved", _STATUS)
Tested = made("EmailSettingsTested", {**_STATUS, "recipient": fields.String()})
EmailSettingsView = made(
    "EmailSettingsView",
    {
        **derived(EmailSettings, smtpHost="smtp_host", smtpPort="smtp_port"),
        **derived(EmailSettings, smtpUsername="smtp_username", smtpUseTls="smtp_use_tls"),
        "smtpPassword": fields.Function(
            lambda row: MASK if row.smtp_password else "", metadata={"example": MASK}
        ),
        **derived(EmailSettings, fromEmail="from_email", fromName="from_name"),
        "configured": fields.Boolean(),
    },
)


class Mailbox(Text):
    """An address that letters can be sent to; blanks around it do not count."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, *args, **kwargs).strip()
        if not mail.is_address(text):
            raise ValidationError("Must be an email address.")
        return text


class JoinForm(Form):
    """Who would like an account."""

    email = Text(required=True, metadata=EXAMPLE)

    @post_load
    def checked(self, form: dict[str, Any], **_: Any) -> str:
        """The address in lower case; what is none is 400, as clients of the list expect."""
        email: str = form["email"].strip().lower()
        if not mail.is_address(email):
            raise Malformed(
                f"email: must be an email address of at most {LONGEST_EMAIL} characters"
            )
        return email


class RegisterForm(Form):
    """An invitation, and the account that it is used for."""

    token = fields.String(
        required=True,
        validate=validate.Length(1, 256),
        metadata={"description": "What the link in the letter ends with", "example": "x" * 43},
    )
    password = Password(required=True)
    display_name = fields.String(
        data_key="displayName", allow_none=True, validate=validate.Length(max=LONGEST_NAME)
    )


class EmailSettingsForm(Form):
    """How mail is to be sent; without a user name nobody logs in."""

    smtp_host = fields.String(data_key="smtpHost", required=True, validate=HOST)
    smtp_port = Whole(
        data_key="smtpPort",
        load_default=587,
        validate=validate.Range(1, 65535),
        metadata={"description": "465 speaks TLS from the first byte", "example": 587},
    )
    smtp_username = fields.String(
        data_key="smtpUsername",
        required=True,
        validate=[validate.Length(max=LONGEST_EMAIL), ONE_LINE],
    )
    smtp_password = fields.String(
        data_key="smtpPassword",
        required=True,
        validate=[validate.Length(max=1024), ONE_LINE],
        metadata={"description": f"`{MASK}` or nothing keeps what is stored", "example": MASK},
    )
    smtp_use_tls = Flag(
        data_key="smtpUseTls",
        load_default=True,
        metadata={"description": "STARTTLS, on other ports than 465"},
    )
    from_email = Mailbox(
        data_key="fromEmail", required=True, metadata={"example": "djinn@example.org"}
    )
    from_name = fields.String(
        data_key="fromName",
        load_default="DjinnBot",
        validate=[validate.Length(max=LONGEST_NAME), ONE_LINE],
    )


class TestForm(Form):
    """Who gets the test letter."""

    __test__ = False

    recipient = Mailbox(data_key="recipientEmail", required=True, metadata=EXAMPLE)
