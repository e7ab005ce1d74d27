"""How the server says it is."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from models import outbox, processes
from models.base import db
from models.config import Settings
from models.health import figures, spoken
from models.outbox import Outbox
from models.runs import Run
from tests.patience import within
from web import create_app


def test_status_is_public_and_counts(nobody: FlaskClient, owner: FlaskClient):
    processes.register("worker", ["short"])
    owner.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "x"})
    told = nobody.get("/v1/status/").json
    assert told["status"] == "ok"
    assert told["redis_connected"] and told["database_connected"]
    assert (told["total_pipelines"], told["total_agents"]) == (8, 11)
    assert told["workers"] == 1
    assert told["queue_depth"] == 1
    assert told["avg_duration"] == "0s"


def test_a_run_that_waits_for_a_worker_is_counted_wherever_its_request_is(owner: FlaskClient):
    owner.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "x"})
    with db.connection_context():
        Outbox.delete().execute()  # Redis has it now
        for minutes in (1, 2):  # nobody waits for those
            outbox.ask_later("short", {"task": "later"}, minutes * 60_000)
        assert figures()["queue_depth"] == 1


def test_status_is_remembered_for_a_moment(
    nobody: FlaskClient, owner: FlaskClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("web.blueprints.status.FRESH_SECONDS", 60)
    before = nobody.get("/v1/status").json["queue_depth"]
    owner.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "x"})
    assert nobody.get("/v1/status").json["queue_depth"] == before


def test_status_does_not_look_through_all_that_was_ever_done(
    owner: FlaskClient, caplog: pytest.LogCaptureFixture
):
    owner.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "x"})
    names = [field.column_name for field in Run._meta.sorted_fields]
    given = {"id": "'run_' || place", "state": "'completed'", "started_at": "place"}
    values = [(given | {"completed_at": "place"}).get(name, f'"{name}"') for name in names]
    columns = ", ".join(f'"{name}"' for name in names)
    with db.connection_context(), caplog.at_level("DEBUG", "peewee"):
        past = f"SELECT {', '.join(values)} FROM runs, generate_series(1, 500) AS place"  # noqa: S608
        db.execute_sql(f"INSERT INTO runs ({columns}) {past}")
        db.execute_sql("ANALYZE runs")
        caplog.clear()
        assert figures()["completed_runs_last_hour"] == 0
        asked = [each.msg for each in caplog.records if "avg(" in str(each.msg).lower()]
        ((sql, params),) = asked
        plan = [line for (line,) in db.execute_sql(f"EXPLAIN {sql}", params)]
    assert [line for line in plan if "runs_completed" in line], plan


def test_without_redis_work_is_still_accepted(settings: Settings, database: str):
    lonely = replace(settings, redis_url="redis://127.0.0.1:1/0", auth_enabled=False)
    client = create_app(lonely).test_client()
    assert client.get("/v1/status").json["status"] == "degraded"
    assert client.get("/readyz").json == {"status": "ok", "database": True, "redis": False}
    assert client.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "x"}).status_code == 200
    assert client.get("/v1/events/stream").status_code == 503


def test_a_redis_that_says_nothing_keeps_nobody_waiting(settings: Settings, database: str):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        app = create_app(replace(settings, redis_url=url, auth_enabled=False))
        client, run = app.test_client(), {"pipeline_id": "bugfix", "task": "x"}
        for method, path, status in (
            ("GET", "/v1/status", 200),
            ("GET", "/readyz", 200),
            ("POST", "/v1/runs", 200),
            ("GET", "/v1/events/stream", 503),
        ):

            def ask(method: str = method, path: str = path) -> int:
                app.extensions.pop("status", None)
                body = run if method == "POST" else None
                return client.open(path, method=method, json=body).status_code

            assert within(0.5, ask) == status, path


def test_durations_read_as_people_say_them():
    assert [spoken(ms) for ms in (0, 4_200, 200_000, 3_900_000)] == ["0s", "4s", "3m 20s", "1h 5m"]
