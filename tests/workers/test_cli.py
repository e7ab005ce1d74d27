"""The djinn command as a person types it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # real processes

COMMANDS = [
    *("up", "run", "fork", "replay", "tail", "migrate"),
    *("web", "clock", "worker", "library", "doctor", "vault", "audit", "user"),
]


def djinn(
    *words: str, data: Path | None = None, said: str | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the command in an environment that has nothing but what is said here."""
    base = {"PATH": os.defpath, "HOME": "/nonexistent", "COLUMNS": "100"}
    if data:
        base["DJINN_DATA_PATH"] = str(data)
    argv = [sys.executable, "-m", "workers.cli", *words]
    root = Path(__file__).parents[2]
    return subprocess.run(
        argv,
        env=base | env,
        cwd=root,
        input=said,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_names_every_command() -> None:
    help_ = djinn("--help")
    assert help_.returncode == 0
    assert all(f" {command} " in help_.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str) -> None:
    help_ = djinn(command, "--help")
    assert help_.returncode == 0
    assert f"djinn {command}" in help_.stdout.replace("python -m workers.cli", "djinn")


def test_wrong_usage_ends_with_two() -> None:
    assert djinn("run", "engineering").returncode == 2
    assert djinn("dance").returncode == 2


def test_a_server_that_is_not_there_ends_with_two_and_no_traceback(tmp_path: Path) -> None:
    tried = djinn("run", "engineering", "x", data=tmp_path, DJINNBOT_URL="http://127.0.0.1:1")
    assert tried.returncode == 2
    assert "nothing answers at http://127.0.0.1:1" in tried.stderr
    assert "Traceback" not in tried.stderr


def test_tail_without_a_server_says_how_to_get_one(tmp_path: Path) -> None:
    tried = djinn("tail", "run_1", data=tmp_path)
    assert tried.returncode == 2
    assert "start `djinn up`" in tried.stderr


def test_a_run_nobody_follows_needs_a_server_that_stays(tmp_path: Path) -> None:
    tried = djinn("run", "engineering", "x", "--no-follow", data=tmp_path)
    assert tried.returncode == 2
    assert "start `djinn up` first" in tried.stderr


@pytest.mark.parametrize("missing", ["DATABASE_URL", "REDIS_URL"])
@pytest.mark.parametrize("command", [("web",), ("clock",), ("worker", "--queues", "short")])
def test_a_process_without_one_of_its_servers_says_what_to_set(
    command: tuple[str, ...], missing: str
) -> None:
    told = {"DATABASE_URL": "postgresql://127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1"}
    tried = djinn(*command, **told | {missing: ""})
    assert tried.returncode == 2
    assert f"{missing} is not set" in tried.stderr
    assert "Traceback" not in tried.stderr


def test_garbled_settings_are_named(tmp_path: Path) -> None:
    tried = djinn("up", data=tmp_path, PORT="eighty")
    assert tried.returncode == 1
    assert "PORT must be a whole number" in tried.stderr


def test_the_doctor_is_content_with_this_machine(tmp_path: Path) -> None:
    seen = djinn("doctor", "--json", data=tmp_path)
    findings = {finding["name"]: finding for finding in json.loads(seen.stdout)}
    assert findings["postgres"]["state"] == findings["redis"]["state"] == "ok"
    assert findings["git"]["state"] == "ok"
    assert findings["user"]["state"] == ("note" if os.geteuid() == 0 else "ok")
    assert seen.returncode == (1 if "missing" in {f["state"] for f in findings.values()} else 0)


def test_the_doctor_says_what_is_wrong_with_a_server(tmp_path: Path) -> None:
    urls = {"DATABASE_URL": "postgresql://127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1"}
    seen = djinn("doctor", data=tmp_path, **urls)
    assert seen.returncode == 1
    assert "check DATABASE_URL and the server" in seen.stdout
    assert "check REDIS_URL and the server" in seen.stdout


def test_the_doctor_names_keys_but_never_shows_them(tmp_path: Path) -> None:
    seen = djinn("doctor", data=tmp_path, ANTHROPIC_API_KEY="sk-canary")
    assert "keys for anthropic" in seen.stdout
    assert "sk-canary" not in seen.stdout + seen.stderr


def test_the_doctor_notices_a_folder_it_may_not_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    seen = djinn("doctor", "--data", str(tmp_path / "file" / "data"))
    assert "cannot be written" in seen.stdout
    assert seen.returncode == 1
