"""API keys on the wire."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from models.accounts import LONGEST_NAME, ApiKey
from models.base import IDENTIFIER
from models.principals import ENGINE, READ
from tasks.keys import Minted
from web.bodies import Flag, Form, Text, Whole
from web.schemas.base import Milliseconds, derived, made

SHOWN_ONCE = "Keep this key; it is shown only now."
LONGEST_DAYS = 3_650


class Name(Text):
    """What a key is called, without blanks around it."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        return super()._deserialize(value, *args, **kwargs).strip()


class KeyForm(Form):
    """A key to make."""

    name = Name(
        required=True,
        validate=validate.Length(1, LONGEST_NAME),
        metadata={"example": "laptop"},
    )
    days = Whole(
        data_key="expiresInDays",
        allow_none=True,
        load_default=None,
        validate=validate.Range(1, LONGEST_DAYS),
        metadata={"description": "Not given: it does not expire", "example": 90},
    )
    scopes = fields.List(
        fields.String(validate=validate.OneOf([READ])),
        load_default=list,
        validate=validate.Length(max=1),
        metadata={"description": "`read`: it may only look", "example": []},
    )


class ServiceKeyForm(KeyForm):
    """A key for a program of the operator's."""

    scopes = fields.List(
        fields.String(validate=validate.OneOf(["admin", ENGINE])),
        load_default=lambda: ["admin"],
        validate=validate.Length(1, 2),
        metadata={
            "description": "`admin`: everything; `engine`: what the engine may",
            "example": [ENGINE],
        },
    )


class AgentKeyForm(Form):
    """Whose key, and whether in place of the one there is."""

    agent_id = Text(
        required=True,
        data_key="agentId",
        validate=validate.Length(max=IDENTIFIER),
        metadata={"example": "yukihiro"},
    )
    rotate = Flag(load_default=False, metadata={"example": False})


_MINTED: dict[str, fields.Field] = {
    "id": fields.String(metadata={"example": "ak_5f0c9a1b2c3d4e5f"}),
    "key": fields.String(metadata={"description": "Shown only now", "example": "djb_..."}),
    "keyPrefix": fields.String(metadata={"example": "djb_Zm9vYmFy"}),
}
NewKey = made(
    "NewKey",
    {
        **_MINTED,
        "name": fields.String(),
        "expiresAt": Milliseconds(allow_none=True),
        "message": fields.String(metadata={"example": SHOWN_ONCE}),
    },
)
AgentKey = made("AgentKey", {**_MINTED, "agentId": fields.String(), "created": fields.Boolean()})
_KEY: dict[str, fields.Field] = {
    **derived(
        ApiKey,
        "id",
        "name",
        keyPrefix="key_prefix",
        isServiceKey="is_service_key",
        expiresAt="expires_at",
        lastUsedAt="last_used_at",
        createdAt="created_at",
        agentId="agent_id",
    ),
    "scopes": fields.List(fields.String(), dump_only=True, metadata={"example": []}),
}
KeyView = made("KeyView", _KEY)
AnyKeyView = made(
    "AnyKeyView", {**_KEY, "userId": fields.String(attribute="user_id", allow_none=True)}
)
Revoked = made(
    "Revoked", {"status": fields.String(metadata={"example": "revoked"}), "id": fields.String()}
)


def minted(made_now: Minted) -> dict[str, Any]:
    """A key with its text."""
    key = made_now.key
    told = {"id": key.id, "name": key.name, "key": made_now.text, "keyPrefix": key.key_prefix}
    return {**told, "expiresAt": key.expires_at, "message": SHOWN_ONCE}


def of_agent(minted: Minted) -> dict[str, Any]:
    """An agent's key; with its text if it was made just now."""
    key, text = minted
    told = {"id": key.id, "agentId": key.agent_id, "keyPrefix": key.key_prefix}
    return {**told, "created": text is not None} | ({"key": text} if text else {})
