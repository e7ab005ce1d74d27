"""How the whole is doing, on the wire."""

from __future__ import annotations

from marshmallow import fields

from web.schemas.base import made

Storage = made(
    "Storage",
    {
        "juicefs_mounted": fields.Boolean(),
        "rustfs_healthy": fields.Boolean(),
        "data_path": fields.String(),
    },
)
GitHub = made("GitHub", {"configured": fields.Boolean(), "healthy": fields.Boolean()})
Status = made(
    "Status",
    {
        "status": fields.String(metadata={"example": "ok"}),
        "version": fields.String(),
        "engine_version": fields.String(),
        "redis_connected": fields.Boolean(),
        "database_connected": fields.Boolean(),
        "storage": fields.Nested(Storage),
        "github": fields.Nested(GitHub),
        "active_runs": fields.Integer(),
        "total_pipelines": fields.Integer(),
        "total_agents": fields.Integer(),
        "completed_runs_last_hour": fields.Integer(),
        "avg_duration": fields.String(metadata={"example": "2m 5s"}),
        "workers": fields.Integer(),
        "queue_depth": fields.Integer(),
    },
)
Alive = made("Alive", {"status": fields.String(metadata={"example": "ok"})})
Ready = made(
    "Ready",
    {
        "status": fields.String(metadata={"example": "ok"}),
        "database": fields.Boolean(),
        "redis": fields.Boolean(),
    },
)
