"""Marking models as favorites."""

from __future__ import annotations

from typing import Any

from models.base import now_ms
from models.favorites import Favorites, holder
from models.principals import Principal


def replace(principal: Principal, models: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put this list in place of the caller's own, or of the server's for who is no person."""
    row = {"id": holder(principal), "models": models, "updated_at": now_ms()}
    Favorites.upsert(row)
    return models
