"""Twenty at once: real threads, real Postgres."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models.accounts import ApiKey, digest
from models.base import db
from models.board import TaskRun
from models.runs import Run
from tests.web.boards import Crew
from tests.web.test_boards import told

TWENTY = 20


@pytest.fixture
def crew(owner: FlaskClient) -> Crew:
    return Crew(owner)


def at_once(app: Flask, ask: Callable[[FlaskClient, int], Any], count: int = TWENTY) -> list[Any]:
    """The answers to `count` requests that begin together."""
    barrier, answers = threading.Barrier(count), []

    def one(number: int) -> None:
        client = app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = "Bearer djb_owner"
        barrier.wait()
        answers.append(ask(client, number))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


AGENTS = ("chieko", "eric", "finn", "grace", "holt", "jim", "luke", "shigeo", "stas", "yang")


def test_of_twenty_agents_that_race_for_a_task_one_wins(app: Flask, crew: Crew):
    task = crew.add("Wanted")
    path = f"{crew.path}/tasks/{task}/claim"

    def claim(client: FlaskClient, number: int) -> Any:
        return client.post(path, json={"agentId": AGENTS[number % 10]})

    answers = at_once(app, claim)
    by_status = Counter(answer.status_code for answer in answers)
    winner = crew.task(task)["assigned_agent"]
    won = [answer.json for answer in answers if answer.status_code == 200]
    assert [each["status"] for each in won].count("claimed") == 1
    assert {each["agent_id"] for each in won} == {winner}
    assert by_status[409] == TWENTY - len(won) == 18  # the winner asked twice
    assert len(told("task_claimed")) == 1


def test_the_same_agent_may_ask_again_whatever_the_status(crew: Crew):
    task = crew.add("One")
    assert crew.post(task, "claim", agentId="finn").json["status"] == "claimed"
    crew.to(task, "in_progress")
    again = crew.post(task, "claim", agentId="finn").json
    assert (again["status"], again["branch"]) == ("already_claimed", f"feat/{task}-one")
    assert crew.post(task, "claim", agentId="eric").status_code == 409
    assert crew.post(task, "claim", agentId="nobody").status_code == 404


def test_only_what_could_be_begun_is_given_out(crew: Crew):
    first, second, parent = crew.add("First"), crew.add("Second"), crew.add("Parent")
    crew.add("Part", parentTaskId=parent)
    crew.wait(second, first)
    assert crew.post(second, "claim", agentId="finn").status_code == 409
    assert crew.post(parent, "claim", agentId="finn").status_code == 409
    crew.to(first, "in_progress")
    assert crew.post(first, "claim", agentId="finn").status_code == 400


def test_of_twenty_executions_at_once_one_begins(app: Flask, crew: Crew):
    task = crew.add("Wanted")
    path = f"{crew.path}/tasks/{task}/execute"
    answers = at_once(app, lambda client, _: client.post(path, json={}))
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses == {200: 1, 409: TWENTY - 1}
    with db.connection_context():
        assert (Run.select().count(), TaskRun.select().count()) == (1, 1)


def test_a_limit_of_a_column_holds_whoever_comes_together(app: Flask, crew: Crew):
    tasks = [crew.add(f"Task {number}") for number in range(TWENTY)]

    def begin(client: FlaskClient, number: int) -> Any:
        path = f"{crew.path}/tasks/{tasks[number]}/transition"
        return client.post(path, json={"status": "in_progress"})

    statuses = Counter(answer.status_code for answer in at_once(app, begin))
    assert statuses == {200: 5, 409: TWENTY - 5}
    begun = [task for task in crew.board["tasks"] if task["status"] == "in_progress"]
    assert sorted(task["column_position"] for task in begun) == [0, 1, 2, 3, 4]


def test_no_circle_is_closed_from_many_sides_at_once(app: Flask, crew: Crew):
    tasks = [crew.add(f"Task {number}") for number in range(10)]

    def wait(client: FlaskClient, number: int) -> Any:
        path = f"{crew.path}/tasks/{tasks[number]}/dependencies"
        return client.post(path, json={"fromTaskId": tasks[(number + 1) % 10]})

    statuses = Counter(answer.status_code for answer in at_once(app, wait, 10))
    assert statuses == {200: 9, 400: 1}
    assert len(crew.client.get(f"{crew.path}/dependency-graph").json["topological_order"]) == 10


def test_the_last_two_of_many_blockers_free_their_dependant_once(app: Flask, crew: Crew):
    blockers = [crew.add(f"Blocker {number}") for number in range(10)]
    last = crew.add("Last")
    crew.wait(last, *blockers)

    def finish(client: FlaskClient, number: int) -> Any:
        path = f"{crew.path}/tasks/{blockers[number]}/transition"
        return client.post(path, json={"status": "done", "force": True})

    assert {answer.status_code for answer in at_once(app, finish, 10)} == {200}
    assert crew.status(last) == "ready"
    moves = [event["data"] for event in told("task_status_changed")]
    freed = [move for move in moves if move["taskId"] == last and move["toStatus"] == "ready"]
    assert len(freed) == 1


def test_an_agents_key_works_where_the_agent_is_assigned_and_for_itself(
    app: Flask, crew: Crew, as_caller: Callable[[str | None], FlaskClient]
):
    with db.connection_context():
        named = {"name": "agent", "key_prefix": "djb_agent", "agent_id": "finn"}
        ApiKey(key_hash=digest("djb_agent_finn"), is_service_key=True, **named).add()
    finn = as_caller("djb_agent_finn")
    task = crew.add("One")
    path = f"{crew.path}/tasks/{task}"
    assert finn.get(path).status_code == 404
    crew.client.post(f"{crew.path}/agents", json={"agentId": "finn"})
    assert finn.get(path).status_code == 200
    assert finn.get(f"{crew.path}/ready-tasks").json["tasks"][0]["id"] == task
    assert finn.post(f"{path}/claim", json={"agentId": "eric"}).status_code == 403
    assert finn.post(f"{path}/claim", json={"agentId": "finn"}).status_code == 200
    forced = finn.post(f"{path}/transition", json={"status": "done", "force": True})
    assert forced.status_code == 403
    assert finn.post(f"{path}/transition", json={"status": "in_progress"}).status_code == 200
    assert finn.put(path, json={"title": "x"}).status_code == 403
    assert finn.get(crew.path).status_code == 403
