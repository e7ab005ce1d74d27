"""Processes that come and go: nothing is lost, nothing is done twice, nothing is left running."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.processes.product import Product, product, scripted, until

SLOW = [{"chunks": 80, "chunk": "word ", "delay_ms": 25, "tools": False}]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Product]:
    with product(tmp_path) as started:
        yield started


def kinds(product: Product, run_id: str) -> Counter[str]:
    return Counter(event["type"] for event in product.events(run_id))


def started(product: Product, run_id: str) -> bool:
    return kinds(product, run_id)["step_started"] > 0


def test_a_worker_killed_in_a_step_is_replaced_by_another_within_seconds(
    running: Product,
) -> None:
    running.start("agents-2")
    running.ready()
    run_id = running.run("bugfix", scripted("Mend it", FIX=SLOW))
    until(lambda: started(running, run_id))
    running.kill("agents")
    running.kill("agents-2")
    running.start("agents-3")
    run = running.ended(run_id, 40)
    assert run["status"] == "completed"
    counted = kinds(running, run_id)
    assert counted["step_complete"] == 2
    assert counted["run_complete"] == 1


def test_sigterm_hands_a_step_over_within_twenty_seconds_and_loses_nothing(
    running: Product,
) -> None:
    nap = [{"calls": [{"name": "bash", "arguments": {"command": "sleep 8"}}]}]
    run_id = running.run("bugfix", scripted("Mend it", FIX=nap))
    until(lambda: kinds(running, run_id)["tool_call_start"] > 0)
    running.start("agents-2")
    for name in ("agents", "short", "clock"):
        assert running.terminate(name) < 20
    running.start("short-2", "clock-2")
    run = running.ended(run_id, 60)
    assert run["status"] == "completed"
    assert kinds(running, run_id)["step_failed"] == 0


def test_redis_emptied_in_the_middle_loses_no_run(running: Product) -> None:
    runs = [running.run("bugfix", scripted("Mend it", FIX=SLOW)) for _ in range(3)]
    until(lambda: started(running, runs[0]))
    with redis.Redis.from_url(running.environment["REDIS_URL"]) as client:
        client.flushall()
    assert {running.ended(run_id)["status"] for run_id in runs} == {"completed"}
    assert all(kinds(running, run_id)["step_complete"] == 2 for run_id in runs)


def test_of_two_clocks_one_leads_and_the_other_takes_over(running: Product) -> None:
    running.start("clock-2")
    time.sleep(2)
    running.kill("clock")
    run_id = running.run("feature", "Take over")
    assert running.ended(run_id)["status"] == "completed"
    assert kinds(running, run_id)["step_complete"] == 4


def test_runs_are_accepted_while_no_worker_and_no_clock_lives(running: Product) -> None:
    for name in ("clock", "short", "agents"):
        running.kill(name)
    run_id = running.run("feature", "Wait for it")
    assert running.get(f"/runs/{run_id}")["status"] == "pending"
    running.start("clock", "short", "agents")
    assert running.ended(run_id)["status"] == "completed"


def test_stopping_everything_leaves_no_process_behind(tmp_path: Path) -> None:
    with product(tmp_path) as running:
        run_id = running.run("bugfix", scripted("Mend it", FIX=SLOW))
        until(lambda: started(running, run_id))
        assert str(tmp_path) in listing()
    until(lambda: str(tmp_path) not in listing(), 30)


def listing() -> str:
    shown = subprocess.run(["ps", "axwwo", "args"], capture_output=True, text=True, check=True)
    return shown.stdout
