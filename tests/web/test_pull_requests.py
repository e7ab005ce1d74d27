"""Pull requests of tasks: one per branch, whoever asks how often, and how it does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from models.base import db
from models.outbox import Outbox
from models.pushes import Push
from tasks.pull_requests import pull_request_merged
from tests.servers.github import Github
from tests.servers.github_pulls import KNOWN
from tests.web.boards import Crew
from tests.workers.jobs.telling import connection

WANTED = {"agentId": "yukihiro", "title": "Add the login", "body": "It logs in.", "draft": True}


@pytest.fixture
def crew(owner: FlaskClient, github: Github) -> Crew:
    """A project whose repository is on GitHub."""
    made = Crew(owner, repository=f"{github.url}/acme/todo")
    connection(made.id)
    return made


@pytest.fixture
def task(crew: Crew) -> str:
    return crew.add("One", metadata={"git_branch": KNOWN})


def told(kind: str) -> list[dict[str, Any]]:
    with db.connection_context():
        bodies = [row.body for row in Outbox.select().where(Outbox.queue == "events")]
    return [body["data"] for body in bodies if body["type"] == kind]


def status(crew: Crew, task: str) -> Any:
    return crew.client.get(f"{crew.path}/tasks/{task}/pr-status")


def test_a_task_gets_one_pull_request_however_often_it_is_asked_for(
    crew: Crew, task: str, github: Github
):
    first = crew.post(task, "pull-request", **WANTED)
    assert first.status_code == 200, first.text
    assert first.json == {
        "pr_number": 7,
        "pr_url": f"{github.url}/acme/todo/pull/7",
        "title": "Add the login",
        "draft": True,
        "branch": KNOWN,
    }
    assert crew.post(task, "pull-request", **WANTED, base_branch="trunk").json == first.json
    facts = crew.task(task)["metadata"]
    assert (facts["pr_number"], facts["pr_url"]) == (7, first.json["pr_url"])
    assert facts["git_branch"] == KNOWN
    (event,) = told("task_pr_opened")
    assert (event["taskId"], event["prNumber"], event["agentId"]) == (task, 7, "yukihiro")
    assert (len(github.pulls.all), github.pulls.all[0]["base"]["ref"]) == (1, "main")


def test_who_died_after_github_had_opened_it_finds_it_there(crew: Crew, task: str, github: Github):
    asked = {"title": "One", "head": KNOWN, "base": "main", "draft": False}
    github.pulls.open("acme/todo", github.url, asked)
    assert crew.post(task, "pull-request", **WANTED).json["pr_number"] == 7
    assert (github.pulls.opened, len(told("task_pr_opened"))) == (1, 1)


def test_of_many_who_ask_at_once_all_get_the_same_one(
    crew: Crew, task: str, github: Github, as_caller: Callable[[str], FlaskClient]
):
    answers: list[Any] = []
    path, ready = f"{crew.path}/tasks/{task}/pull-request", threading.Barrier(5)

    def ask(client: FlaskClient) -> None:
        ready.wait()
        answers.append(client.post(path, json=WANTED).json)

    clients = [as_caller("djb_owner") for _ in range(5)]
    threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer["pr_number"] for answer in answers} == {7}
    assert (len(github.pulls.all), len(told("task_pr_opened"))) == (1, 1)


def test_after_a_merge_the_task_may_have_another_one(crew: Crew, task: str, github: Github):
    crew.post(task, "pull-request", **WANTED)
    github.pulls.change(7, state="closed", merged_at="2026-11-20T09:30:00Z")
    with db.connection_context():
        pull_request_merged(crew.id, 7, "url", KNOWN, 1)
    assert crew.status(task) == "done"
    crew.to(task, "ready")
    assert crew.post(task, "pull-request", **WANTED).json["pr_number"] == 8
    facts = crew.task(task)["metadata"]
    assert facts["pr_number"] == 8
    assert "pr_merged" not in facts


def test_what_stands_in_the_way_is_said(crew: Crew, github: Github):
    unnamed, unknown = crew.add("A"), crew.add("B", metadata={"git_branch": "feat/unknown"})
    same = crew.add("C", metadata={"git_branch": "trunk"})
    task = crew.add("D", metadata={"git_branch": KNOWN})

    def refusal(task: str, **more: Any) -> tuple[int, str]:
        answer = crew.post(task, "pull-request", **{**WANTED, **more})
        return answer.status_code, answer.json["detail"]

    assert refusal(unnamed) == (
        409,
        f"{unnamed} has no branch yet: it gets one when it is claimed or executed",
    )
    assert refusal(unknown) == (
        409,
        "feat/unknown is not on GitHub: it gets there when a run of the task ends well",
    )
    assert refusal(same) == (409, "trunk has nothing that main has not")
    assert refusal(task, agentId="nobody")[0] == 404
    answer = crew.post(task, "pull-request", **WANTED, base_branch="none")
    assert (answer.status_code, answer.json["errors"][0]["loc"]) == (422, ["body", "base_branch"])
    assert crew.post(task, "pull-request", agentId="yukihiro", title=" ").status_code == 422
    push = {"project": crew.id, "source": "run_x", "branch": "feat/unknown"}
    with db.connection_context():
        row = Push(**push, commit="c" * 40, snapshot="s" * 64).add()
    assert refusal(unknown)[1] == "feat/unknown is on its way to GitHub; try again in a moment"
    with db.connection_context():
        row.move("refused", error="it is locked")
    assert refusal(unknown)[1] == "feat/unknown could not be pushed: it is locked"
    assert github.pulls.all == []


def test_a_project_that_is_not_on_github_has_none(owner: FlaskClient):
    crew = Crew(owner, repository="https://git.example/acme/todo")
    task = crew.add("One", metadata={"git_branch": KNOWN})
    answer = crew.post(task, "pull-request", **WANTED)
    assert (answer.status_code, "not connected" in answer.json["detail"]) == (400, True)
    assert status(crew, task).status_code == 400


def test_how_it_does_is_asked_of_github(crew: Crew, task: str, github: Github):
    assert status(crew, task).status_code == 404
    crew.post(task, "pull-request", **{**WANTED, "draft": False})
    assert status(crew, task).json == {
        "task_id": task,
        "pr_number": 7,
        "pr_url": f"{github.url}/acme/todo/pull/7",
        "title": "Add the login",
        "draft": False,
        "branch": KNOWN,
        "state": "open",
        "merged": False,
        "mergeable": True,
        "base_branch": "main",
        "author": "djinnbot[bot]",
        "reviews": [],
        "checks": [],
        "ci_status": "none",
        "ready_to_merge": True,
    }
    github.pulls.check("tests", "in_progress")
    github.pulls.status("deploy", "success")
    assert status(crew, task).json["ci_status"] == "pending"
    github.pulls.checks[0] |= {"status": "completed", "conclusion": "success"}
    github.pulls.review(7, "octocat", "CHANGES_REQUESTED")
    found = status(crew, task).json
    assert (found["ci_status"], found["ready_to_merge"]) == ("passing", False)
    assert [check["name"] for check in found["checks"]] == ["tests", "deploy"]
    assert found["reviews"][0]["submitted_at"] == 1_795_167_000_000
    for number in range(4):  # more than GitHub shows on a page
        github.pulls.review(7, f"person{number}", "COMMENTED")
    github.pulls.review(7, "octocat", "APPROVED")
    assert status(crew, task).json["ready_to_merge"] is True
    github.pulls.status("lint", "error")
    assert status(crew, task).json["ci_status"] == "failing"
    github.pulls.change(7, state="closed", merged_at="2026-11-20T09:30:00Z")
    found = status(crew, task).json
    assert (found["state"], found["merged"], found["ready_to_merge"]) == ("merged", True, False)


def test_an_app_that_may_not_see_checks_tells_of_none(crew: Crew, task: str, github: Github):
    del github.permissions["checks"]
    crew.post(task, "pull-request", **WANTED)
    github.pulls.check("tests", "completed", "failure")
    assert status(crew, task).json["ci_status"] == "none"


def test_a_number_that_somebody_wrote_into_the_task_leads_nowhere(crew: Crew, github: Github):
    for number in ("7", True, [7], None):
        task = crew.add("One", metadata={"git_branch": KNOWN, "pr_number": number})
        assert status(crew, task).status_code == 404
    task = crew.add("One", metadata={"git_branch": {"a": 1}, "pr_number": 99})
    assert status(crew, task).status_code == 404


def test_what_github_says_is_not_repeated_and_no_token_is_told(
    crew: Crew, task: str, github: Github
):
    crew.post(task, "pull-request", **WANTED)
    github.failing = 500
    for answer in (status(crew, task), crew.post(task, "pull-request", **WANTED)):
        assert answer.status_code == 502
        assert "ghs_" not in answer.text
