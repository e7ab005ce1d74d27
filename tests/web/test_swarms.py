"""Swarms over HTTP."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models.base import db
from models.projects import Project, ProjectMember
from models.swarms import Swarm
from tasks import swarms as commands
from tests.beginning import begun
from tests.conftest import PROJECT
from tests.processes.product import scripted
from tests.web.boards import Crew, planted
from tests.web.listening import Frame, listening

Work = Callable[..., int]


def task(key: str, *dependencies: str, **more: Any) -> dict[str, Any]:
    about = {"title": f"Make {key}", "project_id": PROJECT, "task_id": f"T-{key}"}
    prompt = {"execution_prompt": f"Make {key}", "dependencies": list(dependencies)}
    return {"key": key, **about, **prompt, **more}


DIAMOND = [task("A"), task("B"), task("C", "A", "B"), task("D", "C")]
NO_LADDER = {"error": "no ladder", "details": "looked everywhere"}
GIVES_UP = {"calls": [{"name": "executor_fail", "arguments": NO_LADDER}]}
FAILING = task("A", execution_prompt=scripted("Make A", EXECUTE=[GIVES_UP]))


@pytest.fixture
def ask(owner: FlaskClient) -> Callable[..., Any]:
    planted(PROJECT, *(each["task_id"] for each in DIAMOND))

    def post(*tasks: dict[str, Any], path: str = "/v1/swarm/execute", **form: Any) -> Any:
        headers = form.pop("headers", {})
        body = {"agent_id": "yukihiro", "tasks": list(tasks), **form}
        return owner.post(path, json=body, headers=headers)

    return post


def test_a_swarm_is_there_when_its_post_has_answered(
    ask: Callable[..., Any], owner: FlaskClient, work: Work
):
    answer = ask(*DIAMOND, max_concurrent=2)
    assert answer.status_code == 200
    told = answer.json
    assert (told["status"], told["total_tasks"], told["max_concurrent"]) == ("dispatched", 4, 2)
    assert (told["root_tasks"], told["max_depth"]) == (["A", "B"], 2)
    assert told["progress_channel"] == f"djinnbot:swarm:{told['swarm_id']}:progress"
    state = owner.get(f"/v1/swarm/{told['swarm_id']}").json
    assert (state["status"], state["active_count"], state["total_count"]) == ("pending", 0, 4)
    assert state["summary"] is None
    work()
    state = owner.get(f"/v1/internal/swarm/{told['swarm_id']}/").json
    assert (state["status"], state["completed_count"], state["agent_id"]) == (
        "completed",
        4,
        "yukihiro",
    )
    assert state["summary"]["completed"] == 4
    assert [each["status"] for each in state["tasks"]] == ["completed"] * 4
    assert state["tasks"][2]["dependencies"] == ["A", "B"]
    run = owner.get(f"/v1/runs/{state['tasks'][0]['run_id']}").json
    assert run["id"].startswith("pulse_exec_")
    assert (run["task_id"], run["task_branch"]) == ("T-A", "feat/T-A-make-a")  # alone at it


def test_a_task_of_a_board_is_worked_on_and_merged_at_the_branch_it_has(
    ask: Callable[..., Any], owner: FlaskClient, work: Work
):
    crew = Crew(owner)
    board_task = crew.add("Two halves", metadata={"git_branch": "feature/foo"})
    halves = [task(key, project_id=crew.id, task_id=board_task) for key in "AB"]
    swarm = ask(*halves).json["swarm_id"]
    assert branches_of(owner, swarm) == ["feature/foo-A", "feature/foo-B"]
    work()
    state = owner.get(f"/v1/swarm/{swarm}").json
    assert [report["branch"] for report in state["merges"]] == ["feature/foo"]
    assert crew.task(board_task)["metadata"]["git_branch"] == "feature/foo"


def test_the_branch_of_a_task_that_a_run_is_at_work_on_is_left_to_that_run(
    ask: Callable[..., Any], owner: FlaskClient
):
    crew = Crew(owner)
    board_task = crew.add("One", metadata={"git_branch": "feature/foo"})
    crew.post(board_task, "execute", pipelineId="bugfix")
    swarm = ask(task("A", project_id=crew.id, task_id=board_task)).json["swarm_id"]
    assert branches_of(owner, swarm) == [f"feat/{board_task}-make-a-A"]


def branches_of(client: FlaskClient, swarm_id: str) -> list[str]:
    return [each["branch"] for each in client.get(f"/v1/swarm/{swarm_id}/tasks").json]


def test_swarms_are_listed_under_both_names_newest_first(
    ask: Callable[..., Any], owner: FlaskClient, stranger: FlaskClient
):
    first = ask(task("A")).json["swarm_id"]
    second = ask(task("A"), path="/v1/internal/swarm-execute").json["swarm_id"]
    for path in ("/v1/swarm", "/v1/internal/swarms/"):
        listed = owner.get(path).json["swarms"]
        assert [swarm["swarm_id"] for swarm in listed] == [second, first]
        assert stranger.get(path).json == {"swarms": []}
    assert len(owner.get("/v1/swarm?limit=1").json["swarms"]) == 1
    assert owner.get("/v1/swarm?status=completed").json["swarms"] == []


@pytest.mark.parametrize("swarms", ["/v1/swarm", "/v1/internal/swarm"])
def test_tasks_are_told_by_status_under_both_names(
    ask: Callable[..., Any], owner: FlaskClient, swarms: str
):
    swarm = ask(*DIAMOND).json["swarm_id"]
    path = f"{swarms}/{swarm}/tasks"
    assert [each["key"] for each in owner.get(f"{path}?status=pending").json] == ["C", "D"]
    everything = owner.get(path).json
    assert [each["key"] for each in everything] == ["A", "B", "C", "D"]
    assert everything == owner.get(f"/v1/swarm/{swarm}").json["tasks"]
    assert owner.get(f"{path}?status=lost").status_code == 422


@pytest.mark.parametrize(
    ("form", "where"),
    [
        ({"tasks": []}, "tasks"),
        ({"tasks": [task(f"t{number}") for number in range(21)]}, "tasks"),
        ({"tasks": [task("A"), task("A")]}, "tasks"),
        ({"tasks": [task("A", "B"), task("B", "A")]}, "tasks"),
        ({"tasks": [task("A", "unknown")]}, "tasks"),
        ({"tasks": [task("A", "A")]}, "tasks"),
        ({"tasks": [task("a b")]}, "tasks"),
        ({"tasks": [task("$(reboot)")]}, "tasks"),
        ({"tasks": [task("../../etc")]}, "tasks"),
        ({"tasks": [task("a..b")]}, "tasks"),
        ({"tasks": [task("-rf")]}, "tasks"),
        ({"tasks": [task("x.lock")]}, "tasks"),
        ({"tasks": [task("x\n")]}, "tasks"),
        ({"tasks": [task("x" * 65)]}, "tasks"),
        ({"tasks": [task("A", timeout_seconds=29)]}, "tasks"),
        ({"tasks": [task("A", timeout_seconds=601)]}, "tasks"),
        ({"tasks": [task("A", title=" ")]}, "tasks"),
        ({"max_concurrent": 0}, "max_concurrent"),
        ({"max_concurrent": 9}, "max_concurrent"),
        ({"max_concurrent": True}, "max_concurrent"),
        ({"global_timeout_seconds": 59}, "global_timeout_seconds"),
        ({"global_timeout_seconds": 3601}, "global_timeout_seconds"),
        ({"agent_id": ""}, "agent_id"),
    ],
)
def test_what_cannot_be_done_is_422_and_says_where(
    ask: Callable[..., Any], form: dict[str, Any], where: str
):
    answer = ask(*form.pop("tasks", [task("A")]), **form)
    assert answer.status_code == 422, answer.text
    assert answer.json["errors"][0]["loc"][:2] == ["body", where]
    assert Swarm.select().count() == 0


def test_an_impossible_order_is_told_as_a_dag(ask: Callable[..., Any]):
    answer = ask(task("A", "C"), task("B", "A"), task("C", "B"))
    assert answer.json["detail"] == "Invalid DAG: cycle A -> C -> B -> A"
    answer = ask(task("A", "X"), task("A"))
    assert answer.json["detail"] == (
        'Invalid DAG: task "A" depends on unknown task "X"; duplicate key "A"'
    )


def test_an_unknown_agent_is_404(ask: Callable[..., Any]):
    answer = ask(task("A"), agent_id="nobody")
    assert (answer.status_code, answer.json["detail"]) == (404, "Agent nobody not found")


@pytest.mark.parametrize(
    ("named", "detail"),
    [
        ({"project_id": "typo"}, "Project typo not found"),
        ({"task_id": "typo"}, "Task typo not found"),
        ({"project_id": "elsewhere"}, "Task T-B not found"),
    ],
)
def test_a_task_that_is_not_there_is_404_and_begins_nothing(
    ask: Callable[..., Any], named: dict[str, str], detail: str
):
    """Executors would do its work in files that belong to nobody."""
    Project(id="elsewhere", name="Elsewhere", owner_id="usr_owner").add()
    ProjectMember(project_id="elsewhere", user_id="usr_owner", role="owner").add()
    answer = ask(task("A"), task("B", **named))
    assert (answer.status_code, answer.json["detail"]) == (404, detail)
    assert Swarm.select().count() == 0


def test_a_swarm_is_seen_by_those_who_work_on_its_project(
    ask: Callable[..., Any],
    owner: FlaskClient,
    teammate: FlaskClient,
    stranger: FlaskClient,
    work: Work,
):
    swarm = ask(task("A"), task("B", "A")).json["swarm_id"]
    assert teammate.get(f"/v1/swarm/{swarm}").json == owner.get(f"/v1/swarm/{swarm}").json
    for listed in ("/v1/swarm", f"/v1/projects/{PROJECT}/swarms"):
        assert [each["swarm_id"] for each in teammate.get(listed).json["swarms"]] == [swarm]
    body = {"agent_id": "yukihiro", "tasks": [task("A")]}
    theirs = stranger.post("/v1/swarm/execute", json=body)
    assert (theirs.status_code, theirs.json["detail"]) == (404, f"Project {PROJECT} not found")
    crew = Crew(owner)
    both = [task("A"), task("B", project_id=crew.id, task_id=crew.add("B"))]
    wider = ask(*both).json["swarm_id"]  # of two projects, one of which the teammate is not in
    assert owner.get(f"/v1/swarm/{wider}").status_code == 200
    assert teammate.get(f"/v1/swarm/{wider}").status_code == 404
    with listening(teammate, "/v1/events/stream") as frames:
        _next_comment(frames)
        assert teammate.post(f"/v1/swarm/{swarm}/cancel").status_code == 200
        working = threading.Thread(target=_work, args=(work,))
        working.start()
        heard = (frame.data for frame in frames if frame.event == "message")
        told = next(data for data in heard if data["type"] == "swarm_failed")
        working.join()
    assert told["swarmId"] == swarm


def test_the_same_key_and_body_give_the_same_swarm(ask: Callable[..., Any]):
    key = {"Idempotency-Key": "k1"}
    first = ask(task("A"), headers=key).json
    assert ask(task("A"), headers=key).json == first
    assert ask(dict(reversed(task("A").items())), headers=key).json == first
    assert ask(task("B"), headers=key).status_code == 409
    assert Swarm.select().count() == 1


def test_a_swarm_is_cancelled_once(
    ask: Callable[..., Any], owner: FlaskClient, stranger: FlaskClient, work: Work
):
    swarm = ask(*DIAMOND).json["swarm_id"]
    assert stranger.post(f"/v1/swarm/{swarm}/cancel").status_code == 404
    answer = owner.post(f"/v1/swarm/{swarm}/cancel")
    assert answer.json == {"status": "cancel_requested", "swarm_id": swarm}
    work()
    state = owner.get(f"/v1/swarm/{swarm}").json
    assert (state["status"], state["error"]) == ("cancelled", "Cancelled by a person")
    assert {each["status"] for each in state["tasks"]} == {"cancelled"}
    assert owner.post(f"/v1/internal/swarm/{swarm}/cancel").status_code == 409
    unknown = owner.post("/v1/swarm/none/cancel")
    assert (unknown.status_code, unknown.json["detail"]) == (404, "Swarm none not found")


def test_the_stream_begins_and_ends_with_the_state_and_has_colons_between(
    ask: Callable[..., Any], owner: FlaskClient, work: Work
):
    swarm = ask(task("A"), task("B", "A")).json["swarm_id"]
    first, *rest = followed(owner, swarm, work)
    assert (first.event, first.data["status"]) == ("state", "pending")
    assert [frame.data["type"] for frame in rest[:-1]] == [
        "swarm:task_started",
        "swarm:task_completed",
        "swarm:task_started",
        "swarm:task_completed",
        "swarm:completed",
    ]
    assert rest[0].data["swarmId"] == swarm
    assert rest[0].data["taskKey"] == "A"
    assert rest[1].data["outputs"]["status"] == "success"
    assert rest[4].data["summary"]["completed"] == 2
    assert (rest[-1].event, rest[-1].data["status"]) == ("state", "completed")


def test_the_stream_says_what_failed_what_was_skipped_for_it_and_what_came_of_all(
    ask: Callable[..., Any], owner: FlaskClient, work: Work
):
    swarm = ask(FAILING, task("B", "A")).json["swarm_id"]
    _, *rest, last = followed(owner, swarm, work)
    assert {frame.event for frame in rest} == {"message"}
    started, failed, skipped, ended = (frame.data for frame in rest)
    assert [each.pop("type") for each in (started, failed, skipped, ended)] == [
        "swarm:task_started",
        "swarm:task_failed",
        "swarm:task_skipped",
        "swarm:failed",
    ]
    assert (last.event, last.data["status"]) == ("state", "failed")
    lost, unbegun = last.data["tasks"]
    about = {"swarmId": swarm, "taskKey": "A", "taskTitle": "Make A", "runId": lost["run_id"]}
    assert about.items() <= started.items()
    assert about.items() <= failed.items()
    assert (failed["error"], failed["outputs"]["details"]) == ("no ladder", "looked everywhere")
    assert failed["durationMs"] == lost["completed_at"] - lost["started_at"]
    why = {"taskKey": "B", "taskTitle": "Make B", "reason": "dependency A failed"}
    assert {"swarmId": swarm, **why}.items() <= skipped.items()
    assert ended["swarmId"] == swarm
    assert ended["error"] == "Not every task was completed: A failed, B skipped"
    tally = {"totalTasks": 2, "completed": 0, "failed": 1, "skipped": 1, "cancelled": 0}
    took = {"totalDurationMs": last.data["completed_at"] - last.data["started_at"]}
    results = [
        {"key": "A", "title": "Make A", "status": "failed", "runId": lost["run_id"]}
        | {name: failed[name] for name in ("outputs", "error", "durationMs")},
        {"key": "B", "title": "Make B", "status": "skipped", "error": unbegun["error"]},
    ]
    assert ended["summary"] == {**tally, **took, "taskResults": results}
    assert last.data["summary"] == ended["summary"]
    times = [each["timestamp"] for each in (started, failed, skipped, ended)]
    assert times == sorted(times) and times[0] >= last.data["created_at"]


def test_the_stream_names_no_run_for_a_task_that_got_no_executor(
    ask: Callable[..., Any], owner: FlaskClient, work: Work
):
    swarm = ask(task("A")).json["swarm_id"]
    Swarm.update(agent_id="gone").where(Swarm.id == swarm).execute()
    _, failed, ended, _ = (frame.data for frame in followed(owner, swarm, work))
    assert (failed["type"], failed["taskKey"], failed["runId"]) == ("swarm:task_failed", "A", "")
    assert failed["error"] == "Spawn failed: Agent gone not found"
    assert failed["durationMs"] == 0
    assert (ended["type"], ended["summary"]["failed"]) == ("swarm:failed", 1)


def followed(client: FlaskClient, swarm_id: str, work: Work) -> list[Frame]:
    """All that a swarm's stream says while the swarm is worked off."""
    with listening(client, f"/v1/swarm/{swarm_id}/stream") as frames:
        first = _next(frames)
        working = threading.Thread(target=_work, args=(work,))
        working.start()
        rest = [frame for frame in frames if frame.event != "comment"]
        working.join()
    return [first, *rest]


