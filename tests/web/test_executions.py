"""Work on tasks over HTTP: execute, plan, import."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from models.base import db
from models.board import TaskRun
from models.projects import Project
from models.runs import Run
from tasks import board_swarms, executors, outcomes
from tests.web.boards import Crew
from tests.web.test_boards import told

Work = Callable[..., int]


@pytest.fixture
def crew(owner: FlaskClient) -> Crew:
    made = Crew(owner)
    owner.put(made.path, json={"defaultPipelineId": "bugfix"})
    return made


def test_a_run_works_on_a_task_and_its_end_moves_the_task(crew: Crew, work: Work):
    first, second = crew.add("Fix the login"), crew.add("Second")
    crew.wait(second, first)
    begun = crew.post(first, "execute", context="It is urgent").json
    assert (begun["status"], begun["pipeline_id"]) == ("executing", "bugfix")
    task = crew.task(first)
    assert (task["status"], task["run_id"]) == ("in_progress", begun["run_id"])
    assert task["metadata"]["git_branch"].startswith(f"feat/{first}-fix-the-login")
    run = crew.client.get(f"/v1/runs/{begun['run_id']}").json
    assert (run["project_id"], run["task_id"]) == (crew.id, first)
    assert run["task_branch"] == task["metadata"]["git_branch"]
    assert "Fix the login" in run["task"]
    again = crew.post(first, "execute")
    assert again.status_code == 409
    assert told("task_execution_started")[0]["data"]["runId"] == begun["run_id"]
    assert crew.client.delete(f"{crew.path}/tasks/{first}").status_code == 409
    work()
    task = crew.task(first)
    assert (task["status"], task["run_id"]) == ("done", None)
    assert crew.status(second) == "ready"
    (entry,) = task["run_history"]
    assert (entry["status"], entry["run_id"]) == ("completed", begun["run_id"])


def test_a_cancelled_run_gives_the_task_back(crew: Crew):
    task = crew.add("One")
    run = crew.post(task, "execute").json["run_id"]
    crew.client.post(f"/v1/runs/{run}/cancel")
    assert (crew.status(task), crew.task(task)["run_id"]) == ("ready", None)
    assert crew.post(task, "execute").status_code == 200
    history = crew.task(task)["run_history"]
    assert sorted(entry["status"] for entry in history) == ["cancelled", "running"]


def test_a_failed_run_fails_the_task_and_a_restart_takes_it_up_again(crew: Crew, work: Work):
    first, second = crew.add("First"), crew.add("Second")
    crew.wait(second, first)
    run = crew.post(first, "execute", modelOverride="nobody/nothing").json["run_id"]
    work()
    assert crew.client.get(f"/v1/runs/{run}").json["status"] == "failed"
    assert (crew.status(first), crew.status(second)) == ("failed", "blocked")
    crew.client.post(f"/v1/runs/{run}/restart")
    assert (crew.status(first), crew.status(second)) == ("in_progress", "backlog")
    assert crew.task(first)["run_id"] == run
    work()
    assert (crew.status(first), crew.status(second)) == ("failed", "blocked")


def test_a_restart_leaves_a_task_alone_that_others_work_on(crew: Crew):
    task = crew.add("One")
    old = crew.post(task, "execute").json["run_id"]
    crew.client.post(f"/v1/runs/{old}/cancel")
    new = crew.post(task, "execute").json["run_id"]
    crew.client.post(f"/v1/runs/{old}/restart")
    assert crew.task(task)["run_id"] == new
    crew.client.post(f"/v1/runs/{old}/cancel")
    assert crew.task(task)["run_id"] == new


def test_what_fails_upstream_leaves_work_under_way_alone_until_it_ends(crew: Crew):
    first, second = crew.add("First"), crew.add("Second")
    run = crew.post(second, "execute").json["run_id"]
    crew.wait(second, first)
    crew.to(first, "failed")
    assert crew.status(second) == "in_progress"
    crew.client.post(f"/v1/runs/{run}/cancel")
    assert crew.status(second) == "blocked"


def test_which_pipeline_works_is_asked_from_near_to_far(crew: Crew):
    def workflow(**form: Any) -> str:
        body = {"name": "x", **form}
        return crew.client.post(f"{crew.path}/workflows", json=body).json["id"]

    named = workflow(pipelineId="feature")
    task = crew.add("One", workflowId=named)
    assert crew.task(task)["pipeline_id"] == "feature"

    def works(**body: Any) -> str:
        answer = crew.post(task, "execute", **body).json
        crew.client.post(f"/v1/runs/{answer['run_id']}/cancel")
        return answer["pipeline_id"]

    assert works(pipelineId="engineering") == "engineering"
    assert works(workflowId=workflow(pipelineId="resolve")) == "resolve"
    assert works() == "feature"
    assert crew.post(task, "execute", pipelineId="none").status_code == 404
    assert crew.post(task, "execute", workflowId="none").status_code == 404
    bare = Crew(crew.client, templateId="kanban-simple")
    lonely = bare.add("Lonely")
    assert bare.post(lonely, "execute").status_code == 400
    usual = {"name": "y", "pipelineId": "bugfix", "isDefault": True}
    bare.client.post(f"{bare.path}/workflows", json=usual)
    assert bare.post(lonely, "execute").json["pipeline_id"] == "bugfix"


def test_one_agent_alone_works_on_a_task(crew: Crew, work: Work):
    task = crew.add("One")
    begun = crew.post(task, "execute-agent", agentId="finn").json
    assert (begun["pipeline_id"], begun["agent_id"]) == ("execute", "finn")
    assert crew.task(task)["assigned_agent"] == "finn"
    work()
    assert crew.status(task) in {"done", "failed"}
    assert crew.task(task)["run_history"][0]["status"] != "running"
    assert crew.post(crew.add("x"), "execute-agent", agentId="nobody").status_code == 404


def test_nobody_spends_another_persons_keys(crew: Crew, admin: FlaskClient):
    task = crew.add("One")
    assert crew.post(task, "execute", keyUserId="usr_teammate").status_code == 403
    path = f"{crew.path}/key-user"
    assert crew.client.put(path, json={"key_user_id": "usr_teammate"}).status_code == 403
    assert admin.put(path, json={"key_user_id": "usr_teammate"}).status_code == 200
    assert crew.client.get(path).json["key_user_id"] == "usr_teammate"
    assert crew.post(task, "execute", keyUserId="usr_teammate").status_code == 200


def test_all_that_is_ready_is_executed_and_what_is_not_says_why(crew: Crew):
    tasks = [crew.add(f"Task {number}", priority=f"P{number}") for number in range(4)]
    for task in tasks[:2]:
        crew.client.put(f"{crew.path}/tasks/{task}", json={"assignedAgent": "finn"})
    answer = crew.client.post(f"{crew.path}/execute-ready?max_tasks=2").json
    assert (answer["status"], answer["executed"], answer["skipped"]) == ("executed", 2, 1)
    assert [each["task_id"] for each in answer["tasks"]] == [tasks[0], tasks[2]]
    assert answer["skipped_tasks"][0]["task_id"] == tasks[1]
    assert crew.client.post(f"{crew.path}/execute-ready?max_tasks=0").status_code == 422


@pytest.mark.parametrize("tags", [5, None, "bug", {"bug": 1}, [["bug"], {}, 5]])
def test_a_filter_that_makes_no_sense_chooses_nothing(crew: Crew, tags: Any):
    form = {"name": "x", "pipelineId": "feature", "taskFilter": {"tags": tags}}
    assert crew.client.post(f"{crew.path}/workflows", json=form).status_code == 200
    task = crew.add("One", tags=["bug"])
    answer = crew.client.post(f"{crew.path}/execute-ready").json
    (begun,) = answer["tasks"]
    assert (begun["task_id"], begun["pipeline_id"] == "feature") == (task, False)


def test_a_plan_of_agents_comes_on_the_board_with_the_end_of_its_run(crew: Crew):
    begun = crew.client.post(f"{crew.path}/plan", json={"context": "Small steps"}).json
    assert begun["status"] == "planning_started"
    run = crew.client.get(f"/v1/runs/{begun['run_id']}").json
    assert json.loads(run["human_context"])["additional_context"] == "Small steps"
    tasks = [
        {"key": "T1", "title": "Login", "priority": "P0", "acceptance_criteria": ["It opens"]},
        {"key": "T2", "title": "Profile", "dependencies": ["T1", "Nobody at all"]},
        {"key": "T3", "title": "Round", "dependencies": ["T4"]},
        {"key": "T4", "title": "Square", "dependencies": ["T3"]},
        {"title": ""},
    ]
    subtasks = [{"key": "T1.1", "parent_key": "T1", "title": "The form", "estimated_hours": 2}]
    outputs = {
        "validated_tasks_json": json.dumps({"tasks": tasks}),
        "final_subtasks_json": json.dumps(subtasks),
    }
    with db.connection_context():
        for _ in range(2):  # told twice, done once
            with db.atomic():
                ended = Run.locked(begun["run_id"])
                ended.state, ended.outputs = "completed", outputs
                outcomes.run_ended(ended)
    board = crew.board
    found = {task["title"]: task for task in board["tasks"]}
    assert set(found) == {"Login", "Profile", "Round", "Square", "The form"}
    assert found["The form"]["parent_task_id"] == found["Login"]["id"]
    assert found["Login"]["description"] == "Done when:\n- It opens"
    assert (found["The form"]["status"], found["Profile"]["status"]) == ("ready", "backlog")
    assert len(board["dependencies"]) == 2
    (event,) = told("project_planning_completed")
    assert event["data"]["tasksCreated"] == 5


def test_whatever_agents_answer_their_run_ends(crew: Crew):
    begun = crew.client.post(f"{crew.path}/plan").json["run_id"]
    nonsense = ("", "nonsense", "[1, 2]", '{"tasks": 3}', "[" * 100_000, '[{"title": 3}]')
    unstorable = (
        r'[{"title": "half \ud83d", "description": "\ud83d"}]',
        r'[{"title": "a\u0000b"}]',
    )
    deep = '[{"title": "x", "description": ' + "[" * 900 + "]" * 900 + "}]"
    numbers = ("1e-300", "1e999", "NaN", "9" * 400, "9" * 5000)
    hours = [f'[{{"title": "x", "estimated_hours": {each}}}]' for each in numbers]
    for answer in (*nonsense, *unstorable, deep, *hours):
        with db.connection_context(), db.atomic() as trial:
            run = Run.locked(begun)
            run.state, run.outputs = "completed", {"validated_tasks_json": answer}
            outcomes.run_ended(run)
            trial.rollback()


def test_a_plan_is_imported_whole_or_not_at_all(crew: Crew):
    tasks = [
        {"title": "Login page", "tags": ["ui"], "estimatedHours": 3},
        {"title": "Profile page", "dependencies": ["login pge", "Gibberish"], "priority": "P1"},
    ]
    answer = crew.client.post(f"{crew.path}/import", json={"tasks": tasks}).json
    assert (answer["tasks_created"], answer["dependencies_created"]) == (2, 1)
    assert answer["skipped_dependencies"] == ["Profile page: Gibberish"]
    assert set(answer["title_to_id"]) == {"Login page", "Profile page"}
    found = {task["title"]: task for task in crew.board["tasks"]}
    assert (found["Login page"]["status"], found["Profile page"]["status"]) == ("ready", "backlog")
    assert found["Login page"]["work_type"] == "design"
    round_about = [
        {"title": "Chicken", "dependencies": ["Egg"]},
        {"title": "Egg", "dependencies": ["Chicken"]},
    ]
    refused = crew.client.post(f"{crew.path}/import", json={"tasks": round_about})
    assert refused.status_code == 400
    assert len(crew.board["tasks"]) == 2


def test_reflowing_puts_what_waits_to_the_start_and_what_is_free_on_ready(crew: Crew):
    first, second = crew.add("First"), crew.add("Second")
    crew.wait(second, first)
    crew.to(second, "ready", force=True)
    crew.to(first, "backlog")
    assert crew.client.post(f"{crew.path}/reflow-planning").json == {"moved": 1, "promoted": 1}
    assert (crew.status(first), crew.status(second)) == ("ready", "backlog")


def test_graph_and_timeline_know_the_longest_way(crew: Crew):
    first, second, side = (
        crew.add("First", estimatedHours=8),
        crew.add("Second", estimatedHours=16),
        crew.add("Side"),
    )
    crew.wait(second, first)
    graph = crew.client.get(f"{crew.path}/dependency-graph").json
    assert graph["critical_path"] == [first, second]
    assert graph["topological_order"].index(first) < graph["topological_order"].index(second)
    line = crew.client.get(f"{crew.path}/timeline?hours_per_day=8").json
    assert (line["total_hours"], line["total_days"]) == (24, 3)
    found = {task["id"]: task for task in line["tasks"]}
    day = 24 * 60 * 60 * 1000
    assert found[second]["scheduled_start"] == line["project_start"] + day
    assert line["project_end"] == line["project_start"] + 3 * day
    assert (found[side]["is_critical"], found[side]["estimated_hours"]) == (False, 4)
    assert crew.client.get(f"{crew.path}/timeline?hours_per_day=0").status_code == 422


def test_an_engine_elsewhere_says_how_a_run_ended(crew: Crew, engine: FlaskClient):
    task = crew.add("One")
    run = crew.post(task, "execute").json["run_id"]
    path = f"{crew.path}/tasks/{task}/run-completed"
    assert crew.client.post(f"{path}?run_id={run}&status=completed").status_code == 403
    ours = engine.post(f"{path}?run_id={run}&status=completed").json
    assert (ours["status"], "still pending" in ours["reason"]) == ("ignored", True)
    other = engine.post(f"{path}?run_id=run_x&status=completed").json
    assert other["status"] == "ignored"
    with db.connection_context():
        assert TaskRun.select().count() == 1
    assert crew.task(task)["run_id"] == run


def test_a_swarm_works_through_the_board_and_its_executors_move_the_tasks(
    crew: Crew, work: Work, stranger: FlaskClient
):
    first, second, outside = crew.add("First"), crew.add("Second"), crew.add("Outside")
    crew.wait(second, first)
    crew.to(outside, "in_progress")
    parent = crew.add("Parent")
    part = crew.add("Part", parentTaskId=parent)
    crew.wait(part, outside)
    chosen = {"taskIds": [first, second, part, parent]}
    told = crew.client.post(f"{crew.path}/swarm-preview", json=chosen).json
    assert [each["key"] for each in told["tasks"]] == [first, second]
    assert (told["root_tasks"], told["max_depth"]) == ([first], 1)
    assert [each["task_id"] for each in told["skipped_tasks"]] == [part]
    begun = crew.client.post(f"{crew.path}/swarm-execute", json={"agentId": "finn", **chosen}).json
    assert begun["status"] == "dispatched"
    work(1)
    assert (crew.status(first), crew.status(second)) == ("in_progress", "backlog")
    work()
    assert (crew.status(first), crew.status(second)) == ("done", "done")
    (swarm,) = crew.client.get(f"{crew.path}/swarms").json["swarms"]
    assert (swarm["swarm_id"], swarm["status"]) == (begun["swarm_id"], "completed")
    assert crew.task(second)["run_history"][0]["status"] == "completed"
    refused = crew.client.post(f"{crew.path}/swarm-execute", json={"agentId": "finn", **chosen})
    assert refused.status_code == 400


def test_a_swarm_of_a_long_board_is_drafted_in_a_few_looks(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
):
    parent = crew.add("Parent")
    tasks = [crew.add(f"Task {number}", parentTaskId=parent) for number in range(12)]
    looks: list[Any] = []
    ask = db.execute_sql
    monkeypatch.setattr(db, "execute_sql", lambda *told: (looks.append(told), ask(*told))[1])
    now = db.now
    monkeypatch.setattr(db, "now", lambda *told: (looks.append(told), now(*told))[1])
    with db.connection_context():
        draft = board_swarms.drafted(Project.get_by_id(crew.id), None)
    assert [each["key"] for each in draft.tasks] == tasks
    assert len(looks) < len(tasks)


def test_a_strangers_executor_moves_no_task_whose_name_it_takes(
    crew: Crew, stranger: FlaskClient, work: Work
):
    task = crew.add("One")
    order = {"agent_id": "finn", "project_id": crew.id, "task_id": task, "execution_prompt": "x"}
    assert stranger.post("/v1/spawn-executor/execute", json=order).status_code == 404
    executors.spawn("usr_stranger", order)
    work()
    assert (crew.status(task), crew.task(task)["run_history"]) == ("ready", [])
