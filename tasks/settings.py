"""Changing the settings of the running server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models import audit, events, settings
from models.base import db
from models.principals import Principal

PULSES = "pulseEnabled"  # the master switch, which those who pulse must hear of at once


def change(principal: Principal, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Change these settings and no others; gives all of them."""
    with db.atomic():
        db.execute_sql("LOCK TABLE global_settings IN SHARE ROW EXCLUSIVE MODE")
        before = settings.told()
        settings.store(changes)
        after = settings.told()
        if after[PULSES] != before[PULSES]:
            events.announce(None, ("settings_changed", {PULSES: after[PULSES]}))
        changed = {name: after[name] for name in after if after[name] != before[name]}
        if changed:
            audit.record(principal, "settings.change", "settings", **changed)
    return after
