"""Routines: make, change, copy, order and delete them. Each write tells whoever shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from models import events, routines
from models.agents import Agent
from models.base import NOW, database_ms, db
from models.errors import Conflict, Invalid
from models.principals import Principal
from models.routines import COLORS, LONGEST_NAME, Routine
from models.timetable import moment_of, span_of, window_of, zone_of
from tasks.pulses import call_off, locked, withdraw

SCHEDULE = ("interval_minutes", "offset_minutes", "timezone", "blackouts", "one_offs")
COPIED = (
    *("description", "instructions", "timezone", "interval_minutes", "offset_minutes", "blackouts"),
    *("timeout_ms", "max_concurrent", "pulse_columns", "planning_model", "executor_model"),
    *("executor_timeout_sec", "tools", "stage_affinity", "task_work_types"),
)


def create(principal: Principal, agent_id: str, form: Mapping[str, Any]) -> Routine:
    """Make a routine of the caller's; Conflict when they have one of that name for the agent."""
    with db.atomic():
        Agent.lock(agent_id)  # one at a time, so that names and places are free when we look
        others = _of(principal.id, agent_id)
        if len(others) >= routines.MOST:
            raise Conflict(f"An agent has at most {routines.MOST} of your routines; delete one")
        routine = Routine(agent=agent_id, owner_id=principal.id, **form)
        routine.id = Routine.id.default()
        routine.color = routine.color or _free_color(others)
        routine.sort_order = max((each.sort_order for each in others), default=-1) + 1
        _refuse_name(routine, others)
        _schedule(routine)
        routine.add()
        _tell(routine)
        return _as_written(routine)


def change(routine: Routine, changes: Mapping[str, Any]) -> Routine:
    """Change a routine; switched off, it calls off what has not begun."""
    return _changed(routine, lambda _: changes)


def toggle(routine: Routine) -> Routine:
    """Switch a routine on if it is off, else off."""
    return _changed(routine, lambda fresh: {"enabled": not fresh.enabled})


def delete(routine: Routine) -> None:
    """Delete a routine: what it asked for is called off, what is at work for it ends."""
    with db.atomic():
        fresh = locked(routine)
        fresh.delete_instance()
        before = _stopped(fresh)
        _tell(fresh, deleted=True)
    call_off(fresh.id, before)


def duplicate(principal: Principal, routine: Routine) -> Routine:
    """A copy of a routine that belongs to the caller, switched off and without its one-offs."""
    form = {name: getattr(routine, name) for name in COPIED}
    with db.atomic():
        Agent.lock(routine.agent_id)
        taken = {each.name for each in _of(principal.id, routine.agent_id)}
        form["name"] = _copied(routine.name, taken)
        return create(principal, routine.agent_id, {**form, "enabled": False})


def reorder(shown: Sequence[Routine], routine_ids: Sequence[str]) -> None:
    """Put all routines of an agent that somebody sees into another order."""
    if sorted(routine_ids) != sorted(routine.id for routine in shown):
        fault = {"loc": ["body", "routineIds"], "msg": "Name each routine once.", "type": "invalid"}
        raise Invalid("routineIds must name every routine of the agent once", errors=[fault])
    places = {routine_id: place for place, routine_id in enumerate(routine_ids)}
    with db.atomic():
        for routine in sorted(shown, key=lambda routine: routine.id):
            routine.put(sort_order=places[routine.id], updated_at=NOW)
        for routine in shown:
            _tell(routine)


def record_run(routine: Routine) -> int:
    """Count a run that an engine elsewhere did; gives when (ms)."""
    with db.atomic():
        fresh, now = locked(routine), database_ms()
        fresh.put(total_runs=fresh.total_runs + 1, last_run_at=now)
        _tell(fresh)
    return now


def _changed(routine: Routine, decide: Callable[[Routine], Mapping[str, Any]]) -> Routine:
    with db.atomic():
        held = locked(routine)
        changes = decide(held)
        fresh = Routine(**held.__data__ | changes)
        if fresh.name != held.name:
            Agent.lock(fresh.agent_id)
            _refuse_name(fresh, _of(fresh.owner_id, fresh.agent_id))
        due = _schedule(fresh) if changes.keys() & {*SCHEDULE, "enabled"} else {}
        fresh.put(**changes, **due, updated_at=NOW)
        before = _stopped(fresh) if held.enabled and not fresh.enabled else None
        _tell(fresh)
        fresh = _as_written(fresh)
    if before is not None:
        call_off(fresh.id, before)
    return fresh


def _as_written(routine: Routine) -> Routine:
    """The row with what the database worked out, in the transaction that wrote it."""
    return Routine.get_by_id(routine.id)


def _of(owner_id: str, agent_id: str) -> Sequence[Routine]:
    text = """
        SELECT id, name, color, sort_order FROM pulse_routines
        WHERE owner_id = %s AND agent_id = %s
    """
    return Routine.read(text, owner_id, agent_id)


def _free_color(others: Sequence[Routine]) -> str:
    """The next colour of the palette that is not taken, or the one it begins with again."""
    taken = {each.color for each in others}
    free = [color for color in COLORS if color not in taken]
    return free[0] if free else COLORS[len(others) % len(COLORS)]


def _refuse_name(routine: Routine, others: Sequence[Routine]) -> None:
    if any(each.name == routine.name and each.id != routine.id for each in others):
        raise Conflict(f"{routine.agent_id} has a routine named {routine.name!r} already")


def _copied(name: str, taken: set[str]) -> str:
    """`X (copy)`, or with the first free number after it."""
    number = 1
    while True:
        ending = " (copy)" if number == 1 else f" (copy) {number}"
        copied = name[: LONGEST_NAME - len(ending)] + ending
        if copied not in taken:
            return copied
        number += 1


def _schedule(routine: Routine) -> dict[str, int]:
    """Have a routine come up from now on as it says; Invalid names the part that is wrong."""
    _refuse_schedule(routine)
    due = routine.looked(database_ms())
    routine.seen_until, routine.look_at = due["seen_until"], due["look_at"]
    return due


def _refuse_schedule(routine: Routine) -> None:
    if routine.offset_minutes >= routine.interval_minutes:
        raise _wrong("offsetMinutes", "must be less than intervalMinutes")
    zone = _read("timezone", zone_of, routine.timezone)
    for text in routine.one_offs:
        _read("oneOffs", moment_of, text, zone)
    for each in routine.blackouts:
        if each["type"] == "recurring":
            _read("blackouts", window_of, each)
        else:
            _read("blackouts", span_of, each, zone)


def _read(name: str, reader: Any, *told: Any) -> Any:
    try:
        return reader(*told)
    except ValueError as error:
        raise _wrong(name, str(error)) from error


def _wrong(name: str, why: str) -> Invalid:
    fault = {"loc": ["body", name], "msg": why, "type": "invalid"}
    return Invalid(f"{name}: {why}", errors=[fault])


def _stopped(routine: Routine) -> int:
    """Ask, whoever dies now, that what a routine asked for so far is called off; gives when."""
    now = database_ms()
    withdraw.enqueue_twice(routine.id, now)
    return now


def _tell(routine: Routine, deleted: bool = False) -> None:
    told = {"agentId": routine.agent_id, "routineId": routine.id, "deleted": deleted}
    events.announce(routine.owner_id, ("pulse_routine_updated", told))
