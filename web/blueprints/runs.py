"""Runs: ask for one, watch it, steer it."""

from __future__ import annotations

from typing import Any

from flask import g, jsonify
from flask.views import MethodView

from models.errors import Malformed
from models.pipelines import Pipeline
from models.runs import Run
from tasks import forks, replays, runs
from web import history
from web.resources import Blueprint, listed, newest_first, only, page, visible
from web.schemas import runs as wire
from web.schemas.budgets import BudgetForm

blueprint = Blueprint("runs", "Runs of pipelines")
RUNNABLE = (Pipeline.id, Pipeline.version_id, Pipeline.errors)  # all that a new run asks of it


@blueprint.route("/runs")
class Runs(MethodView):
    @blueprint.arguments(wire.RunsForm, location="query")
    @blueprint.response(200, wire.RunItem(many=True))
    def get(self, form: dict[str, Any]) -> Any:
        """Runs the caller may see, newest first.

        The number of all that match is in `X-Total-Count`, the next page in `Link`.
        """
        schema = wire.shape_of(form)
        runs = only(listed(Run, schema), form, wire.FILTERS)
        return jsonify(schema(many=True).dump(page(runs, form, newest_first(Run))))

    @blueprint.arguments(wire.KeyForm, location="headers")
    @blueprint.arguments(wire.RunForm)
    @blueprint.response(200, wire.RunItem)
    def post(self, header: dict[str, Any], form: dict[str, Any]) -> Any:
        """Ask for a run of a pipeline; it begins as soon as a worker is free."""
        wire.refuse_unknown_project(form)
        pipeline = visible(Pipeline, form.pop("pipeline_id"), *RUNNABLE)
        return runs.start(g.principal, pipeline, form, header["key"])

    @blueprint.arguments(wire.EndedRunsForm, location="query")
    @blueprint.response(200, wire.ManyDeleted)
    def delete(self, form: dict[str, Any]) -> Any:
        """Delete ended runs of a status, or created before a moment, or both."""
        if not form:
            raise Malformed("Say which runs: status, before, or both")
        count = runs.delete_ended(g.principal, form.get("status"), form.get("before"))
        return {"status": "deleted", "count": count}


@blueprint.route("/runs/<run_id>")
class OneRun(MethodView):
    @blueprint.arguments(wire.DetailForm, location="query")
    @blueprint.response(200, wire.RunDetail)
    def get(self, form: dict[str, Any], run_id: str) -> Any:
        """A run with its steps and where its files are."""
        return wire.detailed(visible(Run, run_id), form["history"])

    @blueprint.arguments(wire.DeleteForm, location="query")
    @blueprint.response(200, wire.Deleted)
    def delete(self, form: dict[str, Any], run_id: str) -> Any:
        """Delete an ended run and everything it left."""
        runs.delete(visible(Run, run_id).id, **form)
        return {"status": "deleted", "run_id": run_id}


@blueprint.route("/runs/<run_id>/cancel")
class Cancel(MethodView):
    @blueprint.response(200, wire.Changed)
    def post(self, run_id: str) -> Any:
        """End a run that is not over; doing it again changes nothing."""
        run = runs.cancel(visible(Run, run_id).id)
        return {"run_id": run.id, "status": run.state}


@blueprint.route("/runs/<run_id>/pause")
class Pause(MethodView):
    @blueprint.arguments(wire.PauseForm, location="query")
    @blueprint.response(200, wire.Changed)
    def post(self, form: dict[str, Any], run_id: str) -> Any:
        """Dispatch nothing further until the run is resumed."""
        run = runs.pause(visible(Run, run_id).id, now=form["mode"] == "now")
        return {"run_id": run.id, "status": run.state}


@blueprint.route("/runs/<run_id>/resume")
class Resume(MethodView):
    @blueprint.arguments(BudgetForm, required=False)
    @blueprint.response(200, wire.Resumed)
    def post(self, form: dict[str, Any], run_id: str) -> Any:
        """Go on with a paused run; limits of its budget may be set with that."""
        run, waiting = runs.resume(visible(Run, run_id).id, form)
        return {"run_id": run.id, "status": run.state, "requeued_steps": waiting}


@blueprint.route("/runs/<run_id>/restart")
class Restart(MethodView):
    @blueprint.arguments(wire.NoteForm, required=False)
    @blueprint.response(200, wire.RunDetail)
    def post(self, form: dict[str, Any], run_id: str) -> Any:
        """Begin an ended run anew, with nothing left of the former attempt."""
        return wire.detailed(runs.restart(visible(Run, run_id).id, form.get("context")))


@blueprint.route("/runs/<run_id>/steps/<step_id>/restart")
class RestartStep(MethodView):
    @blueprint.arguments(wire.NoteForm, required=False)
    @blueprint.response(200, wire.RunDetail)
    def post(self, form: dict[str, Any], run_id: str, step_id: str) -> Any:
        """Undo a step and everything after it, then do it again."""
        run = visible(Run, run_id)
        return wire.detailed(runs.restart_step(run.id, step_id, form.get("context")))


@blueprint.route("/runs/<run_id>/fork")
class Fork(MethodView):
    @blueprint.arguments(wire.KeyForm, location="headers")
    @blueprint.arguments(wire.ForkForm, required=False)
    @blueprint.response(200, wire.RunDetail)
    def post(self, header: dict[str, Any], form: dict[str, Any], run_id: str) -> Any:
        """Make a run that shares everything before a step, at no cost, and goes on from there."""
        source = visible(Run, run_id)
        return wire.detailed(forks.fork(g.principal, source, form, header["key"]))


@blueprint.route("/runs/<run_id>/replay")
class Replay(MethodView):
    @blueprint.arguments(wire.KeyForm, location="headers")
    @blueprint.arguments(wire.ReplayForm, required=False)
    @blueprint.response(200, wire.RunDetail)
    def post(self, header: dict[str, Any], form: dict[str, Any], run_id: str) -> Any:
        """Repeat a run that is over with every answer from its record; differences fail it."""
        source = visible(Run, run_id)
        return wire.detailed(replays.replay(g.principal, source, form, header["key"]))


@blueprint.route("/runs/<run_id>/outputs")
class Outputs(MethodView):
    @blueprint.response(200, example={"result": "SUCCESS"})
    def get(self, run_id: str) -> Any:
        """The run's outputs so far, key to value."""
        return visible(Run, run_id).outputs


@blueprint.route("/runs/<run_id>/logs")
class Logs(MethodView):
    @blueprint.arguments(wire.LogsForm, location="query")
    @blueprint.response(200, wire.LogEntry(many=True))
    def get(self, form: dict[str, Any], run_id: str) -> Any:
        """The run's durable events, oldest first; `since` goes on after an event's id."""
        return history.entries(visible(Run, run_id), form)
