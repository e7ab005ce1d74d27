"""`djinn up`, `run` and `tail` as a stranger uses them: real processes, the scripted model."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.processes.servers import postmaster, redis_pid
from workers.local.machine import answers
from workers.local.postgres import postgres
from workers.local.running import Running, find
from workers.local.valkey import valkey

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
SCRIPTED = ["--model", "scripted/demo"]


def argv(*words: str) -> list[str]:
    return [sys.executable, "-m", "workers.cli", *words]


def env(data: Path) -> dict[str, str]:
    """Nothing but the data folder; the local model's door is elsewhere, so that none is started."""
    given = {"PATH": os.defpath, "HOME": str(data), "LOCAL_MODEL_URL": "http://127.0.0.1:1/v1"}
    return {**given, "DJINN_DATA_PATH": str(data / "data"), "COLUMNS": "120"}


def djinn(data: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    given = env(data) | more
    return subprocess.run(
        argv(*words), env=given, cwd=ROOT, capture_output=True, text=True, check=False
    )


@contextmanager
def process(data: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        argv(*words), env=env(data), cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as started:
        try:
            yield started
        finally:
            started.terminate()


def await_up(data: Path) -> Running:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if running := find(data / "data"):
            return running
        time.sleep(0.1)
    raise AssertionError("not up after 90 s")


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def using(data: Path) -> list[int]:
    """The processes whose environment or arguments name this data folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            said = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(data / "data").encode() in said:
            found.append(int(entry.name))
    return found


def valkey_pid(home: Path) -> int:
    port, password = (home / "port").read_text(), (home / "password").read_text()
    return redis_pid(f"redis://:{password}@127.0.0.1:{port}/0")


def test_one_command_runs_a_pipeline_and_leaves_nothing_running(tmp_path: Path) -> None:
    done = djinn(tmp_path, "run", "engineering", "Build a REST API for a todo app", *SCRIPTED)
    assert done.returncode == 0, done.stderr
    assert "DEPLOY completed" in done.stdout
    assert "(scripted)" in done.stdout
    assert "Outputs" in done.stdout
    assert "Files" in done.stdout
    assert find(tmp_path / "data") is None
    assert using(tmp_path) == []


def test_json_is_one_event_a_line_and_nothing_else(tmp_path: Path) -> None:
    done = djinn(tmp_path, "run", "feature", "Add a search box", "--json", *SCRIPTED)
    assert done.returncode == 0, done.stderr
    kinds = [event["type"] for event in events(done.stdout)]
    assert kinds[0] == "run_created"
    assert kinds[-1] == "run_complete"
    assert kinds.count("run_complete") == 1


def test_a_failed_run_ends_with_one(tmp_path: Path) -> None:
    plays = '{"default": {"fail": "the disk is on fire"}}'
    task = f"Try.\n```scripted\n{plays}\n```\n"
    done = djinn(tmp_path, "run", "bugfix", task, *SCRIPTED)
    assert done.returncode == 1, done.stderr
    assert "the disk is on fire" in done.stdout


def test_up_serves_many_runs_until_it_is_told_to_stop(tmp_path: Path) -> None:
    with process(tmp_path, "up", "--port", "0") as up:
        running = await_up(tmp_path)
        second = djinn(tmp_path, "up")
        assert second.returncode == 1
        assert f"in use by process {up.pid}" in second.stderr
        started = djinn(tmp_path, "run", "bugfix", "Mend it", "--no-follow", *SCRIPTED)
        assert started.returncode == 0, started.stderr
        watched = djinn(tmp_path, "tail", started.stdout.strip(), "--json")
        assert watched.returncode == 0
        assert events(watched.stdout)[-1]["type"] == "run_complete"
        unknown = djinn(tmp_path, "run", "no-such-pipeline", "x")
        assert unknown.returncode == 2
        assert "no-such-pipeline" in unknown.stderr
        began = time.monotonic()
        up.send_signal(signal.SIGTERM)
        assert up.wait(30) == 0
        assert time.monotonic() - began < 20
    assert not answers(running.url)
    assert using(tmp_path) == []


def test_a_run_goes_on_when_our_own_servers_were_killed(tmp_path: Path) -> None:
    """They are in the care of `up` like all else: nobody has to start them."""
    plays = '{"default": {"chunks": 40, "delay_ms": 50}}'
    task = f"Take your time.\n```scripted\n{plays}\n```\n"
    with process(tmp_path, "up", "--port", "0"):
        await_up(tmp_path)
        with process(tmp_path, "run", "bugfix", task, "--json", *SCRIPTED) as run:
            for line in run.stdout:
                if json.loads(line)["type"] == "step_started":
                    break
            for pid in (postmaster(tmp_path / "data"), valkey_pid(tmp_path / "data/valkey")):
                os.kill(pid, signal.SIGKILL)
            told = events(run.stdout.read())
            assert run.wait(30) == 0
        assert told[-1]["type"] == "run_complete"


def test_an_operators_servers_serve_as_well_as_ours(tmp_path: Path) -> None:
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"))  # 15, where there is one
    programs = debian[0] if debian else None
    with postgres(tmp_path / "theirs", programs) as database, valkey(tmp_path / "theirs") as broker:
        urls = {"DATABASE_URL": database, "REDIS_URL": broker}
        migrated = djinn(tmp_path, "migrate", **urls)
        assert migrated.returncode == 0, migrated.stderr
        done = djinn(tmp_path, "run", "bugfix", "Mend it", *SCRIPTED, **urls)
        assert done.returncode == 0, done.stderr
        assert djinn(tmp_path, "doctor", **urls).returncode == 0
    assert not (tmp_path / "data/postgres").exists()


def test_a_library_of_ones_own_is_loaded_without_a_server(tmp_path: Path) -> None:
    agent = tmp_path / "own/agents/ada"
    agent.mkdir(parents=True)
    (agent / "IDENTITY.md").write_text("# Ada\nFirst of her kind.\n")
    loaded = djinn(tmp_path, "migrate")
    assert loaded.returncode == 0, loaded.stderr
    loaded = djinn(tmp_path, "library", "load", str(tmp_path / "own"))
    assert loaded.returncode == 0, loaded.stderr
    assert "agent ada" in loaded.stderr
    assert using(tmp_path) == []


def test_ctrl_c_cancels_the_run_and_stops_everything(tmp_path: Path) -> None:
    plays = '{"default": {"chunks": 2000, "delay_ms": 50}}'
    task = f"Take your time.\n```scripted\n{plays}\n```\n"
    with process(tmp_path, "run", "bugfix", task, "--json", *SCRIPTED) as run:
        for line in run.stdout:
            if json.loads(line)["type"] == "step_started":
                break
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=40)
        assert run.returncode == 1
    assert using(tmp_path) == []


def test_killing_the_command_leaves_nothing_running(tmp_path: Path) -> None:
    with process(tmp_path, "run", "bugfix", "Mend it", "--json", *SCRIPTED) as run:
        run.stdout.readline()
        assert using(tmp_path)
        run.kill()
        run.wait()
        deadline = time.monotonic() + 30
        while using(tmp_path):
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_without_any_key_the_first_command_works_on_the_local_model(tmp_path: Path) -> None:
    began = time.monotonic()
    done = djinn(tmp_path, "run", "feature", "Add a dark mode", LOCAL_MODEL_URL="")
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - began < 90
    assert "on local/smollm2-135m" in done.stdout
    assert "completed" in done.stdout.splitlines()[-1] or "Outputs" in done.stdout
    assert using(tmp_path) == []
