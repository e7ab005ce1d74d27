"""Asking for the work of steps."""

from __future__ import annotations

from collections.abc import Iterable

from models import sessions, steps, waiting
from models.agents import Agent
from models.base import NOW, database_ms
from models.runs import Run
from models.steps import Step
from tasks import task


@task(queue=steps.AGENTS)
def execute(execution_id: str) -> None:
    """Let the step's agent do its work, if the step still waits for somebody."""


@task(queue="short")
def recover(execution_id: str) -> None:
    """Give a step whose worker went silent to another, or fail it when that happened too often."""


@task(queue="short")
def awaken(execution_id: str) -> None:
    """Let a step go on whose swarm or executor has ended; asked by whoever ended that."""


@task(queue="short")
def abandon(delegate_id: str) -> None:
    """Cancel the swarm or executor that a step waited for, because it waits no longer."""


def ask_for(step: Step) -> None:
    """Ask a worker of the step's queue to take it, when it is due."""
    execute.on(step.queue).enqueue_at(step.due_at, step.id)


def cancel_active(run: Run, reason: str) -> list[Step]:
    """Cancel whatever step of the run is waiting or under way; the caller holds the run's lock."""
    active = Step.select().where((Step.run == run.id) & Step.state.in_(steps.ACTIVE))
    cancelled = [step.move(steps.CANCELLED, error=reason, completed_at=NOW) for step in active]
    if cancelled:
        run.record(*[("step_cancelled", _told(run, step, reason)) for step in cancelled])
        sessions.close([step.id for step in cancelled], sessions.CANCELLED, reason)
        for delegate_id in filter(None, [step.waits_for for step in cancelled]):
            abandon.enqueue(delegate_id)
        release_hands(cancelled)
    return cancelled


def interrupt(run: Run, reason: str) -> None:
    """Put the step under way back in the queue unasked; the caller holds the run's lock."""
    for step in Step.select().where((Step.run == run.id) & (Step.state == steps.RUNNING)):
        step.absolve()
        step.move(steps.QUEUED, **steps.LET_GO, **step.counted)
        sessions.close([step.id], sessions.CANCELLED, reason)
        release_hands([step])


def suspend(step: Step, waits_for: str) -> None:
    """Let go of a step until what it delegated to has ended; the caller holds the run's lock."""
    step.absolve()
    step.move(steps.WAITING, step.holding(), **steps.LET_GO, **step.counted, waits_for=waits_for)
    sessions.close([step.id], sessions.COMPLETED)
    release_hands([step])


def requeue(step: Step, reason: str, after_ms: int = 0) -> None:
    """Put a step that its worker lets go of back in the queue; the caller holds the run's lock."""
    step.move(steps.QUEUED, step.holding(), **steps.LET_GO, **step.counted)
    sessions.close([step.id], sessions.FAILED, reason)
    if after_ms:
        step.put(due_at=database_ms() + after_ms)
        ask_for(step)
        release_hands([step])
    else:
        execute.on(step.queue).enqueue_first(step.id)


def release_hands(let_go: Iterable[Step]) -> None:
    """Agents let go of these steps: ask for the next ones that wait for their hands."""
    for agent_id in sorted({step.agent_id for step in let_go if step.queue == steps.AGENTS}):
        Agent.lock(agent_id)
        for execution_id in waiting.refused(agent_id, limit=1):
            execute.enqueue(execution_id)


def _told(run: Run, step: Step, reason: str) -> dict[str, object]:
    return {"stepId": step.step_id, "agentId": step.agent_id, "reason": reason}
