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
THREADS = 4  # of the worker that all of them share, for each of its queues
GONE = 5  # seconds, at most, in which what was called off has ended, commands and all


def wrote(key: str) -> dict[str, Any]:
    arguments = {"path": f"{key}.txt", "content": f"by {key}\n"}
    return {"calls": [{"name": "write", "arguments": arguments}]}


def sleeps(seconds: int) -> dict[str, Any]:
    return {"calls": [{"name": "bash", "arguments": {"command": f"sleep {seconds}"}}]}


def stubborn(seconds: int) -> dict[str, Any]:
    """A command that heeds no signal it can refuse, and neither does what it started."""
    rest = f"sleep {seconds}"
    command = f"trap '' TERM INT HUP; {rest} & while :; do {rest}; done"
    return {"calls": [{"name": "bash", "arguments": {"command": command}}]}


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


def asleep(seconds: int) -> bool:
    """Whether a command has come to where it sleeps so long."""
    return f"sleep {seconds}" in commands(f"sleep {seconds}")


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
    hanging = task("A", does=stubborn(seconds), timeout_seconds=30)
    swarm_id = launch(running, hanging, task("B", "A"))
    until(lambda: at_work(running, swarm_id, "A"))
    until(lambda: asleep(seconds))
    state = ended(running, swarm_id, 60)
    assert statuses(state) == {"A": "failed", "B": "skipped"}
    assert tasks_of(state)["A"]["error"] == "timed out after 30 s"
    until(lambda: not commands(f"sleep {seconds}"), GONE)


def test_cancelling_leaves_nothing_running(running: Product) -> None:
    naps = [nap(), nap()]
    orders = zip("AB", naps, strict=True)
    swarm_id = launch(running, *(task(key, does=stubborn(seconds)) for key, seconds in orders))
    until(lambda: at_work(running, swarm_id, "A", "B"))
    until(lambda: all(map(asleep, naps)))
    running.post(f"/swarm/{swarm_id}/cancel")
    state = swarm(running, swarm_id)
    assert (state["status"], set(statuses(state).values())) == ("cancelled", {"cancelled"})
    until(lambda: not any(commands(f"sleep {seconds}") for seconds in naps), GONE)
    runs = [each["run_id"] for each in state["tasks"]]
    assert {running.get(f"/runs/{run}")["status"] for run in runs} == {"cancelled"}
    told = {run: len(running.events(run)) for run in runs}
    time.sleep(1)
    assert {run: len(running.events(run)) for run in runs} == told


def test_the_global_time_out_leaves_nothing_running(running: Product) -> None:
    seconds = nap()
    swarm_id = launch(running, task("A", does=stubborn(seconds)), task("B", "A"))
    until(lambda: at_work(running, swarm_id, "A"))
    until(lambda: asleep(seconds))
    with psycopg2.connect(running.environment["DATABASE_URL"]) as database:
        database.cursor().execute("UPDATE swarms SET deadline = 1 WHERE id = %s", (swarm_id,))
    database.close()
    state = ended(running, swarm_id, 10)
    until(lambda: not commands(f"sleep {seconds}"), GONE)
    assert (state["status"], state["error"]) == ("failed", "global timeout")
    assert {each["error"] for each in state["tasks"]} == {"global timeout"}
    run = state["tasks"][0]["run_id"]
    assert running.get(f"/runs/{run}")["status"] == "cancelled"


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
def test_fifty_planners_and_two_hundred_executors_finish_on_few_threads(tmp_path: Path) -> None:
    """One worker: who waits holds no thread, and no kind of work stands behind the other.

    The second half of the planners comes when the executors of the first half fill their queue.
    """
    unhurried = {"tools": False, "chunks": 10, "chunk": "word ", "delay_ms": 60}
    orders = [task(f"t{number}", does=unhurried) for number in range(EACH)]
    with product(tmp_path, WORKER_THREADS=str(THREADS)) as running:
        running.client.put("/v1/pipelines/planner", json={"yaml_content": PLANNER})
        hands = {"max_concurrent_steps": MANY}
        running.client.put("/v1/agents/yukihiro/config", json=hands).raise_for_status()
        began = time.monotonic()
        asked = [planner(running, *orders, max_concurrent=EACH) for _ in range(MANY // 2)]
        until(lambda: len(running.get("/swarm", limit=MANY)["swarms"]) == len(asked), 90)
        asked += [planner(running, *orders, max_concurrent=EACH) for _ in range(MANY // 2)]
        ended = [running.ended(run, 300) for run in asked]
        taken = time.monotonic() - began
        found = running.get("/swarm", limit=MANY)["swarms"]
    assert {each["status"] for each in (*ended, *found)} == {"completed"}
    worked = sorted(each["completed_at"] for state in found for each in state["tasks"])
    assert len(worked) == MANY * EACH
    launched = sorted(state["created_at"] for state in found)
    moments = {
        "the second half began": launched[MANY // 2],
        "every planner had asked": launched[-1],
        "the first planner was done": min(run["completed_at"] for run in ended),
    }
    done = {name: sum(at < moment for at in worked) for name, moment in moments.items()}
    print(f"{MANY} planners and {MANY * EACH} executors took {taken:.1f} s: {done}")  # noqa: T201
    assert 0 < done["the second half began"] < len(worked) / 4, "planners stood behind executors"
    assert done["the first planner was done"] < len(worked) / 4, "planners stood behind executors"
    assert done["every planner had asked"] < len(worked) / 2, "planners held threads, or waited"
    assert sum(state["completed_at"] > launched[-1] for state in found) > 2 * THREADS
