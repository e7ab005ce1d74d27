"""What becomes of a firing: told on its agent's timeline, in the transaction in which it ends."""

from __future__ import annotations

from typing import Any

from models import activities, routines, runs
from models.assignments import Trigger
from models.base import NOW
from models.logs import log
from models.routines import Firing, Routine
from models.runs import Run

WARN_AT = 5  # skips in a row


def skip(routine: Routine, firing: Firing, why: str) -> None:
    """A firing comes to nothing; the caller holds the routine's lock."""
    firing.move(routines.SKIPPED, reason=why, updated_at=NOW)
    Trigger.came_to(firing.id, error=why)
    missed(routine, why, scheduledAt=firing.scheduled_at, source=firing.source)


def cancel(firing: Firing, why: str) -> None:
    """A firing is called off before it has begun."""
    firing.move(routines.CANCELLED, reason=why)
    Trigger.came_to(firing.id, error=why)


def missed(routine: Routine, why: str, **about: Any) -> None:
    """Count and tell that a routine was due in vain; the caller holds its lock."""
    in_a_row = routine.skipped + 1
    routine.put(skipped=in_a_row)
    told = {**named(routine), **about, "reason": why, "inARow": in_a_row}
    if in_a_row >= WARN_AT:
        log.warning("a routine is skipped again and again", routine=routine.id, why=why)
        told["warning"] = f"Skipped {in_a_row} times in a row"
    activities.note(routine.agent_id, routine.owner_id, None, ("pulse_skipped", told))


def named(routine: Routine) -> dict[str, Any]:
    """How entries of timelines name a routine."""
    return {"routineId": routine.id, "routineName": routine.name}


def run_ended(run: Run) -> None:
    """A pulse is over: its firing ends as it did, and its routine counts it, once.

    The caller holds the run's lock.
    """
    if run.kind != runs.PULSE:
        return
    firing = Firing.of_run(run.id)
    if firing is None or firing.state != routines.RUNNING:
        return
    firing.move(run.state)
    routines.ended(firing.routine_id)
    taken = (run.completed_at or 0) - (run.started_at or run.created_at)
    told = {
        "routineId": firing.routine_id,
        "routineName": run.meta.get("routine_name"),
        "status": run.state,
        "summary": run.error or run.outputs.get("raw_output") or "",
        "checksCompleted": 0,
        "durationMs": max(0, taken),
    }
    activities.note(firing.agent_id, firing.owner_id, run.id, ("pulse_complete", told))
