"""Performing steps: let the agent work under a lease, settle in one transaction."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType

import structlog

from models import insisting, leases, steps
from models.base import db
from models.errors import Conflict, NotFound, Unavailable
from models.insisting import insist
from models.logs import log
from models.pipelines import definition_of
from models.runs import CHAT, REPLAY, RUNNING, Run
from models.settings import terms
from models.steps import Step
from tasks import runs as run_tasks
from tasks import steps as step_tasks
from tasks import swarms as swarm_tasks
from workers import cells
from workers.agents import delegating
from workers.agents.tools.base import Awaited
from workers.broker import performs
from workers.claiming import claim
from workers.halting import LOST as OVERDUE
from workers.halting import DeadlinePassed, Halt, Stopped
from workers.jobs.swarms import stop_executors
from workers.leases import DRAINING, keeper
from workers.llm.base import ModelError, Throttled
from workers.pipelines import conduct
from workers.pipelines.chatting import Turn
from workers.pipelines.rehearsal import Rehearsal
from workers.pipelines.seat import Done
from workers.pipelines.sitting import Sitting
from workers.sandboxes.base import SandboxAway, SandboxUnavailable
from workers.workspaces import Passing, WorkspaceError
from workers.workspaces.git import DISK

SWARM = "swarm_"  # how the ids of swarms begin
LOST = "its worker was lost"
PAUSE_MS = 1_000  # before a step is taken again whose cell could not live
MOST_HINDRANCES = 8  # in a row that cost a step none of its retries
LONGEST_DELAY = 60.0  # seconds, of our own choice
LONGEST_WAIT = 600.0  # seconds, because a provider asks for them
SEATS: Mapping[str, type[Sitting | Rehearsal]] = {REPLAY: Rehearsal, CHAT: Turn}
HURDLES = (ModelError, Unavailable, WorkspaceError, SandboxUnavailable, NotFound)


@performs(step_tasks.execute)
def execute(execution_id: str) -> None:
    """Let the step's agent do its work, if the step still waits for somebody."""
    claimed = claim(execution_id)
    if claimed is not None:
        carry_out(*claimed)


def carry_out(run: Run, step: Step) -> None:
    """Let the agent work under the lease, in a cell if the step may break this worker."""
    left, alone = time_left(step, allowed(run, step)), step.tries > steps.MOST_TOGETHER
    held = keeper.holding(step.lease_id or "", left, step.valid_until, alone)
    with GivenBackOnError(run, step), held as halt:
        if step.tries < steps.MOST_TRIES:
            work(run, step, halt)
        else:
            confine(run, step, halt)


def confine(run: Run, step: Step, halt: Halt) -> None:
    """Have the work done in a cell, and see to the step if that does not."""
    try:
        code = cells.confine(work_confined, step.id, step.lease_id or "", halt)
    except cells.NoCell as error:
        log.warning("worked on without a cell", step=step.step_id, error=str(error))
        work(run, step, halt)
        return
    if code == 0:
        return
    log.warning("a cell was lost", run=run.id, step=step.step_id, code=code)
    if code is None and not halt.stopped:
        insist(lambda: settle(run, step, timed_out(run, step)))
    elif code is None or code > 0:  # no fault of the step's
        insist(lambda: give_back(run, step, how="its process was ended", after_ms=PAUSE_MS))
    else:
        how = f"the last one was its own process ({signal.strsignal(-code)})"
        insist(lambda: give_back(run, step, LOST, proven=True, how=how))


def work_confined(execution_id: str, lease_id: str, halt: Halt) -> None:
    """The same in the step's own process, under the lease that the worker has claimed."""
    held = insist(lambda: held_under(execution_id, lease_id))
    if held is None:
        return
    run, step = held
    with structlog.contextvars.bound_contextvars(cell=os.getpid()), GivenBackOnError(run, step):
        work(run, step, halt)


