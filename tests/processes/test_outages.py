"""Postgres or Redis goes away and comes back: what callers notice in between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx2 as httpx
import psycopg2
import pytest

from tests.patience import within
from tests.processes.chaos.proxy import Proxy
from tests.processes.product import COMMANDS, Product, until
from tests.processes.servers import Server
from workers.local.postgres import postgres
from workers.local.valkey import valkey

PROMPT = 0.5  # seconds in which an answer comes, whatever is down


class Stage:
    """The product beside servers that come and go."""

    def __init__(self, folder: Path) -> None:
        self.postgres = Server(postgres, folder / "servers")
        self.redis = Server(valkey, folder / "servers")
        self.postgres.start()
        self.redis.start()
        urls = {"DATABASE_URL": self.postgres.url, "REDIS_URL": self.redis.url}
        self.product = Product(folder, urls | {"DJINN_DATA_PATH": str(folder / "data")})
        self.product.migrate()
        self.product.start(*COMMANDS)
        self.product.ready()

    def asked(self, method: str, path: str, **more: object) -> httpx.Response:
        """The answer, which must not keep the caller waiting."""
        tries = 5 if method == "GET" else 1  # what changes something is done once
        return within(PROMPT, lambda: self.product.client.request(method, path, **more), tries)

    def close(self) -> None:
        self.product.close()
        self.redis.stop()
        self.postgres.stop()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


def test_without_postgres_callers_are_told_at_once_and_nothing_has_to_be_restarted(stage: Stage):
    running = stage.product
    run = running.ended(running.run("bugfix", "x"))["id"]
    with running.client.stream("GET", f"/v1/events/stream/{run}") as followed:
        lines = followed.iter_lines()
        next(lines)
        stage.postgres.stop()
        body = {"pipeline_id": "bugfix", "task_description": "x"}
        for _ in range(3):
            for answer in (
                stage.asked("GET", "/v1/runs"),
                stage.asked("GET", f"/v1/runs/{run}"),
                stage.asked("POST", "/v1/runs", json=body),
                stage.asked("GET", f"/v1/events/stream?run_id={run}"),
            ):
                assert answer.status_code == 503
                assert int(answer.headers["Retry-After"]) > 0
                assert answer.json()["detail"] == "The database is not available; try again"
        assert stage.asked("GET", "/healthz").status_code == 200
        assert stage.asked("GET", "/readyz").status_code == 503
        until(lambda: stage.asked("GET", "/v1/status").json()["status"] == "degraded")
        stage.postgres.start()
        until(lambda: stage.asked("GET", "/readyz").status_code == 200)
        assert running.ended(running.run("bugfix", "again"))["status"] == "completed"
        running.post(f"/runs/{run}/restart")
        told = (line for line in lines if '"attempt":2' in line)
        assert "RUN_STARTED" in next(told)


def test_without_redis_work_is_accepted_and_followed_and_done_when_it_is_back(stage: Stage):
    running = stage.product
    stage.redis.stop()
    asked = {"pipeline_id": "bugfix", "task_description": "x", "model_override": "scripted/demo"}
    runs = [stage.asked("POST", "/v1/runs", json=asked).json()["id"] for _ in range(3)]
    assert stage.asked("GET", "/readyz").json()["redis"] is False
    until(lambda: stage.asked("GET", "/v1/status").json()["status"] == "degraded")
    everything = stage.asked("GET", "/v1/events/stream")
    assert (everything.status_code, "Retry-After" in everything.headers) == (503, True)
    with running.client.stream("GET", f"/v1/events/stream?run_id={runs[0]}") as followed:
        lines = followed.iter_lines()
        assert any("run_created" in line for line in lines)
        assert stage.asked("POST", f"/v1/runs/{runs[0]}/cancel").status_code == 200
        assert any("run_failed" in line for line in lines)
        assert any("event: end" in line for line in lines)
    stage.redis.start()
    assert {running.ended(run)["status"] for run in runs[1:]} == {"completed"}


def test_whoever_holds_what_the_clock_adds_up_does_not_keep_work_from_workers(stage: Stage):
    """The clock hands requests on between its other duties, each of which may wait for a lock."""
    running = stage.product
    running.ended(running.run("bugfix", "x"))
    with psycopg2.connect(stage.postgres.url) as connection:
        connection.cursor().execute("LOCK TABLE tallies IN EXCLUSIVE MODE")
        taken = [within(2, lambda: running.ended(running.run("planning", "x"))) for _ in range(4)]
        connection.rollback()
    assert {run["status"] for run in taken} == {"completed"}


def test_who_is_told_to_go_is_gone_in_time_although_neither_server_says_a_word(stage: Stage):
    """A thread that waits for a server hears of no signal: another one has to."""
    running = stage.product
    names = ["agents-2", "clock-2"]
    with (
        Proxy(urlsplit(stage.postgres.url).port or 0) as postgres_cable,
        Proxy(urlsplit(stage.redis.url).port or 0) as redis_cable,
    ):
        running.environment |= {
            "DATABASE_URL": postgres_cable.through(stage.postgres.url),
            "REDIS_URL": redis_cable.through(stage.redis.url),
        }
        running.terminate("clock")
        running.start(*names)
        until(lambda: all("ready" in running.log(name) for name in names))
        assert running.ended(running.run("bugfix", "x"))["status"] == "completed"
        postgres_cable.fall_silent()
        redis_cable.fall_silent()
        time.sleep(6)  # by now each of them waits for an answer
        with ThreadPoolExecutor() as operators:
            assert max(operators.map(running.terminate, names)) < 20