def test_the_stream_of_an_ended_swarm_is_its_state(
    ask: Callable[..., Any], owner: FlaskClient, stranger: FlaskClient
):
    swarm = ask(task("A")).json["swarm_id"]
    commands.cancel(swarm)
    with listening(owner, f"/v1/internal/swarm/{swarm}/stream") as frames:
        told = [frame for frame in frames if frame.event != "comment"]
    assert [(frame.event, frame.data["status"]) for frame in told] == [("state", "cancelled")]
    assert stranger.get(f"/v1/swarm/{swarm}/stream").status_code == 404


@pytest.mark.parametrize(
    ("orders", "heard"),
    [
        ([task("A")], ["launched", "task_started", "task_complete", "complete"]),
        (
            [FAILING, task("B", "A")],
            ["launched", "task_started", "task_failed", "task_skipped", "failed"],
        ),
    ],
)
def test_the_main_stream_names_swarms_with_underscores(
    ask: Callable[..., Any],
    owner: FlaskClient,
    work: Work,
    orders: list[dict[str, Any]],
    heard: list[str],
):
    with listening(owner, "/v1/events/stream") as frames:
        _next_comment(frames)
        ask(*orders)
        working = threading.Thread(target=_work, args=(work,))
        working.start()
        found: list[dict[str, Any]] = []
        for frame in frames:
            if frame.event == "message" and frame.data["type"].startswith("swarm_"):
                found.append(frame.data)
            if found and found[-1]["type"] in {"swarm_complete", "swarm_failed"}:
                break
        working.join()
    assert [each["type"] for each in found] == [f"swarm_{name}" for name in heard]
    assert found[0]["projectId"] == PROJECT
    assert found[1]["legacyType"] == "swarm:task_started"
    assert found[-1]["summary"]["totalTasks"] == len(orders)


