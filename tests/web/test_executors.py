"""Executors and the history of runs over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from models.agents import Agent
from models.base import db
from models.board import Task
from models.projects import ProjectMember
from models.runs import Run
from models.steps import Step
from tasks import executors
from tests.conftest import PROJECT
from tests.processes.product import scripted
from tests.web.boards import planted

Work = Callable[..., int]
ORDER = {
    "agent_id": "yukihiro",
    "project_id": PROJECT,
    "task_id": "T1",
    "execution_prompt": "Mend the roof",
}


@pytest.fixture(autouse=True)
def board(owner: FlaskClient) -> None:
    planted(PROJECT, "T1", "T2")


def spawn(client: FlaskClient, path: str = "/v1/spawn-executor/execute", **more: Any) -> Any:
    headers = more.pop("headers", {})
    return client.post(path, json={**ORDER, **more}, headers=headers)


def test_an_executor_carries_out_its_order_and_reports(owner: FlaskClient, work: Work):
    told = spawn(owner).json
    assert told["run_id"].startswith("pulse_exec_")
    assert {**told, "run_id": ""} == {
        "run_id": "",
        "status": "dispatched",
        "pipeline_id": "execute",
        "model": "default",
        "memory_injection": False,
    }
    before = owner.get(f"/v1/spawn-executor/{told['run_id']}").json
    assert (before["status"], before["success"], before["duration_ms"]) == ("pending", None, None)
    work()
    done = owner.get(f"/v1/spawn-executor/{told['run_id']}/").json
    assert (done["status"], done["success"], done["error"]) == ("completed", True, None)
    assert done["outputs"]["status"] == "success"
    assert done["outputs"]["deviations"] == ""
    assert "src/" in done["outputs"]["files_changed"]
    assert done["outputs"]["commit_hashes"]
    assert done["summary"] == done["outputs"]["summary"]
    assert (done["agent_id"], done["task_branch"]) == ("yukihiro", "feat/T1-t1")
    assert done["duration_ms"] >= 0
    run = owner.get(f"/v1/runs/{told['run_id']}").json
    assert (run["status"], run["pipeline_id"], run["project_id"]) == (
        "completed",
        "execute",
        PROJECT,
    )
    assert [step["step_id"] for step in run["steps"]] == ["EXECUTE"]
    (session,) = owner.get("/v1/sessions").json["sessions"]
    assert (session["source"], session["run_id"]) == ("executor", told["run_id"])


def test_an_order_that_cannot_be_carried_out_fails_with_its_report(owner: FlaskClient, work: Work):
    told = {"error": "no ladder", "details": "looked everywhere", "blocked_by": "the shop"}
    failing = {"calls": [{"name": "executor_fail", "arguments": told}]}
    prompt = scripted("Mend it", EXECUTE=[failing])
    run = spawn(owner, "/v1/internal/spawn-executor", execution_prompt=prompt).json["run_id"]
    work()
    done = owner.get(f"/v1/spawn-executor/{run}").json
    assert (done["status"], done["success"], done["error"]) == ("failed", False, "no ladder")
    assert {key: done["outputs"][key] for key in told} == told
    assert owner.get(f"/v1/runs/{run}").json["outputs"]["details"] == "looked everywhere"
    assert Step.select().where(Step.run == run).count() == 1


def test_last_words_stand_for_a_report(owner: FlaskClient, work: Work):
    prompt = scripted("Mend it", EXECUTE=[{"text": "I looked at it, all is well."}])
    run = spawn(owner, execution_prompt=prompt).json["run_id"]
    work()
    done = owner.get(f"/v1/spawn-executor/{run}").json
    assert (done["status"], done["outputs"]["raw_output"]) == (
        "completed",
        "I looked at it, all is well.",
    )


def test_the_rules_for_deviations_are_in_the_system_prompt(owner: FlaskClient, work: Work):
    run = spawn(owner, deviation_rules="Never touch the chimney.").json["run_id"]
    work()
    (opening,) = db.execute_sql(
        "SELECT response->'messages'->0 FROM ledger JOIN steps ON steps.id = execution_id"
        " WHERE run_id = %s AND seq = 0",
        (run,),
    ).fetchone()
    system = opening["parts"][0]["text"]
    order, _, skills = system.partition("\n\n# SKILLS\n")
    assert order.endswith("Never touch the chimney.")
    assert skills
    assert "At most three attempts" in system
    assert "`executor_complete`" in system
    assert "`complete`" not in system


@pytest.mark.parametrize(
    ("override", "own", "executors", "works"),
    [
        ("scripted/demo", "a/b", "c/d", "scripted/demo"),
        (None, "a/b", "scripted/demo", "scripted/demo"),
        (None, "scripted/demo", None, "scripted/demo"),
        (None, None, None, "scripted/demo"),
    ],
)
def test_the_order_names_the_model_before_the_agent_does(
    owner: FlaskClient, work: Work, override: str, own: str, executors: str, works: str
):
    config = {"model": own, "executor_model": executors}
    Agent.update(config=config, shipped=False).where(Agent.id == "yukihiro").execute()
    run = spawn(owner, model_override=override).json["run_id"]
    work()
    (step,) = Step.select().where(Step.run == run)
    assert step.model_used == works


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout_seconds": 29},
        {"timeout_seconds": 601},
        {"timeout_seconds": "300"},
        {"execution_prompt": " "},
        {"task_id": ""},
        {"swarm_task_key": "a b"},
    ],
)
def test_orders_that_do_not_fit_are_422(owner: FlaskClient, wrong: dict[str, Any]):
    answer = spawn(owner, **wrong)
    assert answer.status_code == 422
    assert answer.json["errors"][0]["loc"][1] == next(iter(wrong))
    assert Run.select().count() == 0


def test_an_unknown_agent_or_executor_is_404(owner: FlaskClient, stranger: FlaskClient):
    assert spawn(owner, agent_id="nobody").json["detail"] == "Agent nobody not found"
    run = owner.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "x"}).json["id"]
    assert owner.get(f"/v1/spawn-executor/{run}").status_code == 404
    mine = spawn(owner).json["run_id"]
    assert stranger.get(f"/v1/spawn-executor/{mine}").status_code == 404


TASK = f"/v1/projects/{PROJECT}/tasks/T1"
ROOF = "Mend the roof of the old house by the lake"
ROOF_BRANCH = "feat/T1-mend-the-roof-of-the-old-house-by-the-la"  # 40 characters of the title


def named(client: FlaskClient, run: str) -> str:
    """The branch that an executor works on."""
    return client.get(f"/v1/spawn-executor/{run}").json["task_branch"]


def test_the_first_executor_of_a_task_names_its_branch_and_later_ones_go_on_with_that(
    owner: FlaskClient, work: Work
):
    owner.put(TASK, json={"title": ROOF})
    assert named(owner, spawn(owner).json["run_id"]) == ROOF_BRANCH
    assert owner.get(TASK).json["metadata"]["git_branch"] == ROOF_BRANCH
    work()
    owner.put(TASK, json={"title": "Mend something else"})
    owner.post(f"{TASK}/transition", json={"status": "ready"})
    assert named(owner, spawn(owner).json["run_id"]) == ROOF_BRANCH


@pytest.mark.parametrize("status", ["ready", "done"])
def test_the_branch_that_a_task_has_is_used_whether_or_not_the_executor_takes_the_task(
    owner: FlaskClient, status: str
):
    with db.connection_context():
        Task.update(metadata={"git_branch": "topic/roof"}, status=status).execute()
    assert named(owner, spawn(owner).json["run_id"]) == "topic/roof"
    assert owner.get(TASK).json["metadata"]["git_branch"] == "topic/roof"


@pytest.mark.parametrize("key", [None, "B"])
def test_the_branch_of_a_task_that_is_not_to_be_begun_is_called_after_its_title_and_stays_so(
    owner: FlaskClient, key: str | None
):
    owner.put(TASK, json={"title": ROOF})
    with db.connection_context():
        Task.update(status="done").execute()
    first = spawn(owner, **({"swarm_task_key": key} if key else {})).json["run_id"]
    assert named(owner, first) == (f"{ROOF_BRANCH}-{key}" if key else ROOF_BRANCH)
    shown = owner.get(TASK).json
    assert (shown["run_id"], shown["metadata"]["git_branch"]) == (None, ROOF_BRANCH)
    owner.put(TASK, json={"title": "Mend something else"})
    assert named(owner, spawn(owner).json["run_id"]) == ROOF_BRANCH


def test_an_executor_with_a_key_works_beside_the_branch_of_a_task_that_another_one_has(
    owner: FlaskClient,
):
    owner.put(TASK, json={"title": ROOF})
    first = spawn(owner).json["run_id"]
    beside = [spawn(owner, swarm_task_key=key).json["run_id"] for key in ("B", "C.1")]
    assert named(owner, first) == ROOF_BRANCH
    assert [named(owner, run) for run in beside] == [f"{ROOF_BRANCH}-B", f"{ROOF_BRANCH}-C.1"]
    shown = owner.get(TASK).json
    assert (shown["run_id"], shown["metadata"]["git_branch"]) == (first, ROOF_BRANCH)


@pytest.mark.parametrize("branch", [None, "topic/roof"])
def test_an_executor_with_a_key_that_takes_the_task_itself_works_on_its_whole_branch(
    owner: FlaskClient, branch: str | None
):
    """As the first of a swarm does, into whose branch the others' are merged."""
    owner.put(TASK, json={"title": ROOF})
    if branch:
        with db.connection_context():
            Task.update(metadata={"git_branch": branch}).execute()
    run = spawn(owner, swarm_task_key="A").json["run_id"]
    assert named(owner, run) == (branch or ROOF_BRANCH)
    assert owner.get(TASK).json["metadata"]["git_branch"] == (branch or ROOF_BRANCH)


