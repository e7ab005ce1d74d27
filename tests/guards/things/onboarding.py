"""An onboarding that the owner has begun."""

from __future__ import annotations

from collections.abc import Callable

from flask.testing import FlaskClient


def make(owner: FlaskClient, work: Callable[..., int]) -> dict[str, str]:
    begun = owner.post("/v1/onboarding/sessions", json={"model": "scripted/demo"})
    return {"onboarding_id": begun.json["id"]}