def held_under(execution_id: str, lease_id: str) -> tuple[Run, Step] | None:
    """The step and its run, with what it is worked on under, if that lease is still good."""
    step = Step.find(execution_id)
    if step is None or step.lease_id != lease_id:
        return None
    _, step.under = terms(step.agent_id)
    run = step.held_run()
    return (run, step) if run is not None else None


def work(run: Run, step: Step, halt: Halt) -> None:
    """Let the agent work, then settle what came of it."""
    try:
        seat = SEATS.get(run.kind, Sitting)
        done = seat(step.under, run, step).work(halt)
    except Stopped:
        log.info("step stopped", run=run.id, step=step.step_id, reason=halt.reason)
        if halt.reason in (DRAINING, OVERDUE):  # unless somebody else has it by now
            insist(lambda: give_back(run, step))
        return
    except Awaited as delegated:
        delegate(run, step, delegated)
        return
    except DeadlinePassed:
        done = timed_out(run, step)
    except HURDLES as error:
        done = hindered(error)
    except OSError as error:
        if error.errno not in DISK:
            raise
        done = Done(f"The worker's disk: {error.strerror}", after=0.0)
    insist(lambda: settle(run, step, done))


@performs(step_tasks.recover)
def recover(execution_id: str) -> None:
    """Give a step whose worker went silent to another, or fail it when that happened too often."""
    with db.atomic():
        step = Step.find(execution_id)
        run = Run.locked(step.run_id) if step else None
        step = leases.silent(execution_id)
        if run is not None and step is not None:
            log.warning("lease expired", run=step.run_id, step=step.step_id, tries=step.tries)
            give_back(run, step, lost=LOST)


@performs(step_tasks.awaken)
def awaken(execution_id: str) -> None:
    """Let a step go on whose swarm or executor has ended; a paused run's step stays queued."""
    with db.atomic():
        step = Step.find(execution_id)
        run = Run.locked(step.run_id) if step else None
        step = Step.find(execution_id)
        if run is None or step is None or step.state != steps.WAITING:
            return
        step.move(steps.QUEUED, waits_for=None)
        if run.state == RUNNING:
            step_tasks.ask_for(step)


@performs(step_tasks.abandon)
def abandon(delegate_id: str) -> None:
    """Cancel the swarm or executor that a step waited for, because it waits no longer.

    An executor that a person has begun anew since is at work for that person.
    """
    with suppress(Conflict, NotFound):  # it has ended by itself, or was deleted, meanwhile
        if delegate_id.startswith(SWARM):
            swarm_tasks.cancel(delegate_id, "Who asked for it waits no longer")
            stop_executors(delegate_id)  # at once, though the cancelling asks for it as well
            return
        with db.atomic():
            if "apart" not in run_tasks.locked(delegate_id).meta:
                run_tasks.cancel(delegate_id)


def timed_out(run: Run, step: Step) -> Done:
    return Done(f"timed out after {allowed(run, step)} s")


def allowed(run: Run, step: Step) -> float:
    """Seconds that the step may be worked on."""
    return definition_of(run.version_id).step(step.step_id).timeout or step.under.step_timeout


def time_left(step: Step, timeout: float) -> float:
    """Seconds that may still be worked on the step: others may have worked on it before.

    Waiting and being paused take none of them; a retry is a step of its own.
    """
    return max(0.0, timeout - step.worked_ms / 1000)


def delegate(run: Run, step: Step, delegated: Awaited) -> None:
    """Have others do the work and let go of the worker until they are done."""
    with db.atomic():
        step = step.copied()
        locked = step.held_run()
        if locked is None:
            return
        waits_for = delegating.launch(locked, step, delegated)
        if waits_for is None:  # the agent hears why at once
            step.absolve()
            step_tasks.requeue(step, f"its {delegated.kind} could not be begun")
            return
        step_tasks.suspend(step, waits_for)
        about = {"stepId": step.step_id, "agentId": step.agent_id, "kind": delegated.kind}
        waiting = ("step_waiting", {**about, "waitsFor": waits_for})
        locked.record(waiting, session_id=step.session_id)
        if delegating.outcome(delegated.asked_by) is not None:  # an earlier try had asked for it
            step_tasks.awaken.enqueue(step.id)


