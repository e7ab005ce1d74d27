"""Secrets on the wire; the value goes in and never comes out, but for an agent's environment."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields, post_load, validate

from models.secrets import (
    LARGEST,
    LONGEST_DESCRIPTION,
    LONGEST_NAME,
    TYPES,
    Environment,
    Secret,
    key_fault,
    key_of,
)
from web.bodies import UNSTORABLE, Form, Name
from web.schemas.base import Milliseconds, derived, made

KEY = {"example": "GITHUB_TOKEN"}
AGENTS = {"example": ["yukihiro"]}
_SECRET: dict[str, fields.Field] = {
    **derived(Secret, "id", "name", "description", "secret_type", "scope"),
    "secret_type_label": fields.String(metadata={"example": TYPES["pat"]}),
    "env_key": fields.String(metadata=KEY),
    "masked_preview": fields.String(allow_none=True, metadata={"example": "github_p...x9Yz"}),
    "owner_user_id": fields.String(attribute="owner", allow_none=True),
    "granted_agents": fields.List(fields.String(), metadata=AGENTS),
    **derived(Secret, "created_at", "updated_at"),
}
SecretView = made("Secret", _SECRET)
SecretOfMine = made(
    "SecretOfMine",
    {
        **derived(Secret, "id", "name", "description", "scope"),
        "secretType": fields.String(attribute="secret_type"),
        "envKey": fields.String(attribute="env_key", metadata=KEY),
        "maskedPreview": fields.String(attribute="masked_preview", allow_none=True),
        "isOwned": fields.Boolean(),
        **derived(Secret, createdAt="created_at", updatedAt="updated_at"),
    },
)
_TYPE = made("SecretType", {"value": fields.String(), "label": fields.String()})
SecretTypes = made("SecretTypes", {"types": fields.List(fields.Nested(_TYPE))})
SecretGrant = made(
    "SecretGrant",
    {
        "secret_id": fields.String(),
        "agent_id": fields.String(),
        "granted_at": Milliseconds(),
        "granted_by": fields.String(allow_none=True),
    },
)
SecretLoan = made(
    "SecretLoan",
    {
        "status": fields.String(metadata={"example": "granted"}),
        "secretId": fields.String(),
        "userId": fields.String(),
    },
)
AgentEnvironment = made(
    "AgentEnvironment",
    {
        "agent_id": fields.String(),
        "env": fields.Dict(
            keys=fields.String(), values=fields.String(), metadata={"example": {"LOG_LEVEL": "x"}}
        ),
        "conflicts": fields.List(
            fields.String(),
            metadata={
                "example": [],
                "description": "Keys of several secrets: the newest grant won",
            },
        ),
    },
)


class EnvKey(fields.String):
    """The name of an environment variable, in upper case."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        key = super()._deserialize(value, *args, **kwargs).strip().upper()
        if fault := key_fault(key):
            raise ValidationError(fault)
        return key


class Value(fields.String):
    """What is kept secret, exactly as it is."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, *args, **kwargs)
        if not text:
            raise ValidationError("Shorter than one character.")
        if len(text.encode()) > LARGEST:
            raise ValidationError(f"Longer than {LARGEST >> 10} KiB.")
        if UNSTORABLE in text:
            raise ValidationError("It has characters that no variable can hold.")
        return text


class SecretForm(Form):
    """A secret to be kept; without an `env_key` it is called after its name."""

    name = Name(required=True, longest=LONGEST_NAME)
    description = fields.String(
        allow_none=True, load_default=None, validate=validate.Length(max=LONGEST_DESCRIPTION)
    )
    secret_type = fields.String(load_default="env_var", validate=validate.OneOf(list(TYPES)))
    env_key = EnvKey(metadata=KEY)
    value = Value(required=True, metadata={"example": "what is kept secret"})

    @post_load
    def called(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        if "env_key" in data:
            return data
        key = key_of(data["name"])
        if key_fault(key):
            raise ValidationError("The name makes no variable's name: give one.", "env_key")
        return {**data, "env_key": key}


class SecretChanges(Form):
    """The fields to change; the others stay."""

    name = Name(longest=LONGEST_NAME)
    description = fields.String(allow_none=True, validate=validate.Length(max=LONGEST_DESCRIPTION))
    secret_type = fields.String(validate=validate.OneOf(list(TYPES)))
    env_key = EnvKey(metadata=KEY)
    value = Value(metadata={"example": "what is kept secret"})


def labelled(row: dict[str, Any]) -> dict[str, Any]:
    """A secret with what its type is called."""
    return {**row, "secret_type_label": TYPES[row["secret_type"]]}


def of_mine(row: dict[str, Any], user_id: str) -> dict[str, Any]:
    """A secret that somebody may use, and whether it is theirs."""
    return {**row, "isOwned": row["owner"] == user_id}


def handed(agent_id: str, environment: Environment) -> dict[str, Any]:
    """An agent's variables."""
    told = {"env": dict(environment.values), "conflicts": list(environment.conflicts)}
    return {"agent_id": agent_id, **told}


TYPES_LISTED = {"types": [{"value": value, "label": label} for value, label in TYPES.items()]}