def test_the_same_key_and_order_give_the_same_executor(owner: FlaskClient):
    key = {"Idempotency-Key": "k"}
    first = spawn(owner, headers=key).json
    assert spawn(owner, headers=key).json == first
    assert spawn(owner, headers=key, task_id="T2").status_code == 409
    assert Run.select().count() == 1


def test_who_waits_is_answered_when_the_executor_is_done(owner: FlaskClient, work: Work):
    run = spawn(owner).json["run_id"]
    began = time.monotonic()
    early = owner.get(f"/v1/spawn-executor/{run}?wait=0.3").json
    assert (early["status"], time.monotonic() - began >= 0.3) == ("pending", True)

    def later() -> None:
        time.sleep(0.3)
        work()
        db.close()

    working = threading.Thread(target=later)
    working.start()
    done = owner.get(f"/v1/spawn-executor/{run}?wait=20").json
    working.join()
    assert done["status"] == "completed"
    assert owner.get(f"/v1/spawn-executor/{run}?wait=31").status_code == 422


@pytest.mark.slow
def test_who_is_put_out_of_the_project_while_waiting_hears_what_a_stranger_hears(
    owner: FlaskClient, teammate: FlaskClient
):
    run = spawn(owner).json["run_id"]
    assert teammate.get(f"/v1/spawn-executor/{run}").status_code == 200

    def put_out() -> None:
        time.sleep(0.3)
        with db.connection_context():
            ProjectMember.delete().where(ProjectMember.user == "usr_teammate").execute()

    leaving = threading.Thread(target=put_out)
    leaving.start()
    answer = teammate.get(f"/v1/spawn-executor/{run}?wait=2")
    leaving.join()
    assert (answer.status_code, answer.json["detail"]) == (404, f"Run {run} not found")


