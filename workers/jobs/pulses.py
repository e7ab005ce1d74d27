"""Performing pulses: what is due begins, what is withdrawn ends."""

from __future__ import annotations

from tasks import pulses
from workers.broker import performs


@performs(pulses.begin)
def begin(firing_id: str) -> None:
    """Make a session out of a firing, unless that has been decided about."""
    pulses.start(firing_id)


@performs(pulses.withdraw)
def withdraw(routine_id: str, before: int) -> None:
    """Call off what a routine asked for that is off or gone."""
    pulses.call_off(routine_id, before)
