"""Accounts on the wire."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, post_load, validate

from models.accounts import LONGEST_NAME, User
from web.bodies import Flag, Form
from web.schemas.base import derived, made
from web.schemas.logins import Email, Password

PHONE = validate.Regexp(r"^(\+[1-9]\d{6,14})?\Z", error="Not a number such as +4930123456.")
SLACK = validate.Regexp(r"^([UW][A-Z0-9]{2,63})?\Z", error="Not a Slack member id.")
DISCORD = validate.Regexp(r"^(\d{15,22})?\Z", error="Not a Discord user id.")


class Erasable(fields.String):
    """Text that null leaves as it is and "" takes away."""

    def __init__(self, rule: Any, example: str, **options: Any) -> None:
        described = {"description": 'null: stays; "": cleared', "example": example}
        super().__init__(allow_none=True, validate=rule, metadata=described, **options)


class ProfileForm(Form):
    """How a person is called and reached; what is null or not named stays."""

    display_name = Erasable(validate.Length(max=LONGEST_NAME), "Ada", data_key="displayName")
    slack_id = Erasable(SLACK, "U012AB3CD", data_key="slackId")
    discord_id = Erasable(DISCORD, "112233445566778899", data_key="discordId")
    phone_number = Erasable(PHONE, "+4930123456", data_key="phoneNumber")

    @post_load
    def named(self, form: dict[str, Any], **_: Any) -> dict[str, Any]:
        given = {name: value for name, value in form.items() if value is not None}
        return {name: None if value == "" else value for name, value in given.items()}


class ChangeForm(ProfileForm):
    """What to change of an account."""

    is_admin = Flag(data_key="isAdmin", allow_none=True)
    is_active = Flag(data_key="isActive", allow_none=True)
    password = Password(allow_none=True)


class AccountForm(Form):
    """An account to make."""

    email = Email(required=True)
    password = Password(required=True)
    display_name = fields.String(
        data_key="displayName", allow_none=True, validate=validate.Length(max=LONGEST_NAME)
    )
    is_admin = Flag(data_key="isAdmin", load_default=False, metadata={"example": False})


_PROFILE = derived(
    User,
    "id",
    "email",
    displayName="display_name",
    isAdmin="is_admin",
    slackId="slack_id",
    discordId="discord_id",
    phoneNumber="phone_number",
    totpEnabled="totp_enabled",
)
_MORE = derived(User, isActive="is_active", createdAt="created_at", updatedAt="updated_at")
Profile = made("Profile", _PROFILE)
AccountView = made("AccountView", {**_PROFILE, **_MORE})
Deactivated = made(
    "Deactivated",
    {
        "status": fields.String(metadata={"example": "deactivated"}),
        "userId": fields.String(metadata={"example": "usr_5f0c9a1b2c3d4e5f"}),
    },
)
Linked = made(
    "Linked",
    {
        "userId": fields.String(attribute="id", metadata={"example": "usr_5f0c9a1b2c3d4e5f"}),
        "email": fields.String(metadata={"example": "ada@example.com"}),
    },
)
