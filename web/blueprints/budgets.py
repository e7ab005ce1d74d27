"""Budgets: what a run and a user's day may cost."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models import budgets
from models.swarms import Swarm
from tasks import budgets as commands
from web.resources import Blueprint, visible
from web.schemas import budgets as wire
from web.security import admin

blueprint = Blueprint("budgets", "What runs and users may spend")


@blueprint.route("/runs/<run_id>/budget")
class RunBudget(MethodView):
    @blueprint.arguments(wire.BudgetForm)
    @blueprint.response(200, wire.BudgetView)
    def put(self, form: dict[str, Any], run_id: str) -> Any:
        """Set, raise or take away (null) a run's limits; a limit counts from the run's beginning.

        A run that was paused because of its budget goes on when it is resumed. The id may also be
        that of an agent's session (a routine's, a wake's, a chat's), whose runs keep to it too.
        """
        return commands.raise_run(g.principal, run_id, form)


@blueprint.route("/swarm/<swarm_id>/budget", "/internal/swarm/<swarm_id>/budget")
class SwarmBudget(MethodView):
    @blueprint.arguments(wire.BudgetForm)
    @blueprint.response(200, wire.BudgetView)
    def put(self, form: dict[str, Any], swarm_id: str) -> Any:
        """Set, raise or take away (null) the limits of all executors of a swarm together.

        Those that were paused because of the budget go on when their runs are resumed.
        """
        return commands.raise_swarm(visible(Swarm, swarm_id).id, form)


@blueprint.route("/usage/budget")
class DayBudget(MethodView):
    @blueprint.response(200, wire.DayView)
    def get(self) -> Any:
        """What the caller may spend today (UTC), and has spent; null: without a limit."""
        return budgets.of_day(g.principal.id)

    @admin
    @blueprint.arguments(wire.DayForm)
    @blueprint.response(200, wire.DayView)
    def put(self, form: dict[str, Any]) -> Any:
        """Set, raise or take away (null) a user's limits of today."""
        return commands.raise_day(form.pop("user_id"), form)
