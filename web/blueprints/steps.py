"""The steps of a run."""

from __future__ import annotations

from typing import Any

from flask.views import MethodView

from models.runs import Run
from models.standing import standing, standings
from tasks import runs
from web import history
from web.resources import Blueprint, visible
from web.schemas import steps as wire
from web.schemas.runs import LogEntry, LogsForm, NoteForm

blueprint = Blueprint("steps", "Steps of runs")


@blueprint.route("/steps/<run_id>", "/runs/<run_id>/steps")
class Steps(MethodView):
    @blueprint.arguments(wire.StepsForm, location="query")
    @blueprint.response(200, wire.StepView(many=True))
    def get(self, form: dict[str, Any], run_id: str) -> Any:
        """Every step of the run in the pipeline's order, those not begun included."""
        shown = standings(visible(Run, run_id), form["history"])
        wanted = [step for step in shown if form.get("status") in (None, step.status)]
        return [wire.described(step, form["history"]) for step in wanted]


@blueprint.route("/steps/<run_id>/<step_id>", "/runs/<run_id>/steps/<step_id>")
class OneStep(MethodView):
    @blueprint.response(200, wire.StepView)
    def get(self, run_id: str, step_id: str) -> Any:
        """A step, by its name in the pipeline or the id of one of its executions."""
        return wire.described(standing(visible(Run, run_id), step_id))


@blueprint.route("/steps/<run_id>/<step_id>/output")
class StepOutput(MethodView):
    @blueprint.response(200, wire.StepOutput)
    def get(self, run_id: str, step_id: str) -> Any:
        """What a step handed over, and its agent's last words."""
        return wire.output_of(standing(visible(Run, run_id), step_id))


@blueprint.route("/steps/<run_id>/<step_id>/restart")
class RestartStep(MethodView):
    @blueprint.arguments(NoteForm, required=False)
    @blueprint.response(200, wire.Restarting)
    def post(self, form: dict[str, Any], run_id: str, step_id: str) -> Any:
        """Undo a step and everything after it, then do it again."""
        run = runs.restart_step(visible(Run, run_id).id, step_id, form.get("context"))
        return {"run_id": run.id, "step_id": step_id, "status": "restarting"}


@blueprint.route("/steps/<run_id>/<step_id>/logs", "/runs/<run_id>/steps/<step_id>/logs")
class StepLogs(MethodView):
    @blueprint.arguments(LogsForm, location="query")
    @blueprint.response(200, LogEntry(many=True))
    def get(self, form: dict[str, Any], run_id: str, step_id: str) -> Any:
        """The durable events of one step, oldest first."""
        run = visible(Run, run_id)
        return history.entries(run, form, standing(run, step_id).spec.id)
