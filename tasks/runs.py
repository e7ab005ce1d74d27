"""Asking for runs: start, cancel, pause, resume, restart, delete. One transaction each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models import budgets, events, idempotency, runs, steps, tallies
from models.activities import Activity
from models.base import NOW, db
from models.errors import Conflict
from models.events import Event
from models.llm_calls import LlmCall
from models.pipelines import Pipeline
from models.principals import Principal
from models.runs import Run
from models.sessions import Session
from models.steps import Step
from models.swarms import TASK_OVER, Swarm, SwarmTask
from tasks import attachments, task
from tasks.endings import run_ended
from tasks.outcomes import run_begun_again
from tasks.steps import cancel_active, interrupt

BATCH = 500  # runs deleted in one transaction


@task(queue=steps.AGENTS)
def proceed(run_id: str, attempt: int) -> None:
    """Move a run on and, if somebody may work on the step it has come to, do that at once."""


@task(queue="short")
def advance(run_id: str, attempt: int) -> None:
    """Move a run on and ask for the step it has come to; enough for who is in no hurry."""


@task(queue="short")
def remove_workspace(run_id: str) -> None:
    """Delete the folder of a run that nobody needs any more on this machine."""


def start(
    principal: Principal, pipeline: Pipeline, form: Mapping[str, Any], key: str | None = None
) -> Run:
    """Make a run and ask for it; with an idempotency key the same request gives the same run."""
    limits, columns = budgets.parted(form)
    run = Run(
        id=Run.id.default(),
        pipeline_id=pipeline.id,
        version=pipeline.runnable(),
        owner_id=principal.id,
        **columns,
    )
    with db.atomic():
        if key is not None:
            body = {**form, "pipeline_id": pipeline.id}
            bound = idempotency.claim(principal.id, key, body, run.id)
            if bound != run.id:
                return kept(bound)
        run.add()
        budgets.limit(run, limits)
        run.record(("run_created", {"pipelineId": pipeline.id, "taskDescription": run.task}))
        move_on(run)
    return run


def move_on(run: Run) -> None:
    """Ask whoever is to work on the run to take it up."""
    proceed.on(steps.queue_of(run)).enqueue(run.id, run.attempt)


def cancel(run_id: str) -> Run:
    """End an active run; doing it again changes nothing, an ended run is a Conflict."""
    with db.atomic():
        run = locked(run_id)
        if run.state == runs.CANCELLED:
            return run
        reason = "Cancelled by a person"
        run.move(runs.CANCELLED, error=reason, completed_at=NOW)
        run_ended(run)  # first, because boards and routines are locked before agents
        cancel_active(run, reason)
        step = {"stepId": run.current_step or ""}
        run.record(("run_failed", {"error": reason, "cancelled": True, **step}))
        run.announce_state()
    return run


def cancel_waiting(executions: Sequence[Step]) -> int:
    """Cancel the runs of these steps as far as they still wait for their agents; gives how many."""
    count = 0
    for execution in executions:
        with db.atomic():
            run = Run.locked(execution.run_id)
            still = (Step.id == execution.id) & (Step.state == steps.QUEUED)
            if run is not None and Step.select().where(still).exists():
                cancel(run.id)
                count += 1
    return count


def pause(run_id: str, now: bool = False) -> Run:
    """Dispatch nothing further; with `now` the step under way goes back to the queue as well."""
    with db.atomic():
        run = locked(run_id)
        run.move(runs.PAUSED, pause_reason="asked")
        if now:
            interrupt(run, "Paused by a person")
        run.announce_state()
    return run


def resume(run_id: str, limits: Mapping[str, Any] | None = None) -> tuple[Run, int]:
    """Go on with a paused run, within other `limits` of its budget if any are given.

    Also tells how many waiting steps are asked for again.
    """
    with db.atomic():
        run = locked(run_id)
        if run.state != runs.PAUSED:
            raise Conflict(f"Run {run.id} is not paused (it is {run.state})")
        budgets.limit(run, limits or {})
        run.move(runs.RUNNING, pause_reason=None)
        waiting = Step.select().where((Step.run == run.id) & (Step.state == steps.QUEUED)).count()
        move_on(run)
        run.announce_state()
    return run, waiting


def restart(run_id: str, note: str | None = None) -> Run:
    """Begin an ended run anew: a new attempt without outputs, steps or files of the former one."""
    with db.atomic():
        run = _locked_after_its_swarm(run_id)
        if note is not None:
            run.human_context = note
        run.move(
            runs.PENDING,
            attempt=run.attempt + 1,
            human_context=run.human_context,
            outputs={},
            error=None,
            current_step=None,
            started_at=None,
            completed_at=None,
            quarantined=False,
            pause_reason=None,
            workspace_commit=None,
            workspace_snapshot=None,
            meta=_apart(run),
        )
        run.record(("run_created", {"pipelineId": run.pipeline_id, "taskDescription": run.task}))
        run_begun_again(run)
        move_on(run)
        run.announce_state()
    return run


def restart_step(run_id: str, step_id: str, note: str | None = None) -> Run:
    """Undo the latest visit of a step and everything after it, then do that step again."""
    with db.atomic():
        run = _locked_after_its_swarm(run_id)
        if run.state == runs.PENDING:
            raise Conflict(f"Run {run.id} has not begun")
        undone = _undo_from(run, step_id)
        if run.state != runs.RUNNING:
            anew: Any = {"error": None, "completed_at": None, "quarantined": False}
            run.move(runs.RUNNING, **anew, pause_reason=None)
            run_begun_again(run)
            run.announce_state()
        context = {"action": "restart", "context": note}
        run.record(("human_intervention", {"stepId": undone.step_id, **context}))
        run.put(meta=_apart(run) | {"note": {"step": undone.step_id, "text": note}})
        move_on(run)
    return run


def delete(run_id: str, force: bool = False) -> None:
    """Delete an ended run and all it left; `force` cancels an active one first."""
    with db.atomic():
        run = locked(run_id)
        if run.active:
            if not force:
                raise Conflict(f"Run {run.id} is {run.state}; cancel it first or use force=true")
            cancel(run_id)
        discard([run.id])
        happening = ("run_deleted", {"runId": run.id})
        events.announce(run.owner_id, happening, project_id=run.project_id)


def delete_ended(principal: Principal, state: str | None, before: int | None) -> int:
    """Delete ended runs of a state, or made before a moment; gives how many.

    The caller's own, and for admins anybody's. What somebody is just going on with stays.
    """
    chosen = Run.visible_to(principal).where(Run.state.in_([state] if state else runs.OVER))
    if not principal.is_admin:
        chosen = chosen.where(Run.owner_id == principal.id)
    if before is not None:
        chosen = chosen.where(Run.created_at < before)
    count = 0
    while deleted := _discard_some(chosen):
        count += deleted
    filters = {"status": state, "before": before}
    events.announce(principal.id, ("runs_bulk_deleted", {"count": count, "filters": filters}))
    return count


def kept(run_id: str) -> Run:
    """The run an idempotency key led to, unless it has been deleted since."""
    run: Run | None = Run.get_or_none(Run.id == run_id)
    if run is None:
        raise Conflict(f"This Idempotency-Key led to run {run_id}, which has been deleted")
    return run


def locked(run_id: str) -> Run:
    """The run under its row lock; NotFound when it is gone."""
    run = Run.locked(run_id)
    if run is None:
        raise Run.missing(run_id)
    return run


def _locked_after_its_swarm(run_id: str) -> Run:
    """The same for a run whose swarm may be deciding at this moment what its end means."""
    found = Run.find(run_id)
    if found is not None and (swarm_id := found.meta.get("swarm_id")):
        Swarm.locked(swarm_id)
    return locked(run_id)


def first_of_visit(run: Run, key: str) -> Step:
    """The first execution of the latest visit of a step, named by it or by one of its executions.

    NotFound when nobody has worked on it in the run's current attempt.
    """
    named = (Step.step_id == key) | (Step.id == key)
    mine = (Step.run == run.id) & (Step.attempt == run.attempt) & ~Step.superseded
    latest = Step.select().where(mine & named).order_by(Step.number.desc()).first()
    if latest is None:
        raise Step.missing(f"{key} of run {run.id}")
    same_visit = mine & (Step.step_id == latest.step_id) & (Step.visit == latest.visit)
    first: Step = Step.select().where(same_visit).order_by(Step.number).get()
    return first


def left_by(executions: Sequence[Step]) -> tuple[dict[str, str], str | None]:
    """The outputs and the commit of a run when these, in order, were all that was done."""
    outputs: dict[str, str] = {}
    commit: str | None = None
    for step in executions:
        if step.state == steps.COMPLETED:
            outputs |= step.outputs
            commit = step.commit or commit
    return outputs, commit


def _apart(run: Run) -> dict[str, Any]:
    """The run's further facts; an executor stands apart from who asked for it and waits no more."""
    meta: dict[str, Any] = run.meta
    if "swarm_id" in meta:
        done = (SwarmTask.run_id == run.id) & SwarmTask.state.in_(TASK_OVER)
        apart = SwarmTask.select().where(done).exists()
    else:
        waits = (Step.waits_for == run.id) & (Step.state == steps.WAITING)
        asked_by = (meta.get("asked_by") or "").partition(":")[0]
        apart = bool(asked_by) and not Step.select().where(waits & (Step.id == asked_by)).exists()
    return meta | {"apart": True} if apart else meta