def _work(work: Work) -> None:
    try:
        work()
    finally:
        db.close()


def _next(frames: Iterator[Frame]) -> Frame:
    return next(frame for frame in frames if frame.event != "comment")


def _next_comment(frames: Iterator[Frame]) -> Frame:
    return next(frame for frame in frames if frame.event == "comment")


def test_active_are_those_that_executors_work_on(
    ask: Callable[..., Any], owner: FlaskClient, work: Work
):
    swarm = ask(*DIAMOND, max_concurrent=1).json["swarm_id"]
    work(1)
    state = owner.get(f"/v1/swarm/{swarm}").json
    assert [each["status"] for each in state["tasks"]][:2] == ["running", "ready"]
    assert state["active_count"] == 1


def test_a_task_says_that_its_run_is_paused_and_why(
    ask: Callable[..., Any], owner: FlaskClient, work: Work
):
    swarm = ask(task("A")).json["swarm_id"]
    work(1)
    path = f"/v1/swarm/{swarm}/tasks"
    (working,) = owner.get(path).json
    begun(working["run_id"])
    assert (working["status"], working["pause_reason"]) == ("running", None)
    assert owner.post(f"/v1/runs/{working['run_id']}/pause").json["status"] == "paused"
    (paused,) = owner.get(path).json
    assert (paused["status"], paused["pause_reason"]) == ("running", "asked")
    work()
    assert owner.get(f"/v1/swarm/{swarm}").json["tasks"] == [paused]
    owner.post(f"/v1/runs/{working['run_id']}/resume")
    work()
    (done,) = owner.get(path).json
    assert (done["status"], done["pause_reason"]) == ("completed", None)


