"""Boards for tests: a project with tasks, made the way people make them."""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient

from models.base import db
from models.board import Column, Task


class Crew:
    """A client at work on one project."""

    def __init__(self, client: FlaskClient, **form: Any) -> None:
        self.client = client
        answer = client.post("/v1/projects", json={"name": "Todo", **form})
        assert answer.status_code == 200, answer.text
        self.id = answer.json["id"]
        self.path = f"/v1/projects/{self.id}"

    @property
    def board(self) -> dict[str, Any]:
        return self.client.get(self.path).json

    def add(self, title: str, **form: Any) -> str:
        answer = self.client.post(f"{self.path}/tasks", json={"title": title, **form})
        assert answer.status_code == 200, answer.text
        return answer.json["id"]

    def task(self, task_id: str) -> dict[str, Any]:
        return self.client.get(f"{self.path}/tasks/{task_id}").json

    def status(self, task_id: str) -> str:
        return self.task(task_id)["status"]

    def post(self, task_id: str, what: str, **body: Any) -> Any:
        return self.client.post(f"{self.path}/tasks/{task_id}/{what}", json=body)

    def to(self, task_id: str, *statuses: str, **form: Any) -> Any:
        for status in statuses:
            answer = self.post(task_id, "transition", status=status, **form)
            assert answer.status_code == 200, answer.text
        return answer.json

    def wait(self, task_id: str, *others: str) -> None:
        for other in others:
            answer = self.post(task_id, "dependencies", fromTaskId=other)
            assert answer.status_code == 200, answer.text

    def column(self, name: str) -> dict[str, Any]:
        return next(each for each in self.board["columns"] if each["name"] == name)


def planted(project_id: str, *task_ids: str) -> None:
    """Tasks of these ids, on a board of one column."""
    with db.connection_context(), db.atomic():
        column = Column(id=f"col_{project_id}", project=project_id, name="All", position=0)
        column.task_statuses = ["ready", "in_progress", "done", "failed"]
        column.add()
        about = {"project": project_id, "column": column.id, "status": "ready"}
        for task_id in task_ids:
            Task(id=task_id, title=task_id, **about).add()
