"""What agents are doing right now, as far as a caller may see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from peewee import fn

from models import inbox, routines, steps, usage
from models.agents import Agent
from models.base import now_ms
from models.llm_calls import LlmCall
from models.principals import Principal
from models.runs import RUNNING as RUN_RUNNING
from models.runs import Run
from models.sessions import FAILED, Session
from models.steps import Step

DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
_WAITS = (Step.state == steps.QUEUED) & (Run.state == RUN_RUNNING)  # paused runs ask nobody


@dataclass(frozen=True)
class Presence:
    """One agent at this moment: steps it works on, and those that wait for what they delegated."""

    agent_id: str
    active: tuple[Step, ...] = ()
    waiting: tuple[Step, ...] = ()
    queued: int = 0
    last_active: int | None = None
    last_pulse: int | None = None
    next_pulse: int | None = None  # or when the clock looks whether there is one
    unread: int = 0

    @property
    def in_hand(self) -> tuple[Step, ...]:
        """What is begun and not over; what it really works on, longest first, before the rest."""
        return self.active + self.waiting

    @property
    def work(self) -> Step | None:
        """The step that stands for them all."""
        return next(iter(self.in_hand), None)

    @property
    def state(self) -> str:
        return "working" if self.in_hand else "idle"


def presences(principal: Principal, agent_ids: list[str]) -> Mapping[str, Presence]:
    """What each of these agents does in runs that the caller may see."""
    begun = Step.state.in_([steps.RUNNING, steps.WAITING])
    mine = Step.agent_id.in_(agent_ids) & (begun | _WAITS)
    rows = _visible(principal).where(mine)
    found: dict[str, list[Step]] = {agent_id: [] for agent_id in agent_ids}
    for step in rows.order_by(Step.started_at, Step.id):
        found[step.agent_id].append(step)
    seen = _last_seen(principal, agent_ids)
    last = routines.last_pulses(principal, agent_ids)
    following = routines.next_pulses(principal, agent_ids)
    letters = inbox.unread(principal, agent_ids)
    return {
        agent_id: replace(
            _presence(agent_id, mine),
            last_active=seen.get(agent_id),
            last_pulse=last.get(agent_id),
            next_pulse=following.get(agent_id),
            unread=letters.get(agent_id, 0),
        )
        for agent_id, mine in found.items()
    }


def _presence(agent_id: str, mine: list[Step]) -> Presence:
    active, waiting, queued = (
        tuple(step for step in mine if step.state == state)
        for state in (steps.RUNNING, steps.WAITING, steps.QUEUED)
    )
    return Presence(agent_id, active, waiting, len(queued))


def waiting_steps(principal: Principal, agent_id: str) -> Any:
    """The queued executions of an agent in visible, running runs, the next one first."""
    rows = _visible(principal).where((Step.agent_id == agent_id) & _WAITS)
    return rows.order_by(Step.priority.desc(), Step.created_at, Step.id)


def runs_of(principal: Principal, agent_id: str) -> Any:
    """The visible runs in which the agent has worked."""
    columns = (Run.id, Run.pipeline_id, Run.task, Run.state, Run.created_at)
    worked = Step.select().where((Step.run == Run.id) & (Step.agent_id == agent_id))
    return Run.visible_to(principal).select(*columns).where(fn.EXISTS(worked))


def with_executions(found: list[Run], agent_id: str) -> list[dict[str, Any]]:
    """These runs as plain values, each with the ids of the agent's executions in it."""
    executions: dict[str, list[str]] = {run.id: [] for run in found}
    mine = (Step.agent_id == agent_id) & Step.run.in_(list(executions))
    rows: Any = Step.select(Step.run, Step.id).where(mine).order_by(Step.attempt, Step.number)
    for run_id, step_id in rows.tuples():
        executions[run_id].append(step_id)
    return [{**run.__data__, "step_ids": executions[run.id]} for run in found]


def _visible(principal: Principal) -> Any:
    columns = (Step.id, Step.run, Step.step_id, Step.agent_id, Step.state, Step.priority)
    kinds = (Step.queue, Step.session_id)
    moments = (Step.started_at, Step.created_at, Step.due_at, Step.leased_until)
    mine = Run.visible_to(principal).select(Run.id)
    joined = Step.select(*columns, *kinds, *moments).join(Run)
    return joined if principal.is_admin else joined.where(Run.id.in_(mine))


def _last_seen(principal: Principal, agent_ids: list[str]) -> dict[str, int]:
    """When each was last at work: by its latest session alone, for they have thousands."""
    moment = fn.coalesce(Session.completed_at, Session.started_at, Session.created_at)
    mine = Session.visible_to(principal).where(Session.agent_id == Agent.id)
    latest = mine.select(moment).order_by(Session.created_at.desc(), Session.id.desc()).limit(1)
    rows: Any = Agent.select(Agent.id, latest).where(Agent.id.in_(agent_ids))
    return {agent_id: at for agent_id, at in rows.tuples() if at is not None}


def statistics(principal: Principal, agent_id: str) -> dict[str, Any]:
    """An agent's sessions of a day and a week, and what its calls added up to in that week."""
    now = now_ms()
    mine = Session.visible_to(principal).where(Session.agent_id == agent_id)
    week = mine.where(Session.created_at > now - WEEK_MS)
    calls = LlmCall.visible_to(principal).where(LlmCall.agent_id == agent_id)
    sums = usage.summary(calls.where(LlmCall.created_at > now - WEEK_MS))
    return {
        "sessionsToday": mine.where(Session.created_at > now - DAY_MS).count(),
        "sessionsThisWeek": week.count(),
        "totalTokens": sums["totalTokens"],
        "totalCost": sums["totalCost"],
        "errorCount": week.where(Session.state == FAILED).count(),
    }
