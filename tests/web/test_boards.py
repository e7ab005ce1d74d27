"""Boards over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from models.base import db
from models.outbox import Outbox
from tests.web.boards import Crew

FINISH = ("in_progress", "review", "test", "done")


@pytest.fixture
def crew(owner: FlaskClient) -> Crew:
    return Crew(owner)


def told(kind: str) -> list[dict[str, Any]]:
    with db.connection_context():
        rows = [row.body for row in Outbox.select().order_by(Outbox.id)]
    return [row for row in rows if row.get("type") == kind]


def test_a_project_begins_with_the_usual_board_and_its_policy(crew: Crew, owner: FlaskClient):
    board = crew.board
    assert [column["name"] for column in board["columns"]][:3] == ["Backlog", "Planning", "Planned"]
    assert board["columns"][6]["wip_limit"] == 5
    assert (board["status"], board["default_pipeline_id"]) == ("active", "engineering")
    assert board["workspace_type"] == "git_worktree"
    assert board["tasks"] == board["dependencies"] == board["workflows"] == board["agents"] == []
    policy = owner.get(f"{crew.path}/workflow-policy").json
    assert policy["exists"]
    assert policy["stage_rules"]["docs"][0] == {"stage": "spec", "disposition": "skip"}
    (event,) = told("project_created")
    assert event["data"] == {"projectId": crew.id, "name": "Todo"}
    assert (event["owner"], event["project"]) == ("usr_owner", crew.id)


def test_columns_of_ones_own_mean_first_open_last_done(owner: FlaskClient):
    columns = [
        {"name": "In", "position": 0, "statuses": ["new"]},
        {"name": "Out", "position": 1, "task_statuses": ["gone"], "wipLimit": 1},
    ]
    crew = Crew(owner, columns=columns)
    task = crew.add("One")
    assert crew.status(task) == "new"
    assert crew.to(task, "gone")["next_valid_stages"] is None
    listed = owner.get("/v1/projects").json[0]
    assert (listed["total_tasks"], listed["completed_tasks"]) == (1, 1)
    assert crew.post(crew.add("Two"), "transition", status="gone").status_code == 409


@pytest.mark.parametrize(
    "columns",
    [
        [{"name": "A", "position": 0}],
        [{"position": 0, "statuses": ["a"]}],
        [{"name": "A", "statuses": ["a"]}],
        [{"name": "A", "position": 0, "statuses": ["x" * 33]}],
        [{"name": n, "position": 0, "statuses": ["a"]} for n in "AB"],
        [{"name": "A", "position": "0", "statuses": ["a"]}],
        ["A"],
        [],
    ],
)
def test_columns_that_make_no_board_are_refused(owner: FlaskClient, columns: Any):
    answer = owner.post("/v1/projects", json={"name": "x", "columns": columns})
    assert answer.status_code == 422, answer.text
    assert owner.get("/v1/projects").json[0]["id"] == "proj_shared"


def test_a_task_goes_where_work_waits_and_to_the_end_of_its_column(crew: Crew):
    first, second = crew.add("Fix the login"), crew.add("Write the guide", tags=["docs"])
    tasks = crew.client.get(f"{crew.path}/tasks").json
    assert [task["id"] for task in tasks] == [first, second]
    assert [task["work_type"] for task in tasks] == ["bugfix", "docs"]
    assert [task["status"] for task in tasks] == ["ready", "ready"]
    assert [task["column_position"] for task in tasks] == [0, 1]
    part = crew.add("A part", parentTaskId=first)
    assert crew.status(part) == "backlog"
    assert crew.task(first)["subtasks"][0]["id"] == part
    assert told("task_created")[0]["data"]["title"] == "Fix the login"


def test_tasks_are_found_by_what_they_say(crew: Crew):
    crew.add("One", tags=["api", "db"], priority="P0")
    crew.add("Two", tags=["api"], assignedAgent="yukihiro")
    found = {
        query: len(crew.client.get(f"{crew.path}/tasks?{query}").json)
        for query in ("tag=api", "tag=db", "tag=x", "priority=P0", "agent=yukihiro", "status=ready")
    }
    assert list(found.values()) == [2, 1, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"title": " "}, 422),
        ({"title": "x" * 513}, 422),
        ({"title": "x", "priority": "P9"}, 422),
        ({"title": "x", "workType": "magic"}, 422),
        ({"title": "x", "estimatedHours": "8"}, 422),
        ({"title": "x", "estimatedHours": -1}, 422),
        ({"title": "x", "tags": ["a"] * 51}, 422),
        ({"title": "x", "metadata": {"a": "x" * 70_000}}, 422),
        ({"title": "x", "columnId": "col_none"}, 404),
        ({"title": "x", "parentTaskId": "task_none"}, 404),
        ({"title": "x", "workflowId": "wf_none"}, 404),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(crew: Crew, body: Any, status: int):
    answer = crew.client.post(f"{crew.path}/tasks", json=body)
    assert answer.status_code == status, answer.text
    assert crew.board["tasks"] == []


def test_another_projects_column_and_task_are_not_this_ones(crew: Crew, owner: FlaskClient):
    other = Crew(owner, name="Other")
    theirs = other.add("Theirs")
    assert owner.get(f"{crew.path}/tasks/{theirs}").status_code == 404
    column = other.board["columns"][0]["id"]
    mine = crew.add("Mine")
    assert crew.post(mine, "move", columnId=column).status_code == 404
    assert crew.post(mine, "dependencies", fromTaskId=theirs).status_code == 404


def test_done_work_frees_what_waited_for_all_of_it(crew: Crew):
    first, second, last = crew.add("First"), crew.add("Second"), crew.add("Last")
    crew.wait(last, first, second)
    assert crew.status(last) == "backlog"  # it was ready until it had to wait
    crew.to(first, *FINISH, force=True)
    assert crew.status(last) == "backlog"
    crew.to(second, *FINISH, force=True)
    assert crew.status(last) == "ready"
    moves = [event["data"] for event in told("task_status_changed")]
    assert [(move["toStatus"], move["reason"]) for move in moves if move["taskId"] == last] == [
        ("backlog", "dependencies_unmet"),
        ("ready", "all_dependencies_met"),
    ]
    assert crew.task(first)["completed_at"] is not None


def test_a_failure_blocks_everything_behind_it_and_reopening_frees_it_again(crew: Crew):
    first, second, third = crew.add("First"), crew.add("Second"), crew.add("Third")
    crew.wait(second, first)
    crew.wait(third, second)
    crew.to(second, "planning", force=True)
    crew.to(first, "failed")
    assert (crew.status(second), crew.status(third)) == ("blocked", "blocked")
    crew.to(first, "ready")
    assert (crew.status(second), crew.status(third)) == ("planning", "backlog")


def test_parents_follow_their_parts_all_the_way_up(crew: Crew):
    top = crew.add("Top")
    middle = crew.add("Middle", parentTaskId=top)
    parts = [crew.add(f"Part {number}", parentTaskId=middle) for number in (1, 2)]
    crew.to(parts[0], "in_progress", force=True)
    assert (crew.status(middle), crew.status(top)) == ("in_progress", "in_progress")
    crew.to(parts[0], "done", force=True)
    assert crew.post(middle, "transition", status="done").status_code == 409
    crew.to(parts[1], "done", force=True)
    assert (crew.status(middle), crew.status(top)) == ("done", "done")
    crew.to(parts[1], "ready", force=True)
    assert (crew.status(middle), crew.status(top)) == ("in_progress", "in_progress")


def test_a_circle_is_refused_and_told_by_its_titles(crew: Crew):
    first, second, third = crew.add("A"), crew.add("B"), crew.add("C")
    crew.wait(second, first)
    crew.wait(third, second)
    answer = crew.post(first, "dependencies", fromTaskId=third)
    assert answer.status_code == 400
    assert "A → B → C → A" in answer.json["detail"]
    assert crew.post(first, "dependencies", fromTaskId=first).status_code == 400
    assert crew.post(second, "dependencies", fromTaskId=first).status_code == 400
    part = crew.add("Part of C", parentTaskId=third)
    assert crew.post(part, "dependencies", fromTaskId=third).status_code == 400
    informing = crew.post(first, "dependencies", fromTaskId=third, type="informs")
    assert informing.json["type"] == "informs"
    assert informing.json["from"] == third
    gone = crew.client.delete(f"{crew.path}/tasks/{first}/dependencies/{informing.json['id']}")
    assert gone.json == {"status": "removed"}


def test_a_full_column_takes_nobody_in_whatever_the_way(crew: Crew):
    column = crew.column("In Progress")
    path = f"{crew.path}/columns/{column['id']}"
    assert crew.client.put(path, json={"wipLimit": 1}).json == {"status": "updated"}
    assert crew.client.put(path, json={"wipLimit": 1}).json == {"status": "no changes"}
    first, second = crew.add("First"), crew.add("Second")
    crew.to(first, "in_progress")
    for answer in (
        crew.post(second, "transition", status="in_progress", force=True),
        crew.post(second, "move", columnId=column["id"]),
        crew.client.put(f"{crew.path}/tasks/{second}", json={"status": "in_progress"}),
        crew.client.post(f"{crew.path}/tasks", json={"title": "x", "columnId": column["id"]}),
        crew.post(second, "execute"),
    ):
        assert answer.status_code == 409, answer.text
    assert crew.status(second) == "ready"


def test_work_does_not_begin_before_what_it_waits_for_is_done(crew: Crew):
    first, second = crew.add("First"), crew.add("Second")
    crew.wait(second, first)
    answer = crew.post(second, "transition", status="in_progress")
    assert answer.status_code == 409
    assert "First" in answer.json["detail"]
    assert crew.to(second, "in_progress", force=True)["to_status"] == "in_progress"


def test_moving_makes_room_and_takes_the_columns_first_status(crew: Crew):
    tasks = [crew.add(f"Task {number}") for number in range(3)]
    ready, planning = crew.column("Ready")["id"], crew.column("Planning")["id"]
    moved = crew.post(tasks[2], "move", columnId=ready, position=0).json
    assert moved == {"status": "moved", "column_id": ready, "position": 0}
    assert [task["id"] for task in crew.board["tasks"]] == [tasks[2], tasks[0], tasks[1]]
    crew.post(tasks[0], "move", columnId=planning)
    assert crew.status(tasks[0]) == "planning"
    assert told("task_moved")[0]["data"]["columnId"] == ready


def test_an_unknown_status_names_the_ones_there_are(crew: Crew):
    task = crew.add("One")
    for answer in (
        crew.post(task, "transition", status="gone"),
        crew.client.put(f"{crew.path}/tasks/{task}", json={"status": "gone"}),
    ):
        assert answer.status_code == 400
        assert "backlog, blocked, done" in answer.json["detail"]


def test_the_policy_is_heeded_by_every_way_to_move(crew: Crew):
    docs = crew.add("Write the guide", workType="docs", columnId=crew.column("Backlog")["id"])
    refused = crew.post(docs, "transition", status="ux")
    assert (refused.status_code, "skipped" in refused.json["detail"]) == (400, True)
    assert crew.post(docs, "move", columnId=crew.column("UX")["id"]).status_code == 400
    left = crew.post(docs, "transition", status="done")
    assert left.status_code == 409
    assert "left out: implement" in left.json["detail"]
    assert crew.to(docs, "in_progress")["next_valid_stages"] == ["review", "done"]
    told = crew.to(docs, "review")
    assert told["completed_stages"] == ["spec", "implement"]
    assert told["next_valid_stages"] == ["done"]
    crew.to(docs, "done")
    back = crew.to(docs, "backlog")
    assert back["completed_stages"] == []


def test_a_move_notes_what_was_said_and_wakes_whose_turn_it_is(crew: Crew):
    task = crew.add("Build it", workType="feature")
    crew.to(task, "in_progress", "review", note="ready for eyes")
    notes = crew.task(task)["metadata"]["transition_notes"]
    assert [(note["from"], note["to"], note["note"]) for note in notes][1] == (
        "in_progress",
        "review",
        "ready for eyes",
    )
    assert [event["data"]["agentId"] for event in told("pulse_triggered")] == ["yukihiro", "finn"]


def test_the_same_status_again_changes_and_tells_nothing(crew: Crew):
    task = crew.add("One")
    assert crew.to(task, "ready")["from_status"] == "ready"
    assert told("task_status_changed") == []


def test_a_deleted_task_holds_nobody_up_any_longer(crew: Crew):
    first, second = crew.add("First"), crew.add("Second")
    crew.wait(second, first)
    crew.to(first, "failed")
    assert crew.status(second) == "blocked"
    assert crew.client.delete(f"{crew.path}/tasks/{first}").json == {"status": "deleted"}
    assert crew.status(second) == "ready"
    assert crew.client.delete(f"{crew.path}/tasks/{first}").status_code == 404


def test_null_leaves_what_a_task_says_but_frees_it_of_its_agent(crew: Crew):
    task = crew.add("One", assignedAgent="yukihiro", tags=["a"])
    path = f"{crew.path}/tasks/{task}"
    assert crew.client.put(path, json={"title": None, "tags": ["b"]}).json == {"status": "updated"}
    assert (crew.task(task)["title"], crew.task(task)["tags"]) == ("One", ["b"])
    crew.client.put(path, json={"assignedAgent": ""})
    assert crew.task(task)["assigned_agent"] is None
    assert crew.client.put(path, json={"assignedAgent": "nobody"}).status_code == 404
    crew.client.put(path, json={"spec_review_status": "passed"})
    assert crew.task(task)["spec_review_status"] == "passed"


def test_a_column_with_tasks_stays_and_so_do_their_statuses(crew: Crew):
    crew.add("One")
    path = f"{crew.path}/columns/{crew.column('Ready')['id']}"
    assert crew.client.delete(path).status_code == 400
    assert crew.client.put(path, json={"taskStatuses": ["waiting"]}).status_code == 409
    taken = crew.client.put(path, json={"taskStatuses": ["ready", "done"]})
    assert taken.status_code == 422
    made = crew.client.post(f"{crew.path}/columns", json={"name": "More", "taskStatuses": ["more"]})
    assert made.json["position"] == 11
    assert crew.client.delete(f"{crew.path}/columns/{made.json['id']}").json["status"] == "deleted"
    assert crew.client.put(path, json={"position": 0}).json == {"status": "updated"}


def test_ready_tasks_are_those_that_could_be_begun(crew: Crew):
    low, high = crew.add("Low", priority="P3"), crew.add("High", priority="P0")
    later = crew.add("Later")
    crew.wait(later, high)
    parent = crew.add("Parent")
    part = crew.add("Part", parentTaskId=parent, priority="P1")
    taken = crew.add("Taken", assignedAgent="finn")
    begun = crew.add("Begun")
    crew.wait(low, begun)
    crew.to(begun, "in_progress", force=True)
    path = f"{crew.path}/ready-tasks"
    answer = crew.client.get(path).json
    assert [task["id"] for task in answer["tasks"]] == [high, part, taken]
    assert answer["tasks"][0]["blocking_tasks"][0]["id"] == later
    assert [task["id"] for task in answer["in_progress"]] == [begun]
    assert answer["in_progress"][0]["blocks"][0]["title"] == "Low"
    mine = crew.client.get(f"{path}?agent_id=eric&statuses=ready,nothing").json["tasks"]
    assert [task["id"] for task in mine] == [high]
    crew.wait(parent, begun)  # a part waits with its parent
    assert part not in [task["id"] for task in crew.client.get(path).json["tasks"]]


def test_a_resting_project_gives_nothing_out(crew: Crew):
    task = crew.add("One")
    for status in ("paused", "completed", "archived"):
        crew.client.put(crew.path, json={"status": status})
        assert crew.post(task, "claim", agentId="finn").status_code == 409
        assert crew.post(task, "execute").status_code == 409
    assert crew.board["completed_at"] is None  # it is archived now
    assert crew.client.get("/v1/projects").json[0]["id"] == "proj_shared"
    assert crew.client.get("/v1/projects?status=archived").json[0]["id"] == crew.id


def test_a_number_larger_than_most_readers_know_comes_back_as_it_was(crew: Crew):
    task = crew.add("One", metadata={"atoms": 1e30})
    assert crew.task(task)["metadata"] == crew.board["tasks"][0]["metadata"] == {"atoms": 1e30}


def test_hours_too_short_to_be_kept_are_none(crew: Crew):
    task = crew.add("One", estimatedHours=1e-300)
    assert crew.task(task)["estimated_hours"] == 0
    crew.client.put(f"{crew.path}/tasks/{task}", json={"estimatedHours": 5e-324})
    assert crew.board["tasks"][0]["estimated_hours"] == 0


@pytest.mark.parametrize("kept", [5, "abc", {"a": 1}, [7]])
def test_what_people_wrote_where_notes_are_kept_stands_in_no_ones_way(crew: Crew, kept: Any):
    task = crew.add("One", metadata={"transition_notes": kept})
    crew.to(task, "in_progress", note="on my way")
    notes = crew.task(task)["metadata"]["transition_notes"]
    assert notes[-1]["note"] == "on my way"
    assert notes[:-1] == (kept if isinstance(kept, list) else [])
