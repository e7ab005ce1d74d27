"""Executors: give one an order, read its report."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models.runs import EXECUTOR, Run
from tasks import executors
from web.resources import Blueprint, listed, newest_first, only, page
from web.schemas import executors as wire
from web.schemas.runs import KeyForm
from web.schemas.swarms import refuse_unknown_tasks

blueprint = Blueprint("executors", "Agents that carry out one order each")


@blueprint.route("/spawn-executor/execute", "/internal/spawn-executor")
class Execute(MethodView):
    @blueprint.arguments(KeyForm, location="headers")
    @blueprint.arguments(wire.SpawnForm)
    @blueprint.response(200, wire.Spawned)
    def post(self, header: dict[str, Any], form: dict[str, Any]) -> Any:
        """Ask for an executor; it begins as soon as a worker is free."""
        refuse_unknown_tasks([form])
        return wire.spawned(executors.spawn(g.principal.id, form, key=header["key"]))


@blueprint.route("/spawn-executor/<run_id>")
class Executor(MethodView):
    @blueprint.arguments(wire.WaitForm, location="query")
    @blueprint.response(200, wire.ExecutorView)
    def get(self, form: dict[str, Any], run_id: str) -> Any:
        """An executor and its report; with `wait` only once it is over or the time is up."""
        return wire.awaited(run_id, form["wait"])


@blueprint.route(
    "/runs/projects/<project_id>/tasks/<task_id>/executor-runs",
    "/projects/<project_id>/tasks/<task_id>/executor-runs",
)
class ExecutorRuns(MethodView):
    @blueprint.arguments(wire.RecentForm, location="query")
    @blueprint.response(200, wire.ExecutorRuns)
    def get(self, form: dict[str, Any], project_id: str, task_id: str) -> Any:
        """The newest executors that worked on a task, as far as the caller may see them."""
        about = {"project_id": project_id, "task_id": task_id}
        mine = only(listed(Run, wire.ExecutorRun), about | {"kind": EXECUTOR}, wire.FILTERS)
        found = page(mine, form, newest_first(Run))
        return {**about, "count": len(found), "runs": [wire.listed(run) for run in found]}
