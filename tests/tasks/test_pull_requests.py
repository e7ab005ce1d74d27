"""Merged pull requests and the tasks they close."""

from __future__ import annotations

import threading

from flask.testing import FlaskClient

from models.base import db
from tasks.pull_requests import pull_request_merged
from tests.web.boards import Crew

URL = "https://github.example/acme/todo/pull/7"


def merged(crew: Crew, branch: str, number: int = 7) -> str | None:
    with db.connection_context():
        task = pull_request_merged(crew.id, number, URL, branch, 1_730_000_000_000)
    return task and task.id


def test_a_merged_pull_request_closes_its_task_and_frees_what_waited(owner: FlaskClient):
    crew = Crew(owner)
    first, second = crew.add("First"), crew.add("Second")
    crew.wait(second, first)
    branch = crew.post(first, "claim", agentId="finn").json["branch"]
    assert merged(crew, branch) == first
    assert (crew.status(first), crew.status(second)) == ("done", "ready")
    facts = crew.task(first)["metadata"]
    assert (facts["pr_number"], facts["pr_merged"], facts["git_branch"]) == (7, True, branch)
    crew.to(first, "ready")
    assert merged(crew, branch) == first  # told again: somebody has reopened it since
    assert crew.status(first) == "ready"


def test_who_opened_it_goes_before_whose_branch_it_is(owner: FlaskClient):
    crew = Crew(owner)
    crew.add("A", metadata={"git_branch": "feat/x"})
    opener = crew.add("B", metadata={"pr_number": 7})
    assert merged(crew, "feat/x") == opener
    assert merged(crew, "feat/none", 8) is None


def test_a_run_that_ends_after_the_merge_changes_nothing(owner: FlaskClient):
    crew = Crew(owner)
    task = crew.add("One")
    run = crew.post(task, "execute", pipelineId="bugfix").json["run_id"]
    merged(crew, crew.task(task)["metadata"]["git_branch"])
    owner.post(f"/v1/runs/{run}/cancel")
    assert (crew.status(task), crew.task(task)["run_id"]) == ("done", None)


def test_a_task_that_was_closed_amid_a_run_may_be_worked_on_anew(owner: FlaskClient):
    crew = Crew(owner)
    task = crew.add("One")
    first = crew.post(task, "execute", pipelineId="bugfix").json["run_id"]
    merged(crew, crew.task(task)["metadata"]["git_branch"])
    crew.to(task, "ready")
    answer = crew.post(task, "execute", pipelineId="bugfix")
    assert answer.status_code == 200, answer.text
    owner.post(f"/v1/runs/{first}/cancel")
    shown = crew.task(task)
    assert (shown["status"], shown["run_id"]) == ("in_progress", answer.json["run_id"])
    assert sorted(each["status"] for each in shown["run_history"]) == ["completed", "running"]


def test_another_projects_or_no_projects_pull_request_moves_nothing(owner: FlaskClient):
    crew, other = Crew(owner), Crew(owner)
    task = crew.add("One", metadata={"git_branch": "feat/x"})
    assert merged(other, "feat/x") is None
    owner.delete(other.path)
    assert merged(other, "feat/x") is None
    assert crew.status(task) == "ready"


def test_ten_equal_tellings_at_once_move_it_once(owner: FlaskClient):
    crew = Crew(owner)
    task = crew.add("One", metadata={"git_branch": "feat/x"})
    threads = [threading.Thread(target=merged, args=(crew, "feat/x")) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert crew.status(task) == "done"
