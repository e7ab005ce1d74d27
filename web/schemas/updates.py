"""Versions and updates on the wire."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from models import releases
from models.config import Settings
from models.releases import Release
from web.bodies import Form
from web.schemas.base import Milliseconds, made

VERSION = {"example": "v1.4.0"}

Check = made(
    "UpdateCheck",
    {
        "current_version": fields.String(metadata={"example": "v1.3.2"}),
        "latest_version": fields.String(allow_none=True, metadata=VERSION),
        "update_available": fields.Boolean(),
        "release_url": fields.String(
            allow_none=True, metadata={"example": "https://releases.example/v1.4.0"}
        ),
        "release_name": fields.String(allow_none=True, metadata=VERSION),
        "release_body": fields.String(allow_none=True),
        "published_at": fields.String(
            allow_none=True, metadata={"example": "2026-11-01T12:00:00Z"}
        ),
        "checked_at": Milliseconds(
            allow_none=True, metadata={"description": "null before the first check"}
        ),
    },
)
Build = made(
    "Build",
    {
        "commit": fields.String(allow_none=True, metadata={"example": "5f0c9a1b2c3d4e5f"}),
        "built_at": fields.String(allow_none=True, metadata={"example": "2026-11-01T12:00:00Z"}),
    },
)
Version = made(
    "Version",
    {
        "version": fields.String(metadata={"example": "v1.3.2"}),
        "engine_version": fields.String(metadata={"example": "v1.3.2"}),
        "build": fields.Nested(Build),
        "api": fields.String(metadata={"example": "v1"}),
    },
)
Triggered = made(
    "UpdateTriggered",
    {
        "status": fields.String(metadata={"example": "triggered"}),
        "message": fields.String(),
        "target_version": fields.String(metadata=VERSION),
    },
)


class UpdateForm(Form):
    """Which version is wanted; the newest known one by default."""

    target_version = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.Regexp(r"v?\d{1,9}\.\d{1,9}\.\d{1,9}\Z", error="Must be like v1.2.3."),
        metadata=VERSION,
    )


def checked(settings: Settings) -> dict[str, Any]:
    """What is known of releases, beside what runs here."""
    found, current = Release.newest() or Release(checked_at=None), settings.build_version
    return {
        "current_version": current,
        "latest_version": found.version,
        "update_available": releases.is_news(current, found.version),
        "release_url": found.url,
        "release_name": found.name,
        "release_body": found.body,
        "published_at": found.published_at,
        "checked_at": found.checked_at,
    }


def version(settings: Settings) -> dict[str, Any]:
    """What runs here: API and engine are one product."""
    build = {"commit": settings.build_commit, "built_at": settings.built_at}
    named = settings.build_version
    return {"version": named, "engine_version": named, "build": build, "api": "v1"}