def settle(run: Run, step: Step, done: Done) -> None:
    """Write what came of it and move the run on, unless the step is no longer ours."""
    with db.atomic():
        step = step.copied()
        locked = step.held_run()
        if locked is None:
            log.info("result dropped", run=run.id, step=step.step_id)
            return
        done.unwritten(locked)
        if done.run:
            locked.put(**done.run)
        if done.error is None:
            conduct.complete(locked, step, **done.step)
        elif done.after is None or locked.kind == CHAT or not put_off(locked, step, done):
            conduct.fail(locked, step, done.error, **done.step)


def put_off(run: Run, step: Step, done: Done) -> bool:
    """Let the step go on later from where it is, as something outside was in the way.

    False when that was so too often at this point: it costs a retry, which begins anew.
    """
    step.hinder()
    if step.hindrances > MOST_HINDRANCES:
        return False
    backoff = min(LONGEST_DELAY, 2.0 ** (step.hindrances - 1))
    delay = max(backoff, min(LONGEST_WAIT, done.after or 0.0))
    told = {"stepId": step.step_id, "feedback": done.error, "retry": step.retry, "delay": delay}
    run.record(("step_retrying", told), session_id=step.session_id)
    step_tasks.requeue(step, str(done.error), round(delay * 1000))
    return True


def give_back(
    run: Run,
    step: Step,
    lost: str | None = None,
    *,
    proven: bool = False,
    how: str = "",
    after_ms: int = 0,
) -> None:
    """Let another worker go on with the step, after a while.

    `lost` says what broke it; a step that broke too often at the same act takes its run out of
    circulation, sooner if nothing else can have done it (`proven`; `how` tells a person). What is
    no fault of its (`lost` None), such as a worker that is going away, does not count.
    """
    with db.atomic():
        step = step.copied()
        locked = step.held_run()
        if locked is None:
            return
        if lost is None:
            step.absolve()
            step_tasks.requeue(step, how or "worker drained", after_ms)
            return
        point = step.blame()
        if step.poisoned(proven):
            often = f"{lost}, {step.tries} times at the same point of {point}"
            conduct.quarantine(locked, step, "; ".join(filter(None, (often, how))))
        else:
            step_tasks.requeue(step, lost)


def hindered(error: Exception) -> Done:
    """What a step comes to that one of the HURDLES ended, with what its next try must know."""
    if isinstance(error, ModelError):
        asked = error.after if isinstance(error, Throttled) else None
        after = asked or 0.0 if error.transient else None
        return Done(str(error), step={"final": error.final}, after=after)
    if isinstance(error, Passing | Unavailable):
        return Done(f"Workspace not to be had: {error}", after=0.0)
    if isinstance(error, SandboxAway):
        return Done(f"Sandbox not to be had: {error}", step={"final": True}, after=0.0)
    final = isinstance(error, SandboxUnavailable)
    return Done(f"Workspace setup failed: {error}", step={"final": final})


class GivenBackOnError:
    """Whatever unexpected ends the block, the step does not wait for its lease to run out."""

    def __init__(self, run: Run, step: Step) -> None:
        self.run = run
        self.step = step

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            log.warning("step broke", run=self.run.id, step=self.step.step_id, error=repr(error))
            lost = f"an unexpected {type(error).__name__}, which the log shows, broke the step"
            blamed = not isinstance(error, insisting.LOST)  # but for an outage
            proven = not isinstance(error, OSError)  # but for what the machine may be to blame for
            insist(lambda: give_back(self.run, self.step, lost if blamed else None, proven=proven))
