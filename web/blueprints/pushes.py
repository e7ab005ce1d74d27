"""Whether the work of tasks and runs has reached its repository; trying again what was refused."""

from __future__ import annotations

from typing import Any

from flask.views import MethodView

from models.board import Task
from models.pushes import Push
from models.runs import Run
from tasks import pushes
from web.resources import Blueprint, visible, within
from web.schemas import pushes as wire

blueprint = Blueprint("pushes", "Work on its way to its repository")


@blueprint.route("/projects/<project_id>/tasks/<task_id>/push")
class TaskPush(MethodView):
    @blueprint.response(200, wire.PushView)
    def get(self, project_id: str, task_id: str) -> Any:
        """How far the last work for the task's branch has got."""
        return visible(Push, pushes.of_task(within(Task, task_id, project_id)))

    @blueprint.response(200, wire.PushView)
    def post(self, project_id: str, task_id: str) -> Any:
        """Push it once more, where the repository has refused it."""
        task = within(Task, task_id, project_id)
        return pushes.again(visible(Push, pushes.of_task(task)))


@blueprint.route("/runs/<run_id>/push")
class RunPush(MethodView):
    @blueprint.response(200, wire.PushView)
    def get(self, run_id: str) -> Any:
        """How far what the run left has got."""
        return visible(Push, pushes.of_run(visible(Run, run_id)))

    @blueprint.response(200, wire.PushView)
    def post(self, run_id: str) -> Any:
        """Push it once more, where the repository has refused it."""
        return pushes.again(visible(Push, pushes.of_run(visible(Run, run_id))))
