"""Boards: tasks, the columns they stand in, and what they wait for."""

from __future__ import annotations

from typing import Any

from flask import g, jsonify
from flask.views import MethodView

from models import whole_boards
from models.board import Column, Dependency, Task
from models.projects import Project
from tasks import board, columns
from web.resources import Blueprint, only, page, visible, within
from web.schemas import board as wire
from web.schemas import board_forms as forms
from web.security import for_agents

blueprint = Blueprint("board", "Boards and their tasks")


@blueprint.route("/projects/<project_id>/tasks")
class Tasks(MethodView):
    @blueprint.arguments(forms.BoardTasksForm, location="query")
    @blueprint.response(200, wire.TaskView(many=True))
    def get(self, form: dict[str, Any], project_id: str) -> Any:
        """Tasks of a board by their place in the column."""
        project = visible(Project, project_id, Project.id)
        mine = whole_boards.one_by_one(*wire.PLACED.keys).where(Task.project == project.id)
        found = page(only(mine, form, wire.FILTERS), form, wire.PLACED)
        return jsonify(wire.written(found))

    @blueprint.arguments(forms.NewTaskForm)
    @blueprint.response(200, wire.NewTask)
    def post(self, form: dict[str, Any], project_id: str) -> Any:
        """Put a new task on the board."""
        return wire.shown(board.add(visible(Project, project_id, Project.id).id, form))


@blueprint.route("/projects/<project_id>/tasks/<task_id>")
class OneTask(MethodView):
    @for_agents
    @blueprint.response(200, wire.TaskDetail)
    def get(self, project_id: str, task_id: str) -> Any:
        """A task with what it waits for, what waits for it, its parts and its runs."""
        return wire.detailed(within(Task, task_id, project_id))

    @blueprint.arguments(forms.TaskChange)
    @blueprint.response(200, wire.Done)
    def put(self, form: dict[str, Any], project_id: str, task_id: str) -> Any:
        """Change a task; a status moves it, under the same rules as a transition."""
        board.change(within(Task, task_id, project_id), wire.changes(form))
        return {"status": "updated"}

    @blueprint.response(200, wire.Done)
    def delete(self, project_id: str, task_id: str) -> Any:
        """Take a task off the board."""
        board.delete(within(Task, task_id, project_id))
        return {"status": "deleted"}


@blueprint.route("/projects/<project_id>/tasks/<task_id>/claim")
class Claim(MethodView):
    @for_agents
    @blueprint.arguments(forms.ClaimForm)
    @blueprint.response(200, wire.Claimed)
    def post(self, form: dict[str, Any], project_id: str, task_id: str) -> Any:
        """Give a free task to an agent; of many who ask at once, one gets it."""
        task = within(Task, task_id, project_id)
        return wire.claimed(board.claim(g.principal, task, form["agent_id"]))


@blueprint.route("/projects/<project_id>/tasks/<task_id>/transition")
class Transition(MethodView):
    @for_agents
    @blueprint.arguments(forms.TransitionForm)
    @blueprint.response(200, wire.Transitioned)
    def post(self, form: dict[str, Any], project_id: str, task_id: str) -> Any:
        """Move a task to a status, with all that follows for others."""
        task = within(Task, task_id, project_id)
        return wire.transitioned(*board.transition(g.principal, task, **form))


@blueprint.route("/projects/<project_id>/tasks/<task_id>/move")
class Move(MethodView):
    @blueprint.arguments(forms.MoveForm)
    @blueprint.response(200, wire.Moved)
    def post(self, form: dict[str, Any], project_id: str, task_id: str) -> Any:
        """Put a task to a place of a column; one from another column takes its first status."""
        task = board.move(within(Task, task_id, project_id), **form)
        return {"status": "moved", "column_id": task.column_id, "position": task.column_position}


@blueprint.route("/projects/<project_id>/tasks/<task_id>/dependencies")
class Dependencies(MethodView):
    @blueprint.arguments(forms.DependencyForm)
    @blueprint.response(200, wire.NewDependency)
    def post(self, form: dict[str, Any], project_id: str, task_id: str) -> Any:
        """Have a task wait for another one."""
        task = within(Task, task_id, project_id)
        return board.depend(task, form["from_task_id"], form["type"])


@blueprint.route("/projects/<project_id>/tasks/<task_id>/dependencies/<dependency_id>")
class OneDependency(MethodView):
    @blueprint.response(200, wire.Done)
    def delete(self, project_id: str, task_id: str, dependency_id: str) -> Any:
        """Have a task wait for another one no longer."""
        board.release(within(Dependency, dependency_id, project_id))
        return {"status": "removed"}


@blueprint.route("/projects/<project_id>/tasks/<task_id>/branch")
class Branch(MethodView):
    @blueprint.response(200, wire.Branch)
    def get(self, project_id: str, task_id: str) -> Any:
        """The git branch that the task is worked on."""
        return wire.branch(visible(Project, project_id), within(Task, task_id, project_id))


@blueprint.route("/projects/<project_id>/tasks/<task_id>/workspace")
class Workspace(MethodView):
    @blueprint.arguments(forms.ClaimForm)
    @blueprint.response(200, wire.WorkspaceReady)
    def post(self, form: dict[str, Any], project_id: str, task_id: str) -> Any:
        """Where a task is worked on: its branch, and the files of its last run on this machine."""
        return wire.workspace(within(Task, task_id, project_id), form["agent_id"])

    @blueprint.arguments(forms.WorkspaceForm, location="query")
    @blueprint.response(200, wire.WorkspaceRemoved)
    def delete(self, form: dict[str, Any], project_id: str, task_id: str) -> Any:
        """Say that an agent is done with a task's files: the folders of runs that have ended go."""
        task = within(Task, task_id, project_id)
        agent_id = form.get("agent_id", task.assigned_agent)
        board.leave_workspace(task, agent_id)
        return {"status": "remove_requested", "task_id": task.id, "agent_id": agent_id}


@blueprint.route("/projects/<project_id>/ready-tasks")
class ReadyTasks(MethodView):
    @for_agents
    @blueprint.arguments(forms.ReadyForm, location="query")
    @blueprint.response(200, wire.ReadyTasks)
    def get(self, form: dict[str, Any], project_id: str) -> Any:
        """Tasks that could be begun, the most urgent first, and those that are under way."""
        return wire.ready(visible(Project, project_id), form)


@blueprint.route("/projects/<project_id>/columns")
class Columns(MethodView):
    @blueprint.arguments(forms.ColumnForm)
    @blueprint.response(200, wire.NewColumn)
    def post(self, form: dict[str, Any], project_id: str) -> Any:
        """Give the board a further column."""
        return columns.add(visible(Project, project_id, Project.id).id, form)


@blueprint.route("/projects/<project_id>/columns/<column_id>")
class OneColumn(MethodView):
    @blueprint.arguments(forms.ColumnChange)
    @blueprint.response(200, wire.Done)
    def put(self, form: dict[str, Any], project_id: str, column_id: str) -> Any:
        """Change a column."""
        changed = columns.change(within(Column, column_id, project_id), form)
        return {"status": "updated" if changed else "no changes"}

    @blueprint.response(200, wire.Done)
    def delete(self, project_id: str, column_id: str) -> Any:
        """Take an empty column off the board."""
        columns.delete(within(Column, column_id, project_id))
        return {"status": "deleted"}
