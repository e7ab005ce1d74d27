"""Boards on the whole product: whoever dies meanwhile, each task ends as its run does."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import pytest

from models import base
from models.invariants import breaches
from tests.processes.product import OVER, Product, product, scripted, until

PIPELINE = """
id: walk
name: Walk
agents: [{id: yukihiro, name: Yukihiro, tools: [write, create_task, comment_task]}]
steps:
  - {id: DO, agent: yukihiro, input: "{{task_description}}", outputs: [answer], maxRetries: 0}
"""
SLOW: dict[str, Any] = {"chunks": 30, "delay_ms": 50}
PROCESSES = ("web", "short", "clock", "agents", "agents-2")
VICTIMS = ("agents", "agents-2", "short", "clock")
PAUSE = 1.5  # seconds between two deaths: a worker lives long enough to get on
TASKS, FAILING = 10, (3, 7)


def play(number: int) -> dict[str, Any]:
    if number in FAILING:
        return {"fail": "no wood", **SLOW}
    further = {"name": "create_task", "arguments": {"title": f"Further {number}"}}
    written = {"name": "write", "arguments": {"path": f"{number}.txt", "content": "done\n"}}
    return {"calls": [written, further], **SLOW}


def statuses(running: Product, runs: dict[str, str]) -> dict[str, str]:
    return {task: running.get(f"/runs/{run}")["status"] for task, run in runs.items()}


@pytest.mark.alone
@pytest.mark.timeout(400)
def test_ten_tasks_end_as_their_runs_do_whoever_is_killed_meanwhile(tmp_path: Path) -> None:
    with product(tmp_path, *PROCESSES) as running:
        running.client.put("/v1/pipelines/walk", json={"yaml_content": PIPELINE})
        path = f"/projects/{running.post('/projects', name='Killed')['id']}"
        asked = {}
        for number in range(TASKS):
            text = scripted(f"Walk {number}", DO=[play(number)])
            form = {"title": f"Task {number}", "description": text, "workType": "custom"}
            asked[running.post(f"{path}/tasks", **form)["id"]] = number
        last = running.post(f"{path}/tasks", title="Last")["id"]
        first = next(iter(asked))
        running.post(f"{path}/tasks/{last}/dependencies", fromTaskId=first)
        form = {"pipelineId": "walk", "modelOverride": "scripted/demo"}
        running.client.put(f"/v1{path}/columns/{_working(running, path)}", json={"wipLimit": None})
        runs = {
            task: running.post(f"{path}/tasks/{task}/execute", **form)["run_id"] for task in asked
        }
        deaths = 0
        for name in itertools.cycle(VICTIMS):
            if set(statuses(running, runs).values()) <= OVER:
                break
            time.sleep(PAUSE)
            running.kill(name)
            running.start(name)
            deaths += 1
        assert deaths > 1, "they were done too soon for anybody to die"
        ended = statuses(running, runs)
        for task, run in runs.items():
            failing = asked[task] in FAILING
            expected = ("failed", "failed") if failing else ("completed", "done")
            told = running.get(f"{path}/tasks/{task}")
            assert (ended[task], told["status"]) == expected, running.get(f"/runs/{run}")["error"]
            assert told["run_id"] is None
            assert [each["status"] for each in told["run_history"]] == [ended[task]]
        titles = [task["title"] for task in running.get(path)["tasks"]]
        for number in set(range(TASKS)) - set(FAILING):
            assert titles.count(f"Further {number}") == 1
        assert running.get(f"{path}/tasks/{last}")["status"] == "ready"
        base.connect(running.environment["DATABASE_URL"], 2)
        with base.db.connection_context():
            until(lambda: breaches() == [], 20)
        base.db.close_all()
        print(f"{TASKS} tasks ended as their runs did, with {deaths} deaths meanwhile")  # noqa: T201


def _working(running: Product, path: str) -> str:
    """The id of the column of what is worked on, which has a limit of five."""
    columns = running.get(path)["columns"]
    return next(each["id"] for each in columns if "in_progress" in each["task_statuses"])