def test_the_executors_of_a_task_are_listed_newest_first(owner: FlaskClient, stranger: FlaskClient):
    runs = [spawn(owner).json["run_id"] for _ in range(3)]
    spawn(owner, task_id="T2")
    for path in (f"/v1/runs/projects/{PROJECT}/tasks/T1", f"/v1/projects/{PROJECT}/tasks/T1"):
        told = owner.get(f"{path}/executor-runs?limit=2").json
        assert (told["task_id"], told["project_id"], told["count"]) == ("T1", PROJECT, 2)
        assert [run["run_id"] for run in told["runs"]] == runs[:0:-1]
        assert stranger.get(f"{path}/executor-runs").json["runs"] == []


def test_the_history_has_what_runs_and_their_steps_came_to(
    owner: FlaskClient, stranger: FlaskClient, work: Work
):
    executor = spawn(owner).json["run_id"]
    pipeline = owner.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "x"}).json["id"]
    work()
    waiting = spawn(owner, task_id="T2").json["run_id"]
    told = owner.get("/v1/internal/run-history").json
    assert [run["run_id"] for run in told["runs"]] == [waiting, pipeline, executor]
    assert (told["total"], told["has_more"]) == (3, False)
    last = told["runs"][2]
    assert last["metadata"]["planner_agent_id"] == "yukihiro"
    assert last["metadata"]["timeout_seconds"] == 300
    assert (last["steps"][0]["step_id"], last["steps"][0]["status"]) == ("EXECUTE", "completed")
    assert last["duration_ms"] >= 0
    assert told["runs"][1]["metadata"] is None
    assert [step["step_id"] for step in told["runs"][1]["steps"]] == ["FIX", "VALIDATE"]

    def found(**query: Any) -> list[str]:
        answer = owner.get("/v1/internal/run-history", query_string=query)
        return [run["run_id"] for run in answer.json["runs"]]

    assert found(task_id="T1") == [executor]
    assert found(project_id=PROJECT) == [waiting, executor]
    assert found(agent_id="yukihiro") == [waiting, pipeline, executor]
    assert found(agent_id="holt") == []
    assert found(status="terminal") == [pipeline, executor]
    assert found(status="pending") == [waiting]
    assert found(since=2**50) == []
    short = owner.get("/v1/internal/run-history?limit=1&include_steps=false").json
    assert (short["total"], short["has_more"], short["runs"][0]["steps"]) == (1, True, [])
    assert owner.get("/v1/internal/run-history?limit=51").status_code == 422
    assert owner.get("/v1/internal/run-history?status=odd").status_code == 422
    assert stranger.get("/v1/internal/run-history").json["runs"] == []
    owner.post(f"/v1/runs/{pipeline}/restart")
    anew = owner.get("/v1/internal/run-history").json["runs"][1]
    assert (anew["run_id"], anew["steps"]) == (pipeline, [])  # those of before count no more


