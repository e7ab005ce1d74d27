"""What runs came to, as agents and programs look back on them."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models import run_history
from models.runs import Run
from web.resources import Blueprint, newest_first, only, page
from web.schemas import run_history as wire
from web.security import for_agents

blueprint = Blueprint("run history", "What earlier runs came to")


@blueprint.route("/internal/run-history")
class RunHistory(MethodView):
    @for_agents
    @blueprint.arguments(wire.HistoryForm, location="query")
    @blueprint.response(200, wire.History)
    def get(self, form: dict[str, Any]) -> Any:
        """The newest runs of a project, a task or an agent, with what their steps handed over.

        An agent's key sees those of the projects that it works on.
        """
        mine = only(
            Run.visible_to(g.principal).select(*run_history.COLUMNS), form, run_history.FILTERS
        )
        found = page(mine, form, newest_first(Run))
        return run_history.history(found, g.more, form["include_steps"])
