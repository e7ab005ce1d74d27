"""Pulses: a routine that is due becomes a session of its agent, or it is told why not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

from models import accounts, activities, budgets, events, processes, routines, settings
from models.agents import Agent
from models.assignments import Trigger
from models.base import NOW, database_ms, db
from models.errors import Conflict, NotFound, Unavailable
from models.logs import log
from models.routines import ASKED, GITHUB, MANUAL, Firing, Routine
from models.runs import Run
from models.steps import Step
from models.timetable import DAY_MS, MINUTE_MS, Slot
from tasks import firings, occasions, task
from tasks import runs as run_tasks

BATCH = 100
MOST_COUNTED = 1_000  # slots that were missed in a row
PATIENCE_MS = 60 * MINUTE_MS  # how long what is called for by an event waits for its turn
OFF = "Pulses are switched off"
GONE = "The routine was switched off or deleted"


@task(queue="short")
def begin(firing_id: str) -> None:
    """Make a session out of a firing, or tell why not."""


@task(queue="short")
def withdraw(routine_id: str, before: int) -> None:
    """Call off what a routine asked for before a moment (ms), if it is off or gone."""


def fire_due() -> int:
    """Ask, once, for everything that is due by the database's clock; gives how much that was.

    Several may do it at the same time: whoever holds a routine decides about its slots up to now.
    """
    count = 0
    while True:
        with db.atomic():
            due = Routine.due(BATCH)
            off = bool(due) and _switched_off()
            count += sum(_look(routine, now, off) for routine, now in due)
        if len(due) < BATCH:
            return count


def ask_again(for_ms: int) -> None:
    """Ask again for firings whose requests were lost on the way."""
    with db.atomic():
        for firing in Firing.unasked(for_ms):
            begin.enqueue_once(firing.id, firing.id)


def trigger(routine: Routine) -> Routine:
    """Have a routine come up now, whatever its timetable says.

    Conflict while pulses are switched off, Unavailable when there is no worker to do it.
    """
    if not processes.alive("worker"):
        raise Unavailable("No worker is running, so nothing can be triggered; start one")
    with db.atomic():
        routine = locked(routine)
        if _switched_off():
            raise Conflict(OFF)
        now = database_ms()
        _fire(routine, now, MANUAL, now)
    return routine


def call(routine: Routine, context: str) -> str:
    """Have a routine come up because of something that happened, in the current transaction.

    `context` tells its agent what that was. Gives the firing's id; it waits where it is hindered.
    """
    now = database_ms()
    return _fire(routine, now, GITHUB, now, context)


def start(firing_id: str) -> Run | None:
    """The run that a firing becomes; None when it has been decided about, or comes to nothing."""
    with db.atomic():
        firing = Firing.locked(firing_id)
        if firing is None or firing.state != routines.PENDING:
            return None
        routine = Routine.locked(firing.routine_id)
        if routine is None or not (routine.enabled or firing.source == MANUAL):
            firings.cancel(firing, GONE)
            return None
        Agent.lock(routine.agent_id)
        (agent,) = Agent.read(_AGENT, routine.agent_id)
        changed = settings.stored()
        why = _hindrance(routine, firing, agent, settings.defaults() | changed)
        if why is None:
            return _begun(firing, routine, occasions.pulse(routine, agent, firing, changed))
        if firing.source == GITHUB and database_ms() - firing.created_at < PATIENCE_MS:
            firing.put(updated_at=NOW)  # it is asked for again, see `ask_again`
        else:
            firings.skip(routine, firing, why)
        return None


def call_off(routine_id: str, before: int) -> None:
    """Do what `withdraw` asks for.

    What has not begun never will; of a routine that is gone, what is at work ends as well.
    """
    routine = Routine.find(routine_id)
    if routine is not None and routine.enabled:
        return
    for firing in Firing.open_of(routine_id, before):
        run_id = _dropped(firing.id)
        if run_id is not None and (routine is None or not _has_begun(run_id)):
            with suppress(Conflict, NotFound):  # it has ended meanwhile
                run_tasks.cancel(run_id)


def locked(routine: Routine) -> Routine:
    """The routine under its row lock; NotFound when it is gone meanwhile."""
    held = Routine.locked(routine.id)
    if held is None:
        raise Routine.missing(routine.id)
    return held


def _look(routine: Routine, now: int, resting: bool) -> int:
    """Decide about the slots of a locked routine up to now; gives how many are asked for."""
    since = routine.seen_until
    try:
        timetable = routine.timetable
    except ValueError as error:  # its time zone is none any more
        log.warning("a routine has no timetable", routine=routine.id, error=str(error))
        routine.put(look_at=now + DAY_MS)
        return 0
    routine.put(**routine.looked(now))
    if resting:
        return 0
    oldest = max(since, now - routine.interval_ms)
    _tell_missed(routine, timetable.slots(since, oldest))
    slots = list(timetable.slots(oldest, now))
    for slot in slots:
        _fire(routine, slot.at, slot.source, now)
    return len(slots)


def _tell_missed(routine: Routine, slots: Iterable[Slot]) -> None:
    gone = list(islice(slots, MOST_COUNTED))
    if gone:
        about = {"missed": len(gone), "since": gone[0].at, "until": gone[-1].at}
        firings.missed(routine, "Nobody looked when it was due: the server was away", **about)


def _fire(routine: Routine, at: int, source: str, now: int, context: str | None = None) -> str:
    """Write down that a routine comes up, and ask for what follows, unless it has at that time.

    Two that somebody asks for in the same millisecond are two. Gives the firing's id.
    """
    about = {"routine_id": routine.id, "agent_id": routine.agent_id, "owner_id": routine.owner_id}
    firing = Firing(scheduled_at=at, source=source, created_at=now, context=context, **about)
    claimed = firing.claim()
    while not claimed and source in ASKED:
        firing.scheduled_at += 1
        claimed = firing.claim()
    if claimed:
        begin.enqueue(firing.id)
    return str(firing.id)


def _switched_off() -> bool:
    """Whether an admin wants no pulses at all. Of an agent alone its routines say so."""
    return not settings.told()["pulseEnabled"]


_AGENT = "SELECT id, name, emoji, config FROM agents WHERE id = %s"  # not its long files


def _hindrance(
    routine: Routine, firing: Firing, agent: Agent, terms: Mapping[str, Any]
) -> str | None:
    """Why a firing comes to nothing under these settings; None when it may become a session."""
    if not terms["pulseEnabled"]:
        return OFF
    if firing.source not in ASKED and database_ms() - firing.scheduled_at > routine.interval_ms:
        return "No worker took it before the next one was due"
    if not accounts.is_open(routine.owner_id):
        return "The account that it belongs to is closed"
    mine, together, worked = routines.at_work(routine.agent_id, routine.owner_id, routine.id)
    if mine >= routine.max_concurrent:
        return f"It is at work {mine} times already, the most it may be"
    own = (agent.config.get("coordination") or {}).get("max_concurrent_pulse_sessions")
    if together >= int(own or terms["maxConcurrentPulseSessions"]):
        return f"{agent.id} is at work on {together} pulses already, the most there may be"
    if worked >= agent.daily_minutes * MINUTE_MS:
        return f"{agent.id} has worked {worked // MINUTE_MS} minutes today, as long as it may"
    return None


def _begun(firing: Firing, routine: Routine, run: Run) -> Run:
    run.add()
    budgets.limit(run, budgets.limits_of(budgets.usual()))
    run.record(("run_created", {"pipelineId": run.pipeline_id, "taskDescription": run.task}))
    firing.move(routines.RUNNING, run_id=run.id)
    Trigger.came_to(firing.id, run_id=run.id)
    routine.put(skipped=0)
    about = {**firings.named(routine), "source": firing.source, "scheduledAt": firing.scheduled_at}
    activities.note(firing.agent_id, run.owner_id, run.id, ("pulse_started", about))
    triggered = {"agentId": firing.agent_id, "runId": run.id, **about}
    events.announce(run.owner_id, ("pulse_triggered", triggered), project_id=run.project_id)
    run_tasks.move_on(run)
    return run


def _dropped(firing_id: str) -> str | None:
    """Call a firing off that has not become a run; gives the run that it has become."""
    with db.atomic():
        firing = Firing.locked(firing_id)
        if firing is not None and firing.state == routines.PENDING:
            firings.cancel(firing, GONE)
            return None
        return firing.run_id if firing is not None else None


def _has_begun(run_id: str) -> bool:
    """Whether somebody has ever worked on a run."""
    begun = (Step.run == run_id) & Step.started_at.is_null(False)
    return bool(Step.select().where(begun).exists())