def test_a_task_that_the_caller_does_not_see_is_404(owner: FlaskClient, stranger: FlaskClient):
    """Whether it is there or not; its executor would do its work in files of nobody."""
    for client, named, detail in (
        (stranger, {}, f"Project {PROJECT} not found"),
        (owner, {"project_id": "typo"}, "Project typo not found"),
        (owner, {"task_id": "typo"}, "Task typo not found"),
    ):
        answer = spawn(client, **named)
        assert (answer.status_code, answer.json["detail"]) == (404, detail)
    assert Run.select().count() == 0


def test_what_an_agent_labels_with_a_foreign_project_is_none_of_its_runs(
    owner: FlaskClient, stranger: FlaskClient, work: Work
):
    """An agent may name what it likes; the project's people and agents read what is theirs."""
    foreign = executors.spawn("usr_stranger", ORDER).id
    mine = spawn(owner).json["run_id"]
    work()
    history = owner.get("/v1/internal/run-history").json["runs"]
    assert [run["run_id"] for run in history] == [mine]
    assert [run["id"] for run in owner.get("/v1/runs").json] == [mine]
    assert owner.get(f"/v1/spawn-executor/{foreign}").status_code == 404
    assert stranger.get(f"/v1/spawn-executor/{foreign}").json["project_id"] == PROJECT
    assert stranger.get(f"/v1/runs/{foreign}").json["project_id"] is None
    runs = f"/v1/projects/{PROJECT}/tasks/T1/executor-runs"
    assert stranger.get(runs).json["runs"] == []


@pytest.mark.parametrize(
    ("path", "least"),
    [(f"/v1/projects/{PROJECT}/tasks/T1/executor-runs", 0), ("/v1/internal/run-history", 1)],
)
def test_lists_of_executors_are_read_page_by_page(owner: FlaskClient, path: str, least: int):
    spawned = [spawn(owner).json["run_id"] for _ in range(3)][::-1]
    found, link = [], f"{path}?limit=2"
    while link:
        answer = owner.get(link)
        assert answer.headers["X-Total-Count"] == "3"
        found += [run["run_id"] for run in answer.json["runs"]]
        link = answer.headers.get("Link", "")[1:].partition(">")[0]
    assert found == spawned
    assert len(owner.get(f"{path}?limit={least}").json["runs"]) == least
    assert owner.get(f"{path}?limit={least - 1}").status_code == 422
