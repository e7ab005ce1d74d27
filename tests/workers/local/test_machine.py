"""Everything on one machine, with a small web process in place of ours."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psycopg2
import pytest
import redis

from tests.processes.servers import postmaster, redis_pid
from tests.workers.local.test_supervisor import soon
from workers.local.folder import CannotStart, InUse
from workers.local.machine import answers, machine
from workers.local.procfile import Program
from workers.local.running import find
from workers.local.supervisor import ProgramFailed

pytestmark = pytest.mark.slow  # real processes

SHELL = {"PATH": os.defpath}
WEB = Program("web", f"{sys.executable} -m http.server $PORT --bind 127.0.0.1")
# a worker that shows what it was given
WORKER = Program("worker", "sh -c 'env; exec sleep 60'")
RELEASE = Program("release", "sh -c 'test -n \"$DATABASE_URL\"'")

HOLDER = """
import sys
from workers.local.machine import machine
from workers.local.procfile import Program
web = Program("web", f"{sys.executable} -m http.server $PORT --bind 127.0.0.1")
base = {"PATH": "/usr/bin:/bin", "DJINN_DATA_PATH": sys.argv[1], "LOCAL_MODEL_URL": "http://none"}
with machine(base, lambda text: None, [web]) as up:
    print("up", flush=True)
    up.keep(until=lambda: False)
"""


def settings(tmp_path: Path, **more: str) -> dict[str, str]:
    """An environment without the local model, which would only cost time here."""
    given = {"DJINN_DATA_PATH": str(tmp_path / "data"), "LOCAL_MODEL_URL": "http://none"}
    return {**SHELL, **given, **more}


def told(data: Path) -> dict[str, str]:
    """The environment that the worker was given."""
    lines = (data / "logs/worker.log").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def serve(database: str, broker: str) -> bool:
    try:
        psycopg2.connect(database).close()
        with redis.Redis.from_url(broker, retry=None) as client:
            return client.ping()
    except (psycopg2.OperationalError, redis.ConnectionError):
        return False


def test_the_processes_find_servers_and_a_port(tmp_path: Path) -> None:
    said: list[str] = []
    with machine(settings(tmp_path), said.append, [RELEASE, WEB, WORKER]) as up:
        assert answers(up.running.url)
        assert find(tmp_path / "data") == up.running
        given = told(tmp_path / "data")
        assert serve(given["DATABASE_URL"], given["REDIS_URL"])
        assert given["ENGINE_INTERNAL_TOKEN"] == up.running.api_key
        assert given["DJINN_DATA_PATH"] == str(tmp_path / "data")
    assert find(tmp_path / "data") is None
    assert not answers(up.running.url)
    assert "schema and library are up to date" in said


def test_a_server_that_was_killed_is_started_again_where_it_was(tmp_path: Path) -> None:
    data, said = tmp_path / "data", []
    with machine(settings(tmp_path), said.append, [WEB, WORKER]) as up:
        urls = told(data)["DATABASE_URL"], told(data)["REDIS_URL"]
        for pid in (postmaster(data), redis_pid(urls[1])):
            os.kill(pid, signal.SIGKILL)

        def is_mended() -> bool:
            noticed = [line.split()[0] for line in said if "was killed by SIGKILL" in line]
            return sorted(set(noticed)) == ["Postgres", "Valkey"] and serve(*urls)

        assert soon(is_mended, up.supervisor)
    assert not serve(*urls)


def test_a_second_one_on_the_same_data_is_refused(tmp_path: Path) -> None:
    with (
        machine(settings(tmp_path), print, [WEB]),
        pytest.raises(InUse),
        machine(settings(tmp_path), print, [WEB]),
    ):
        pass


def test_a_port_that_was_asked_for_must_be_free(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with (
            pytest.raises(CannotStart, match=f"port {port} is taken"),
            machine(settings(tmp_path, PORT=port), print, [WEB]),
        ):
            pass


def test_a_failing_release_stops_everything_with_its_words(tmp_path: Path) -> None:
    release = Program("release", "sh -c 'echo the library is broken; exit 1'")
    with (
        pytest.raises(ProgramFailed, match="the library is broken"),
        machine(settings(tmp_path), print, [release, WEB]),
    ):
        pass


def test_an_operators_servers_are_used_instead_of_ours(tmp_path: Path) -> None:
    given = {"DATABASE_URL": "postgresql://elsewhere/x", "REDIS_URL": "redis://elsewhere"}
    with machine(settings(tmp_path, **given), print, [WEB, WORKER]):
        log = (tmp_path / "data/logs/worker.log").read_text()
    assert "DATABASE_URL=postgresql://elsewhere/x\n" in log
    assert "REDIS_URL=redis://elsewhere\n" in log
    assert not (tmp_path / "data/postgres").exists()


@pytest.mark.parametrize("farewell", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_running_however_it_ends(tmp_path: Path, farewell: signal.Signals) -> None:
    data = tmp_path / "data"
    argv = [sys.executable, "-c", HOLDER, str(data)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "up\n"
        running = find(data)
        assert running
        postmaster = int((data / "postgres/data/postmaster.pid").read_text().split()[0])
        began = time.monotonic()
        holder.send_signal(farewell)
        holder.wait(20)
        pids = [postmaster, *running.pids.values()]
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            assert time.monotonic() - began < 20
            time.sleep(0.05)
    assert not answers(running.url)
