"""Pushes on the wire."""

from __future__ import annotations

from marshmallow import fields

from models.pushes import Push
from web.schemas.base import derived, made

PushView = made(
    "Push",
    {
        **derived(Push, "id"),
        "project_id": fields.String(),
        "run_id": fields.String(allow_none=True),
        **derived(Push, "task_id", "branch", "commit", "state"),
        "tries": fields.Integer(metadata={"description": "Since it was last asked for"}),
        "error": fields.String(
            allow_none=True, metadata={"description": "What the last try came to, if not well"}
        ),
        **derived(Push, "created_at", "updated_at", "pushed_at"),
    },
)