def _undo_from(run: Run, step_id: str) -> Step:
    """Supersede from the first execution of the step's latest visit on; gives that execution."""
    cancel_active(run, "Restarted from an earlier step")
    first = first_of_visit(run, step_id)
    mine = (Step.run == run.id) & (Step.attempt == run.attempt) & ~Step.superseded
    Step.update(superseded=True).where(mine & (Step.number >= first.number)).execute()
    _rewind(run, first.number)
    return first


def _rewind(run: Run, number: int) -> None:
    """Take outputs and workspace back to where they stood before execution `number`."""
    run.outputs, commit = left_by([step for step in Step.of(run) if step.number < number])
    Run.update(outputs=run.outputs, workspace_commit=commit).where(Run.id == run.id).execute()


def _discard_some(chosen: Any) -> int:
    """Delete some of these runs, as they are under their locks; gives how many."""
    with db.atomic():
        free = chosen.order_by(Run.created_at, Run.id).limit(BATCH)
        found = [run.id for run in free.for_update("FOR UPDATE SKIP LOCKED")]
        if found:
            discard(found)
    return len(found)


def discard(run_ids: list[str]) -> None:
    """Delete runs and all they left, in the current transaction.

    What takes long goes first: others wait for the tallies, which are locked from then on.
    """
    attachments.drop(run_ids)
    for model in (Event, Session, Activity):
        model.delete().where(model.run_id.in_(run_ids)).execute()
    Step.delete().where(Step.run.in_(run_ids)).execute()
    tallies.uncount(run_ids)
    LlmCall.delete().where(LlmCall.run_id.in_(run_ids)).execute()
    Run.delete().where(Run.id.in_(run_ids)).execute()
    for run_id in run_ids:
        remove_workspace.enqueue_twice(run_id)