def test_a_swarm_whose_branches_are_merged_is_still_running(
    ask: Callable[..., Any], owner: FlaskClient
):
    swarm = Swarm.get_by_id(ask(task("A")).json["swarm_id"])
    swarm.move("running").move("merging")
    (told,) = owner.get("/v1/swarm?status=running").json["swarms"]
    assert (told["swarm_id"], told["status"]) == (swarm.id, "running")
    assert owner.get("/v1/swarm?status=merging").status_code == 422


@pytest.mark.parametrize(
    ("path", "unread"),
    [
        ("/v1/swarm", ("execution_prompt", "deviation_rules")),
        ("/v1/projects/p1/tasks/T-A/executor-runs", ("human_context", '"task"')),
        ("/v1/internal/run-history", ("human_context", '"task"')),
    ],
)
def test_lists_read_no_long_text_that_they_do_not_show(
    ask: Callable[..., Any],
    owner: FlaskClient,
    work: Work,
    caplog: pytest.LogCaptureFixture,
    path: str,
    unread: tuple[str, ...],
):
    ask(task("A"))
    work(1)
    with caplog.at_level(logging.DEBUG, "peewee"):
        assert owner.get(path).json
    asked = [record.getMessage() for record in caplog.records if record.name == "peewee"]
    assert asked and not [text for text in asked for name in unread if name in text]


def test_a_stream_whose_last_event_was_lost_ends_all_the_same(
    app: Flask, ask: Callable[..., Any], owner: FlaskClient
):
    app.extensions["feed"].recheck_seconds = 0.1
    swarm = ask(task("A")).json["swarm_id"]
    with listening(owner, f"/v1/swarm/{swarm}/stream") as frames:
        assert next(frames).comment == "connected"
        assert next(frames).data["status"] == "pending"
        commands.cancel(swarm)
        with db.connection_context():
            db.execute_sql("DELETE FROM outbox")  # as when Redis was emptied on the way
        told = [frame for frame in frames if frame.comment is None]
    assert [(frame.event, frame.data["status"]) for frame in told] == [("state", "cancelled")]
