"""Swarms on the whole product: side by side, one after the other, called off, taken over."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.processes.product import OVER, Product, nap, product, scripted, until

SLOW: dict[str, Any] = {"chunks": 40, "chunk": "word ", "delay_ms": 50}
PLANNER = """
id: planner
name: Planner
agents: [{id: yukihiro, name: Yukihiro, tools: [read, write, bash, swarm_execute]}]
steps:
  - {id: PLAN, agent: yukihiro, input: "{{task_description}}", outputs: [plan], maxRetries: 0}
"""
MANY, EACH = 50, 4  # planners, and executors of each


def wrote(key: str) -> dict[str, Any]:
    arguments = {"path": f"{key}.txt", "content": f"by {key}\n"}
    return {"calls": [{"name": "write", "arguments": arguments}]}


def sleeps(seconds: int) -> dict[str, Any]:
    return {"calls": [{"name": "bash", "arguments": {"command": f"sleep {seconds}"}}]}


def task(key: str, *dependencies: str, does: dict[str, Any] | None = None, **more: Any) -> Any:
    prompt = scripted(f"Write {key}", EXECUTE=[does or wrote(key)])
    about = {"title": f"Write {key}", "project_id": "p", "task_id": f"T-{key}"}
    return {
        "key": key,
        **about,
        "execution_prompt": prompt,
        "dependencies": list(dependencies),
        "model": "scripted/demo",
        **more,
    }


DIAMOND = (task("A"), task("B"), task("C", "A", "B"), task("D", "C"))


def launch(running: Product, *tasks: dict[str, Any], **form: Any) -> str:
    asked = {"agent_id": "yukihiro", "tasks": on_a_board(running, tasks), **form}
    return str(running.post("/swarm/execute", **asked)["swarm_id"])


def on_a_board(running: Product, orders: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The orders, for tasks of a board of their own."""
    project = running.post("/projects", name="Swarm")["id"]
    names = dict.fromkeys(order["task_id"] for order in orders)
    ids = {name: running.post(f"/projects/{project}/tasks", title=name)["id"] for name in names}
    return [{**each, "project_id": project, "task_id": ids[each["task_id"]]} for each in orders]


def swarm(running: Product, swarm_id: str) -> dict[str, Any]:
    return running.get(f"/swarm/{swarm_id}")


def ended(running: Product, swarm_id: str, seconds: float = 60) -> dict[str, Any]:
    until(lambda: swarm(running, swarm_id)["status"] in OVER, seconds)
    return swarm(running, swarm_id)


def tasks_of(state: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["key"]: each for each in state["tasks"]}


def statuses(state: dict[str, Any]) -> dict[str, str]:
    return {key: each["status"] for key, each in tasks_of(state).items()}


def at_work(running: Product, swarm_id: str, *keys: str) -> bool:
    """Whether the executors of these tasks have begun to call tools or to talk."""
    tasks = tasks_of(swarm(running, swarm_id))
    runs = [tasks[key]["run_id"] for key in keys]
    return all(run and _said(running, run) for run in runs)


def _said(running: Product, run_id: str) -> bool:
    return any(event["type"] == "tool_call_start" for event in running.events(run_id))


def tree(running: Product, run_id: str) -> Path:
    return running.folder / "data" / "workspaces" / run_id / "tree"


def commands(word: str) -> list[str]:
    shown = subprocess.run(["ps", "axwwo", "args"], capture_output=True, text=True, check=True)
    return [line for line in shown.stdout.splitlines() if word in line]


def test_a_diamond_has_its_sides_at_once_and_its_ends_before_and_after(running: Product) -> None:
    sides = [task(key, does={**wrote(key), **SLOW}) for key in "AB"]
    state = ended(running, launch(running, *sides, *DIAMOND[2:], max_concurrent=2))
    assert (state["status"], state["error"]) == ("completed", None)
    tasks = tasks_of(state)
    assert set(statuses(state).values()) == {"completed"}
    runs = {key: running.get(f"/runs/{each['run_id']}") for key, each in tasks.items()}
    assert runs["A"]["started_at"] < runs["B"]["completed_at"]
    assert runs["B"]["started_at"] < runs["A"]["completed_at"]
    assert runs["C"]["started_at"] >= max(runs["A"]["completed_at"], runs["B"]["completed_at"])
    assert runs["D"]["started_at"] >= runs["C"]["completed_at"]
    files = {path.name for path in tree(running, runs["C"]["id"]).glob("*.txt")}
    assert files == {"A.txt", "B.txt", "C.txt"}
    files = {path.name for path in tree(running, runs["D"]["id"]).glob("*.txt")}
    assert files == {"A.txt", "B.txt", "C.txt", "D.txt"}


def test_what_depends_on_a_failure_is_skipped_and_the_rest_is_kept(running: Product) -> None:
    failing = task("B", does={"fail": "no wood"})
    state = ended(running, launch(running, DIAMOND[0], failing, *DIAMOND[2:]))
    assert state["status"] == "failed"
    assert statuses(state) == {"A": "completed", "B": "failed", "C": "skipped", "D": "skipped"}
    assert tasks_of(state)["A"]["outputs"]["files_changed"] == "A.txt"
    assert state["summary"]["skipped"] == 2


def test_a_task_that_takes_too_long_fails_and_its_command_ends(running: Product) -> None:
    seconds = nap()
    hanging = task("A", does=sleeps(seconds), timeout_seconds=30)
    swarm_id = launch(running, hanging, task("B", "A"))
    until(lambda: at_work(running, swarm_id, "A"))
    state = ended(running, swarm_id, 60)
    assert statuses(state) == {"A": "failed", "B": "skipped"}
    assert tasks_of(state)["A"]["error"] == "timed out after 30 s"
    until(lambda: not commands(f"sleep {seconds}"))


