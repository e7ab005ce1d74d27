"""A share of a provider's key; providers of models are there from the beginning."""

from __future__ import annotations

from collections.abc import Callable

from flask.testing import FlaskClient

from models.shares import Share

PATHS = (
    "/v1/settings/providers/<provider_id>",
    "/v1/settings/providers/<provider_id>/models",
    "/v1/settings/user-providers/<provider_id>",
    "/v1/users/me/providers/<provider_id>",
)
OTHERS = {path: {"provider_id": "model_provider_id"} for path in PATHS}


def make(owner: FlaskClient, work: Callable[..., int]) -> dict[str, str]:
    return {"share_id": Share(provider_id="openai").add().id, "model_provider_id": "openai"}
