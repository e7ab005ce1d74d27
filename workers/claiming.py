"""Taking steps: who has one holds its lease, and its agent sits down in the same transaction."""

from __future__ import annotations

from models import activities, sessions, steps
from models.base import database_ms, db
from models.pipelines import definition_of
from models.runs import CHAT, EXECUTOR, PULSE, RUNNING, WAKE, Run
from models.sessions import Session
from models.settings import terms
from models.steps import Step
from tasks import steps as step_tasks
from tasks import turns
from workers.leases import keeper
from workers.pipelines.seat import model_name

APART_MS = 250  # how long a step that is to be tried alone waits for another such one
SOURCES = {EXECUTOR: "executor", CHAT: "chat", PULSE: "pulse", WAKE: "wake"}


def claim(execution_id: str) -> tuple[Run, Step] | None:
    """Take the step if it waits, its run runs and its agent has a hand free."""
    with db.atomic():
        run = Run.locked_by_step(execution_id)
        step = Step.find(execution_id)
        return take(run, step) if run is not None and step is not None else None


def take(run: Run, step: Step) -> tuple[Run, Step] | None:
    """The same for a step that was read under the lock of its run, which the caller holds."""
    if not _may_begin(run, step):
        return None
    if step.tries >= steps.MOST_TOGETHER and keeper.alone:
        step.put(due_at=database_ms() + APART_MS)
        step_tasks.ask_for(step)
        return None
    spec = definition_of(run.version_id).step(step.step_id)
    agent, step.under = terms(step.agent_id)
    model = step.model_used or model_name(step.under, run, spec, agent)
    session_id = Session.id.default()
    if not step.claim(agent.concurrent_steps, session_id=session_id, model_used=model):
        return None
    _begun(run, step)
    return run, step


def _may_begin(run: Run, step: Step) -> bool:
    return run.state == RUNNING and step.state == steps.QUEUED and step.attempt == run.attempt


def _begun(run: Run, step: Step) -> None:
    """Tell that the agent sits down: session row, event, timeline."""
    if run.kind == CHAT:
        turns.begun(run, step)
    source = SOURCES.get(run.kind, "pipeline")
    Session(
        id=step.session_id,
        state=sessions.RUNNING,
        agent_id=step.agent_id,
        source=source,
        source_id=run.id,
        run_id=run.id,
        execution_id=step.id,
        owner_id=run.owner_id,
        model=step.model_used,
        user_prompt=run.task[:200],
        started_at=step.started_at,
    ).add()
    scripted = (step.model_used or "").startswith("scripted/")
    about = {"stepId": step.step_id, "agentId": step.agent_id, "sessionId": step.session_id}
    how = {"model": step.model_used, "scripted": scripted, "attempt": step.tries}
    how["sealedActs"] = step.mark  # but for those whose outcome is unknown
    which = {"visit": step.visit, "retryCount": step.retry, "executionId": step.id}
    run.record(("step_started", {**about, **how, **which}), session_id=step.session_id)
    work = {"runId": run.id, "stepId": step.step_id, "stepType": source}
    session = {"sessionId": step.session_id, "source": source, "model": step.model_used}
    session["userPrompt"] = run.task[:200]
    entries = (("work_started", work), ("session_started", session))
    activities.note(step.agent_id, run.owner_id, run.id, *entries)
