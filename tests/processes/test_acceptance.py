"""The stories of the wire contract's acceptance set, over HTTP, with every process real."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx2 as httpx

from tests.processes.product import UNNUMBERED, Product, frames, nap, scripted, until

LATER = 3.0  # seconds in which what was stopped, or was done twice, would be heard of
CUTS = 20
ONCE = """
id: once
name: Once
agents: [{id: yukihiro, name: Yukihiro, tools: [write]}]
steps:
  - {id: DO, agent: yukihiro, input: "{{task_description}}", outputs: [answer], maxRetries: 0}
"""


def play(**outputs: str) -> dict[str, Any]:
    return {"outputs": outputs, "tools": False}


def completed_steps(product: Product, run_id: str) -> list[str]:
    events = product.events(run_id)
    return [event["stepId"] for event in events if event["type"] == "step_complete"]


def test_a_bugfix_that_fails_validation_twice_is_fixed_three_times(running: Product) -> None:
    verdicts = [play(validation_result=value) for value in ("FAIL", "FAIL", "PASS")]
    run_id = running.run("bugfix", scripted("Mend the parser", VALIDATE=verdicts))
    run = running.ended(run_id)
    assert run["status"] == "completed"
    assert completed_steps(running, run_id) == ["FIX", "VALIDATE"] * 3
    numbers = [event["id"] for event in running.events(run_id)]
    assert [int(number) for number in numbers] == list(range(1, len(numbers) + 1))


def test_engineering_works_through_every_item_with_rework_and_then_deploys(
    running: Product,
) -> None:
    items = json.dumps(["users", "todos", "search"])
    design = [play(task_breakdown_json=items)]
    reviews = [play(review_result=value) for value in ("CHANGES_REQUESTED", "APPROVED")]
    tests = [play(test_result=value) for value in ("PASS", "FAIL", "PASS")]
    run_id = running.run(
        "engineering", scripted("Build a todo API", DESIGN=design, REVIEW=reviews, TEST=tests)
    )
    run = running.ended(run_id)
    assert run["status"] == "completed", run["error"]
    events = running.events(run_id)
    items = [event["itemIndex"] for event in events if event["type"] == "loop_item_complete"]
    assert items == [0, 1, 2]
    done = Counter(completed_steps(running, run_id))
    assert done["IMPLEMENT"] == 5  # three items, one reworked after review, one after its test
    assert done["DEPLOY"] == 1
    assert completed_steps(running, run_id)[-1] == "DEPLOY"


def test_a_cancelled_run_stops_its_agent_and_nothing_happens_afterwards(running: Product) -> None:
    rest = f"sleep {nap()}"
    slow = [{"calls": [{"name": "bash", "arguments": {"command": rest}}]}]
    run_id = running.run("bugfix", scripted("Wait", FIX=slow))
    until(lambda: any(e["type"] == "tool_call_start" for e in running.events(run_id)))
    assert running.post(f"/runs/{run_id}/cancel")["status"] == "cancelled"
    until(lambda: rest not in command_lines(), 10)
    before = running.events(run_id)
    assert before[-1]["type"] == "run_failed"
    assert before[-1]["cancelled"] is True
    assert running.post(f"/runs/{run_id}/cancel")["status"] == "cancelled"
    run = running.get(f"/runs/{run_id}")
    assert run["status"] == "cancelled"
    assert {step["status"] for step in run["steps"]} <= {"cancelled", "skipped"}
    time.sleep(LATER)
    assert running.events(run_id) == before
    assert running.get(f"/runs/{run_id}")["steps"] == run["steps"]


def test_a_step_whose_worker_is_killed_ends_once_with_one_commit_and_one_move(
    running: Product,
) -> None:
    running.client.put("/v1/pipelines/once", json={"yaml_content": ONCE}).raise_for_status()
    path = f"/projects/{running.post('/projects', name='Once')['id']}"
    written = {"name": "write", "arguments": {"path": "a.txt", "content": "done\n"}}
    scene = {"calls": [written], "chunks": 60, "delay_ms": 50}
    text = scripted("Do it", DO=[scene])
    task = running.post(f"{path}/tasks", title="Once", description=text, workType="custom")["id"]
    form = {"pipelineId": "once", "modelOverride": "scripted/demo"}
    run_id = running.post(f"{path}/tasks/{task}/execute", **form)["run_id"]
    until(lambda: "step_started" in kinds(running, run_id))
    running.kill("agents")
    running.start("agents")
    assert running.ended(run_id)["status"] == "completed"
    assert kinds(running, run_id)["step_started"] == 2
    assert completed_steps(running, run_id) == ["DO"]
    calls = running.get("/llm-calls", run_id=run_id)["calls"]
    turns = [event["turn"] for event in running.events(run_id) if event["type"] == "turn_end"]
    assert turns == list(range(1, len(calls) + 1))
    assert committed_steps(running, run_id) == ["DO"]
    until(lambda: running.get(f"{path}/tasks/{task}")["status"] == "done")
    time.sleep(LATER)
    moves = list(moves_of(running, task, running.post(f"{path}/tasks", title="Later")["id"]))
    assert len(moves) == len(set(moves)) == 2
    assert moves[-1][1] == "done"


def test_a_stream_cut_twenty_times_gives_every_structural_event_once(running: Product) -> None:
    chatter = [{"chunks": 5000, "chunk": "word ", "delay_ms": 1, "tools": False}]
    run_id = running.run("bugfix", scripted("Talk a lot", FIX=chatter))
    seen: list[dict[str, Any]] = []
    chunks = cuts = 0
    last: str | None = None
    dice = random.Random(7)
    for _ in range(10 * CUTS):
        try:
            for position, event in read(running, run_id, last, allowance(dice, cuts)):
                last = position or last
                if event["type"] in UNNUMBERED:
                    chunks += 1
                else:
                    seen.append(event)
        except Cut:
            cuts += 1
        if seen and seen[-1]["type"] == "run_complete":
            break
    assert cuts == CUTS, "the run was over before its stream had been cut so often"
    expected = [event["type"] for event in running.events(run_id)]
    assert [event["type"] for event in seen] == expected
    assert chunks > CUTS


def test_restarting_a_failed_run_starts_without_stale_outputs(running: Product) -> None:
    verdict = [play(validation_result="FAIL")]
    stuck = [{"fail": "cannot be mended"}]
    run_id = running.run("bugfix", scripted("Fail", FIX=stuck, VALIDATE=verdict))
    failed = running.ended(run_id)
    assert failed["status"] == "failed"
    assert "cannot be mended" in failed["error"]
    again = running.post(f"/runs/{run_id}/restart", context="Try harder")
    assert again["status"] == "pending"
    assert again["outputs"] == {}
    assert again["attempt"] == 2
    assert again["human_context"] == "Try harder"
    assert running.ended(run_id)["status"] == "failed"


def test_restarting_a_step_does_it_and_what_followed_again(running: Product) -> None:
    run_id = running.run("feature", "Add a dark mode")
    assert running.ended(run_id)["status"] == "completed"
    order = completed_steps(running, run_id)
    running.post(f"/runs/{run_id}/steps/{order[1]}/restart", context="Mind the contrast")
    assert running.ended(run_id)["status"] == "completed"
    assert completed_steps(running, run_id) == order + order[1:]


def test_a_finished_run_leaves_one_commit_per_step_in_its_workspace(running: Product) -> None:
    run_id = running.run("feature", "Add a greeting")
    run = running.ended(run_id)
    assert committed_steps(running, run_id) == completed_steps(running, run_id)
    assert run["workspace_exists"]
    assert run["workspace_has_git"]


def committed_steps(product: Product, run_id: str) -> list[str]:
    folder = product.folder / "data" / "workspaces" / run_id
    log = ["git", f"--git-dir={folder / 'repo.git'}", "log", "--format=%s", "--reverse"]
    subjects = subprocess.run(log, capture_output=True, text=True, check=True).stdout.splitlines()
    return [s.split("/")[1].split(" ")[0] for s in subjects if s.startswith("step/")]


def kinds(product: Product, run_id: str) -> Counter[str]:
    return Counter(event["type"] for event in product.events(run_id))


def moves_of(product: Product, task: str, later: str) -> Iterator[tuple[str, str]]:
    """From where to where a task was moved until another one, made `later`, is told of."""
    path = f"{product.url}/v1/events/stream?since=0"
    with httpx.stream("GET", path, timeout=60) as answer:
        for _, event in frames(answer.iter_lines()):
            if event.get("taskId") == later:
                return
            if event["type"] == "task_status_changed" and event["taskId"] == task:
                yield event["fromStatus"], event["toStatus"]


class Cut(Exception):
    """The connection was dropped without a word, amid whatever was coming."""


def allowance(dice: random.Random, cuts: int) -> int:
    """How many bytes may come before the next cut; after the last one as many as there are."""
    return dice.randint(1, 3_000) if cuts < CUTS else sys.maxsize


def read(
    product: Product, run_id: str, last: str | None, most: int
) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Frames of a fresh connection, which is cut once `most` bytes have come."""
    headers = {"Last-Event-ID": last} if last else {}
    path = f"{product.url}/v1/events/stream"
    params = {"run_id": run_id, "since": "0"}
    with (
        suppress(httpx.RemoteProtocolError),
        httpx.stream("GET", path, params=params, headers=headers, timeout=60) as answer,
    ):
        answer.raise_for_status()
        yield from frames(whole_lines(answer.iter_bytes(), most))


def whole_lines(pieces: Iterator[bytes], most: int) -> Iterator[str]:
    """The lines that are whole when `most` bytes have come; then Cut."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece[:most]).split(b"\n")
        yield from (line.decode() for line in whole)
        most -= len(piece)
        if most <= 0:
            raise Cut


def command_lines() -> str:
    listing = subprocess.run(["ps", "axwwo", "args"], capture_output=True, text=True, check=True)
    return listing.stdout
