"""Having agents work on tasks, and planning whole projects."""

from __future__ import annotations

from typing import Any

from flask import g, jsonify
from flask.views import MethodView

from models.board import Task
from models.projects import Project
from models.swarms import Swarm
from tasks import board_swarms, executions, outcomes, planting
from web.resources import Blueprint, newest_first, only, page, visible, within
from web.schemas import executions as wire
from web.schemas.swarms import (
    FILTERS,
    LISTED,
    Dispatched,
    SwarmsForm,
    SwarmStates,
    dispatched,
    states,
)
from web.security import internal
from web.whole import UNCHANGED

blueprint = Blueprint("executions", "Work on tasks, and plans")


@blueprint.route("/projects/<project_id>/tasks/<task_id>/execute")
class Execute(MethodView):
    @blueprint.arguments(wire.ExecuteForm, required=False)
    @blueprint.response(200, wire.Executing)
    def post(self, form: dict[str, Any], project_id: str, task_id: str) -> Any:
        """Have a pipeline work on a task; its end moves the task."""
        task = within(Task, task_id, project_id)
        return wire.executing(*executions.execute(g.principal, task, form))


@blueprint.route("/projects/<project_id>/tasks/<task_id>/execute-agent")
class ExecuteAgent(MethodView):
    @blueprint.arguments(wire.ExecuteAgentForm)
    @blueprint.response(200, wire.Executing)
    def post(self, form: dict[str, Any], project_id: str, task_id: str) -> Any:
        """Have one agent work on a task alone."""
        task, agent_id = within(Task, task_id, project_id), form.pop("agent_id")
        return wire.executing(*executions.execute_agent(g.principal, task, agent_id, form))


@blueprint.route("/projects/<project_id>/execute-ready")
class ExecuteReady(MethodView):
    @blueprint.arguments(wire.ExecuteReadyForm, location="query")
    @blueprint.response(200, wire.ExecutedReady)
    def post(self, form: dict[str, Any], project_id: str) -> Any:
        """Execute what is ready, the most urgent first; what cannot begin says why."""
        project = visible(Project, project_id)
        return wire.executed(executions.execute_ready(g.principal, project, form["max_tasks"]))


@blueprint.route("/projects/<project_id>/tasks/<task_id>/run-completed")
class RunCompleted(MethodView):
    @internal
    @blueprint.arguments(wire.RunCompletedForm, location="query")
    @blueprint.response(200, wire.RunCompleted)
    def post(self, form: dict[str, Any], project_id: str, task_id: str) -> Any:
        """For engines elsewhere: how a task's run ended. Our own runs say it themselves."""
        task = within(Task, task_id, project_id)
        why = outcomes.settle_from_outside(task, form["run_id"], form["status"])
        if why is not None:
            return {"status": "ignored", "reason": why}
        return {"status": "updated", "task_status": within(Task, task_id, project_id).status}


@blueprint.route("/projects/<project_id>/import")
class Import(MethodView):
    @blueprint.arguments(wire.ImportForm)
    @blueprint.response(200, wire.Imported)
    def post(self, form: dict[str, Any], project_id: str) -> Any:
        """Put a whole plan on the board, or nothing of it."""
        project = visible(Project, project_id, Project.id)
        return wire.imported(planting.import_plan(project.id, wire.plan_of(form)))


@blueprint.route("/projects/<project_id>/plan")
class Plan(MethodView):
    @blueprint.arguments(wire.PlanForm, required=False)
    @blueprint.response(200, wire.Planning)
    def post(self, form: dict[str, Any], project_id: str) -> Any:
        """Have agents plan the project; their tasks come on the board when they are done."""
        project, context = visible(Project, project_id), form.get("context")
        run = executions.plan(g.principal, project, form["pipeline_id"], context)
        told = {"project_id": project_id, "run_id": run.id, "pipeline_id": run.pipeline_id}
        return {"status": "planning_started", **told}


@blueprint.route("/projects/<project_id>/reflow-planning")
class Reflow(MethodView):
    @blueprint.response(200, wire.Reflowed)
    def post(self, project_id: str) -> Any:
        """Put what waits back to the start, and what is free on ready."""
        moved, promoted = planting.reflow(visible(Project, project_id, Project.id).id)
        return {"moved": moved, "promoted": promoted}


@blueprint.route("/projects/<project_id>/swarm-preview")
class PreviewSwarm(MethodView):
    @blueprint.arguments(wire.SwarmPreviewForm, required=False)
    @blueprint.response(200, wire.SwarmPreview)
    def post(self, form: dict[str, Any], project_id: str) -> Any:
        """What a swarm would work on, and what it would leave out."""
        project = visible(Project, project_id)
        return wire.preview(board_swarms.drafted(project, form.get("task_ids")))


@blueprint.route("/projects/<project_id>/swarm-execute")
class ExecuteSwarm(MethodView):
    @blueprint.arguments(wire.BoardSwarmForm)
    @blueprint.response(200, Dispatched)
    def post(self, form: dict[str, Any], project_id: str) -> Any:
        """Have a swarm of one agent's executors work through the board."""
        swarm, _ = board_swarms.launch(g.principal, visible(Project, project_id), form)
        return dispatched(swarm)


@blueprint.route("/projects/<project_id>/swarms")
class Swarms(MethodView):
    @blueprint.arguments(SwarmsForm, location="query")
    @blueprint.response(200, SwarmStates)
    def get(self, form: dict[str, Any], project_id: str) -> Any:
        """The swarms that work on the project, as far as the caller may see them, newest first."""
        project = visible(Project, project_id, Project.id)
        mine = wire.swarms_of(Swarm.visible_to(g.principal).select(*LISTED), project)
        return {"swarms": states(page(only(mine, form, FILTERS), form, newest_first(Swarm)))}


@blueprint.route("/projects/<project_id>/dependency-graph")
class DependencyGraph(MethodView):
    @blueprint.response(200, wire.Graph)
    @blueprint.alt_response(304, description=UNCHANGED)
    def get(self, project_id: str) -> Any:
        """Tasks and dependencies, and the longest way through them."""
        return wire.graph(visible(Project, project_id, Project.id).id)


@blueprint.route("/projects/<project_id>/timeline")
class Timeline(MethodView):
    @blueprint.arguments(wire.TimelineForm, location="query")
    @blueprint.response(200, wire.Timeline)
    def get(self, form: dict[str, Any], project_id: str) -> Any:
        """When each task could be done."""
        return jsonify(wire.timeline(visible(Project, project_id), form["hours_per_day"]))
