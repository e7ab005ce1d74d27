"""The embedded Postgres, with real processes."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import psycopg2
import pytest

from workers.local.folder import CannotStart, InUse
from workers.local.postgres import postgres

pytestmark = pytest.mark.slow  # real processes

# leaves the server to its fate: says where it is, then waits to be killed
HOLDER = """
import sys, time
from pathlib import Path
from workers.local.postgres import postgres
with postgres(Path(sys.argv[1])) as url:
    print(url, flush=True)
    time.sleep(60)
"""


def ask(url: str, query: str) -> object:
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone()[0] if cursor.description else None
    finally:
        connection.close()


def process_gone(pid: int, within: float = 30) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.05)
    return False


def postmaster(data: Path) -> int:
    return int((data / "postgres/data/postmaster.pid").read_text().split()[0])


def test_data_survives_a_restart_on_the_same_folder_and_port(tmp_path: Path) -> None:
    with postgres(tmp_path) as first:
        ask(first, "create table kept as select 'ÄÖÜ' as word")
    with postgres(tmp_path) as second:
        assert second == first
        assert ask(second, "select lower(word) from kept") == "äöü"


def test_only_this_machine_with_the_password_gets_in(tmp_path: Path) -> None:
    with postgres(tmp_path) as url:
        assert ask(url, "show listen_addresses") == "127.0.0.1"
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(url.replace(":" + url.split(":")[2].split("@")[0], ":guess"))
    assert stat.S_IMODE((tmp_path / "postgres/password").stat().st_mode) == 0o600


def test_a_second_one_on_the_same_folder_is_told_who_holds_it(tmp_path: Path) -> None:
    with (
        postgres(tmp_path),
        pytest.raises(InUse, match=f"in use by process {os.getpid()}"),
        postgres(tmp_path),
    ):
        pass


def test_a_taken_port_is_changed(tmp_path: Path) -> None:
    with postgres(tmp_path / "one"):
        port = (tmp_path / "one/postgres/port").read_text()
        (tmp_path / "two/postgres").mkdir(parents=True)
        (tmp_path / "two/postgres/port").write_text(port)
        with postgres(tmp_path / "two") as url:
            assert f":{port}/" not in url
            assert ask(url, "select 1") == 1


def test_the_server_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as holder:
        url = holder.stdout.readline().strip()
        ask(url, "create table kept as select 7 as number")
        server = postmaster(tmp_path)
        holder.kill()
        holder.wait()
        with postgres(tmp_path) as url:  # at once: the orphan may still be leaving
            assert ask(url, "select number from kept") == 7
    assert process_gone(server)


def test_it_recovers_from_a_killed_server(tmp_path: Path) -> None:
    with postgres(tmp_path) as url:
        ask(url, "create table kept as select 7 as number")
        server = postmaster(tmp_path)
        os.kill(server, signal.SIGKILL)
    with postgres(tmp_path) as url:
        assert ask(url, "select number from kept") == 7


def test_a_stale_pid_of_an_unrelated_process_is_no_obstacle(tmp_path: Path) -> None:
    with postgres(tmp_path):
        pass
    (tmp_path / "postgres/data/postmaster.pid").write_text(f"{os.getppid()}\n")
    with postgres(tmp_path) as url:
        assert ask(url, "select 1") == 1


def test_half_a_cluster_is_made_anew(tmp_path: Path) -> None:
    half = tmp_path / "postgres/data.tmp/base"
    half.mkdir(parents=True)
    with postgres(tmp_path) as url:
        assert ask(url, "select 1") == 1
    assert not half.exists()


def test_a_lost_password_is_said_plainly(tmp_path: Path) -> None:
    with postgres(tmp_path):
        pass
    (tmp_path / "postgres/password").unlink()
    with pytest.raises(CannotStart, match="password file and its data"), postgres(tmp_path):
        pass


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with postgres(tmp_path):
        pass
    (tmp_path / "postgres/data/postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(CannotStart, match="no_such_setting"), postgres(tmp_path):
        pass


def test_a_postgres_of_the_system_serves_as_well(tmp_path: Path) -> None:
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not debian:
        return  # this machine has no other Postgres
    with postgres(tmp_path, debian[0].parent) as url:
        assert ask(url, "select 1") == 1