def test_cancelling_leaves_nothing_running(running: Product) -> None:
    seconds = nap()
    swarm_id = launch(running, *(task(key, does=sleeps(seconds)) for key in "AB"))
    until(lambda: at_work(running, swarm_id, "A", "B"))
    until(lambda: commands(f"sleep {seconds}"))
    running.post(f"/swarm/{swarm_id}/cancel")
    state = swarm(running, swarm_id)
    assert (state["status"], set(statuses(state).values())) == ("cancelled", {"cancelled"})
    runs = [each["run_id"] for each in state["tasks"]]
    until(lambda: {running.get(f"/runs/{run}")["status"] for run in runs} == {"cancelled"})
    until(lambda: not commands(f"sleep {seconds}"))
    told = {run: len(running.events(run)) for run in runs}
    time.sleep(1)
    assert {run: len(running.events(run)) for run in runs} == told


def test_the_global_time_out_leaves_nothing_running(running: Product) -> None:
    seconds = nap()
    swarm_id = launch(running, task("A", does=sleeps(seconds)), task("B", "A"))
    until(lambda: at_work(running, swarm_id, "A"))
    with psycopg2.connect(running.environment["DATABASE_URL"]) as database:
        database.cursor().execute("UPDATE swarms SET deadline = 1 WHERE id = %s", (swarm_id,))
    database.close()
    state = ended(running, swarm_id, 10)
    assert (state["status"], state["error"]) == ("failed", "global timeout")
    assert {each["error"] for each in state["tasks"]} == {"global timeout"}
    run = state["tasks"][0]["run_id"]
    until(lambda: running.get(f"/runs/{run}")["status"] == "cancelled")
    until(lambda: not commands(f"sleep {seconds}"))


def test_branches_of_one_task_are_merged_and_conflicts_told(running: Product) -> None:
    clash = {"calls": [{"name": "write", "arguments": {"path": "A.txt", "content": "else\n"}}]}
    mine = [task("A", task_id="T"), task("B", task_id="T"), task("C", does=clash, task_id="T")]
    state = ended(running, launch(running, *mine))
    assert state["status"] == "completed"
    (report,) = state["merges"]
    branch = f"feat/{state['tasks'][0]['task_id']}-write-a"
    assert report["merged"] == [f"{branch}-A", f"{branch}-B"]
    assert report["conflicts"] == [{"branch": f"{branch}-C", "files": ["A.txt"]}]


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Product]:
    """A product whose worker has one thread for agents and one for executors."""
    with product(tmp_path, WORKER_THREADS="1") as started:
        started.client.put("/v1/pipelines/planner", json={"yaml_content": PLANNER})
        yield started


def planner(running: Product, *tasks: dict[str, Any], **form: Any) -> str:
    call = {"name": "swarm_execute", "arguments": {"tasks": list(tasks), **form}}
    return running.run("planner", scripted("Plan it", PLAN=[{"calls": [call]}]))


def test_a_planner_that_waits_holds_no_worker(narrow: Product) -> None:
    waits = planner(narrow, task("A", does=sleeps(6)))
    until(lambda: narrow.get(f"/runs/{waits}")["steps"][0]["status"] == "waiting", 20)
    other = narrow.run("bugfix", scripted("Mend it", default=[{"tools": False}]))
    assert narrow.ended(other, 20)["status"] == "completed"
    assert narrow.get(f"/runs/{waits}")["steps"][0]["status"] == "waiting"
    assert narrow.ended(waits, 60)["status"] == "completed"


def test_whoever_dies_in_a_swarm_each_task_has_one_executor(narrow: Product) -> None:
    sides = [task(key, does={**wrote(key), **SLOW}) for key in "AB"]
    swarm_id = launch(narrow, *sides, *DIAMOND[2:])
    until(lambda: swarm(narrow, swarm_id)["active_count"] == 2)
    for name in ("agents", "short", "clock"):
        narrow.kill(name)
    narrow.start("agents", "short", "clock")
    state = ended(narrow, swarm_id, 60)
    assert set(statuses(state).values()) == {"completed"}
    made = [run["id"] for run in narrow.get("/runs", limit=50)]
    assert sorted(made) == sorted(each["run_id"] for each in state["tasks"])


@pytest.mark.timeout(400)
def test_fifty_planners_and_two_hundred_executors_finish_on_one_worker(tmp_path: Path) -> None:
    quick = [task(f"t{number}", does={"tools": False}) for number in range(EACH)]
    with product(tmp_path) as running:
        running.client.put("/v1/pipelines/planner", json={"yaml_content": PLANNER})
        began = time.monotonic()
        planners = [planner(running, *quick, max_concurrent=EACH) for _ in range(MANY)]
        for run in planners:
            assert running.ended(run, 300)["status"] == "completed"
        taken = time.monotonic() - began
        found = running.get("/swarm", limit=MANY)["swarms"]
        print(f"{MANY} planners and {MANY * EACH} executors took {taken:.1f} s")  # noqa: T201
    assert {state["status"] for state in found} == {"completed"}
    assert sum(state["completed_count"] for state in found) == MANY * EACH
    launched = max(state["created_at"] for state in found)
    worked = [each["completed_at"] for state in found for each in state["tasks"]]
    assert min(worked) < launched < max(worked), "one kind of work waited for all of the other"
