"""What agents are doing right now, as far as a caller may see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from peewee import fn

from models import steps
from models.accounts import Principal
from models.runs import RUNNING as RUN_RUNNING
from models.runs import Run
from models.sessions import Session
from models.steps import Step


@dataclass(frozen=True)
class Presence:
    """One agent at this moment; `work` is the step it works on longest."""

    agent_id: str
    work: Step | None = None
    active: tuple[Step, ...] = ()
    queued: int = 0
    last_active: int | None = None

    @property
    def state(self) -> str:
        return "working" if self.active else "idle"


def presences(principal: Principal, agent_ids: list[str]) -> Mapping[str, Presence]:
    """What each of these agents does in runs that the caller may see."""
    rows = _visible(principal).where(Step.agent_id.in_(agent_ids) & Step.state.in_(steps.ACTIVE))
    found: dict[str, list[Step]] = {agent_id: [] for agent_id in agent_ids}
    for step in rows.order_by(Step.started_at, Step.id):
        found[step.agent_id].append(step)
    seen = _last_seen(principal, agent_ids)
    return {
        agent_id: _presence(agent_id, active, seen.get(agent_id))
        for agent_id, active in found.items()
    }


def _presence(agent_id: str, mine: list[Step], seen: int | None) -> Presence:
    active = tuple(step for step in mine if step.state == steps.RUNNING)
    work = active[0] if active else None
    return Presence(agent_id, work, active, len(mine) - len(active), seen)


def waiting_steps(principal: Principal, agent_id: str) -> Any:
    """The queued executions of an agent in visible, running runs, the next one first."""
    queued = (Step.agent_id == agent_id) & (Step.state == steps.QUEUED)
    rows = _visible(principal).where(queued & (Run.state == RUN_RUNNING))
    return rows.order_by(Step.priority.desc(), Step.created_at, Step.id)


def _visible(principal: Principal) -> Any:
    columns = (Step.id, Step.run, Step.step_id, Step.agent_id, Step.state, Step.priority)
    moments = (Step.started_at, Step.created_at, Step.due_at)
    mine = Run.visible_to(principal).select(Run.id)
    joined = Step.select(*columns, *moments).join(Run)
    return joined if principal.is_admin else joined.where(Run.id.in_(mine))


def _last_seen(principal: Principal, agent_ids: list[str]) -> dict[str, int]:
    latest = fn.max(fn.coalesce(Session.completed_at, Session.started_at, Session.created_at))
    rows = Session.visible_to(principal).select(Session.agent_id, latest)
    rows = rows.where(Session.agent_id.in_(agent_ids)).group_by(Session.agent_id)
    return dict(rows.tuples())
