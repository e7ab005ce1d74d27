"""Asking for the work of steps."""

from __future__ import annotations

from models import sessions, steps
from models.agents import Agent
from models.base import now_ms
from models.runs import Run
from models.steps import Step
from tasks import task


@task(queue="agents")
def execute(execution_id: str) -> None:
    """Let the step's agent do its work, if the step still waits for somebody."""


@task(queue="short")
def recover(execution_id: str) -> None:
    """Give a step whose worker went silent to another, or fail it when that happened too often."""


def cancel_active(run: Run, reason: str) -> list[Step]:
    """Cancel whatever step of the run is waiting or under way; the caller holds the run's lock."""
    active = Step.select().where((Step.run == run.id) & Step.state.in_(steps.ACTIVE))
    cancelled = [step.move(steps.CANCELLED, error=reason, completed_at=now_ms()) for step in active]
    if cancelled:
        run.record(*[("step_cancelled", _told(run, step, reason)) for step in cancelled])
        sessions.close([step.id for step in cancelled], sessions.CANCELLED, reason)
        release_hands({step.agent_id for step in cancelled})
    return cancelled


def interrupt(run: Run, reason: str) -> None:
    """Put the step under way back in the queue unasked; the caller holds the run's lock."""
    for step in Step.select().where((Step.run == run.id) & (Step.state == steps.RUNNING)):
        step.move(steps.QUEUED, lease_id=None, leased_until=None, tries=step.tries - 1)
        sessions.close([step.id], sessions.CANCELLED, reason)
        release_hands({step.agent_id})


def requeue(step: Step, reason: str, tries: int) -> None:
    """Put a step that lost its worker back in the queue; the caller holds the run's lock."""
    step.move(steps.QUEUED, step.holding(), lease_id=None, leased_until=None, tries=tries)
    sessions.close([step.id], sessions.FAILED, reason)
    execute.enqueue(step.id)


def release_hands(agent_ids: set[str]) -> None:
    """An agent finished something: ask for the next steps that wait for one of its hands."""
    for agent_id in sorted(agent_ids):
        Agent.locked(agent_id)
        for execution_id in steps.waiting(agent_id, limit=1):
            execute.enqueue(execution_id)


def _told(run: Run, step: Step, reason: str) -> dict[str, object]:
    return {"stepId": step.step_id, "agentId": step.agent_id, "reason": reason}
