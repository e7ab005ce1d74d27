"""What waits for agents and what they have in hand."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models import presence
from models.agents import Agent
from models.steps import Step
from tasks import runs
from web.resources import Blueprint, visible
from web.schemas import queues as wire

blueprint = Blueprint("queues", "What waits for agents")


@blueprint.route("/agents/<agent_id>/queue")
class Queue(MethodView):
    @blueprint.response(200, wire.WaitingList)
    def get(self, agent_id: str) -> Any:
        """The steps that wait for the agent, the next one first."""
        return wire.waiting_list(agent_id, list(waiting_for(agent_id)))


@blueprint.route("/agents/<agent_id>/queue/<item_id>")
class QueueItem(MethodView):
    @blueprint.response(200, wire.Withdrawn)
    def delete(self, agent_id: str, item_id: str) -> Any:
        """Take one step out of the queue: its run is cancelled, it cannot go on without it."""
        return {"cancelled": bool(runs.cancel_waiting(waiting_for(agent_id, item_id)))}


@blueprint.route("/agents/<agent_id>/queue/cancel")
class CancelQueued(MethodView):
    @blueprint.arguments(wire.WithdrawForm)
    @blueprint.response(200, wire.Withdrawn)
    def post(self, form: dict[str, Any], agent_id: str) -> Any:
        """The same for clients that name the step in the body."""
        return {"cancelled": bool(runs.cancel_waiting(waiting_for(agent_id, form["itemId"])))}


@blueprint.route("/agents/<agent_id>/queue/clear")
class ClearQueue(MethodView):
    @blueprint.arguments(wire.ClearForm)
    @blueprint.response(200, wire.Cleared)
    def post(self, form: dict[str, Any], agent_id: str) -> Any:
        """Empty the queue: the runs of all steps in it are cancelled."""
        return {"cleared": runs.cancel_waiting(waiting_for(agent_id))}


@blueprint.route("/agents/<agent_id>/work-ledger")
class WorkLedger(MethodView):
    @blueprint.response(200, wire.WorkLedger)
    def get(self, agent_id: str) -> Any:
        """The steps that the agent holds a lease on right now."""
        agent = visible(Agent, agent_id)
        return wire.work_ledger(presence.presences(g.principal, [agent.id])[agent.id])


def waiting_for(agent_id: str, item_id: str | None = None) -> Any:
    """The queued steps of an agent that the caller may see, or the one that is named."""
    waiting = presence.waiting_steps(g.principal, visible(Agent, agent_id).id)
    return waiting if item_id is None else waiting.where(Step.id == item_id)
