"""Providers on the wire: of keys and further values only masks go out."""

from __future__ import annotations

from typing import Any

from flask import g
from marshmallow import fields, validate

from models.catalogue import reasons
from models.masking import mask
from tasks.offers import known_offers
from web.bodies import Flag, Form, Text
from web.schemas.base import made

LONGEST_KEY, LONGEST_VALUE, MOST_VALUES = 4_096, 2_048, 32
KEY = {"description": "Empty or not named keeps what is stored; so does its mask", "example": ""}
VALUES = {"description": "By variable; an empty one is taken away", "example": {}}
MASKED = {"description": "By variable, masked", "example": {"AZURE_OPENAI_RESOURCE_NAME": "***"}}


class Masked(fields.Dict):
    """The further values of a provider, masked; null without any."""

    def serialize(self, attr: str, obj: Any, accessor: Any = None, **kwargs: Any) -> Any:
        held = getattr(obj, "held", obj)
        hidden = getattr(obj, "share", None) is not None  # what is shared is shown to nobody
        found = {} if hidden else held.variables
        return {name: mask(value) for name, value in found.items()} or None


class Plain(fields.Dict):
    """The further values of a provider for admins, null for everybody else."""

    def serialize(self, attr: str, obj: Any, accessor: Any = None, **kwargs: Any) -> Any:
        return (obj.variables or None) if g.principal.is_admin else None


class Offers(fields.List):
    """The models that we know of a provider."""

    def serialize(self, attr: str, obj: Any, accessor: Any = None, **kwargs: Any) -> Any:
        return known_offers(obj.provider)


class OwnMask(fields.String):
    """A person's own key, masked; null for a shared one."""

    def serialize(self, attr: str, obj: Any, accessor: Any = None, **kwargs: Any) -> Any:
        return None if obj.share else obj.held.masked_key


class ModelProviderForm(Form):
    """What to change of a provider; what is not named stays as it is."""

    enabled = Flag()
    apiKey = fields.String(allow_none=True, validate=validate.Length(max=LONGEST_KEY), metadata=KEY)
    extraConfig = fields.Dict(
        keys=fields.String(validate=validate.Length(max=128)),
        values=fields.String(validate=validate.Length(max=LONGEST_VALUE)),
        allow_none=True,
        validate=validate.Length(max=MOST_VALUES),
        metadata=VALUES,
    )


class CustomForm(Form):
    """A server of one's own that speaks OpenAI's chat completions."""

    name = Text(required=True, validate=validate.Length(max=128), metadata={"example": "Den"})
    slug = Text(required=True, validate=validate.Length(max=64), metadata={"example": "den"})
    baseUrl = Text(
        required=True,
        validate=validate.Length(max=LONGEST_VALUE),
        metadata={"example": "https://models.example.com/v1"},
    )
    apiKey = fields.String(allow_none=True, validate=validate.Length(max=LONGEST_KEY), metadata=KEY)


OfferView = made(
    "OfferView",
    {
        "id": fields.String(metadata={"example": "anthropic/claude-sonnet-4-6"}),
        "name": fields.String(metadata={"example": "claude-sonnet-4-6"}),
        "description": fields.String(),
        "reasoning": fields.Boolean(metadata={"example": reasons("claude-sonnet-4-6")}),
    },
)
OffersView = made(
    "OffersView",
    {
        "models": fields.List(fields.Nested(OfferView)),
        "source": fields.String(validate=validate.OneOf(["live", "static"])),
    },
)
ExtraView = made(
    "ExtraView",
    {
        "envVar": fields.String(attribute="variable"),
        "label": fields.String(),
        "placeholder": fields.String(),
        "description": fields.String(),
        "required": fields.Boolean(),
    },
)
ModelProviderView = made(
    "ModelProviderView",
    {
        "providerId": fields.String(attribute="provider.id", metadata={"example": "anthropic"}),
        "enabled": fields.Boolean(),
        "configured": fields.Boolean(),
        "source": fields.String(
            allow_none=True,
            metadata={"description": "Where the key is from: env, ui", "example": "ui"},
        ),
        "maskedApiKey": fields.String(attribute="masked_key", allow_none=True),
        "maskedExtraConfig": Masked(allow_none=True, metadata=MASKED),
        "plainExtraConfig": Plain(allow_none=True, metadata={"example": {}}),
        "name": fields.String(attribute="provider.name"),
        "description": fields.String(attribute="provider.description"),
        "apiKeyEnvVar": fields.String(attribute="provider.key_variable"),
        "docsUrl": fields.String(attribute="provider.docs_url"),
        "models": Offers(fields.Nested(OfferView)),
        "extraFields": fields.List(fields.Nested(ExtraView), attribute="provider.extras"),
        "isCustom": fields.Boolean(attribute="provider.is_custom"),
    },
)
OwnProviderView = made(
    "OwnProviderView",
    {
        "providerId": fields.String(attribute="provider_id", metadata={"example": "anthropic"}),
        "enabled": fields.Boolean(attribute="held.enabled"),
        "configured": fields.Boolean(),
        "maskedApiKey": OwnMask(allow_none=True),
        "maskedExtraConfig": Masked(allow_none=True, metadata=MASKED),
        "sharedByAdmin": fields.Boolean(attribute="is_shared"),
        "blocked": fields.Boolean(attribute="is_blocked"),
        "blockedReason": fields.String(attribute="blocked", allow_none=True),
        "allowedModels": fields.List(
            fields.String(), attribute="share.allowed_models", allow_none=True, dump_default=None
        ),
        "callsLeft": fields.Integer(attribute="calls_left", allow_none=True),
        "costLeftUsd": fields.Float(attribute="cost_left", allow_none=True),
    },
)
ProviderRemoved = made(
    "ProviderRemoved",
    {
        "status": fields.String(metadata={"example": "ok"}),
        "providerId": fields.String(metadata={"example": "anthropic"}),
    },
)


class KeysForm(Form):
    """For whom: nobody is the server, `me` the person who asks (without the keys)."""

    user_id = fields.String(validate=validate.Length(max=128))


KeysView = made(
    "KeysView",
    {
        "keys": fields.Dict(metadata={"description": "By provider, in the clear", "example": {}}),
        "extra": fields.Dict(metadata={"description": "By variable", "example": {}}),
        "key_sources": fields.Dict(
            metadata={"example": {"openai": {"source": "personal", "masked_key": "sk-...abcd"}}}
        ),
        "model_restrictions": fields.Dict(metadata={"example": {}}),
        "blocked_providers": fields.Dict(metadata={"example": {}}),
        "share_usage": fields.Dict(metadata={"example": {}}),
    },
)
