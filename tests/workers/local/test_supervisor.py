"""The supervisor, with small programs of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.patience import within
from workers.local.charge import pause_after
from workers.local.procfile import BadProcfile, Program, parse, read
from workers.local.supervisor import ProgramFailed, Supervisor, rotate, run_once

ENV = {"PATH": os.defpath, "GREETING": "hello"}

HOLDER = """
import sys, time
from pathlib import Path
from workers.local.procfile import Program
from workers.local.supervisor import Supervisor
nap, env = Program("nap", "sleep 60"), {"PATH": "/usr/bin:/bin"}
with Supervisor([nap], env, Path(sys.argv[1]), print) as s:
    print(s.pids["nap"], flush=True)
    time.sleep(60)
"""


def soon(
    what: Callable[[], bool], supervisor: Supervisor | None = None, seconds: float = 30
) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if supervisor:
            supervisor.tend()
        if what():
            return True
        time.sleep(0.02)
    return False


def gone(pid: int) -> bool:
    """Ended, whether or not somebody has reaped it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_programs_get_the_environment_and_a_log_each(tmp_path: Path) -> None:
    talk = Program("talk", "sh -c 'echo $GREETING; exec sleep 60'")
    with Supervisor([talk], ENV, tmp_path, print):
        assert soon(lambda: "hello" in (tmp_path / "talk.log").read_text())


def test_leaving_stops_everything_politely(tmp_path: Path) -> None:
    polite = "sh -c 'trap \"echo bye; exit 0\" TERM; echo ready; while :; do sleep 0.05; done'"
    programs = [Program("one", polite), Program("two", "sleep 60")]

    def come_and_leave() -> dict[str, int]:
        with Supervisor(programs, ENV, tmp_path, print) as supervisor:
            said = (tmp_path / "one.log").read_text
            assert soon(lambda: said().count("ready") > said().count("bye"))
            return supervisor.pids

    pids = within(5, come_and_leave)
    assert all(gone(pid) for pid in pids.values())
    assert "bye" in (tmp_path / "one.log").read_text()


def test_a_program_that_will_not_stop_is_killed_with_its_children(
    tmp_path: Path,
) -> None:
    stubborn = "sh -c 'trap \"\" TERM; sleep 60 & echo $!; while :; do sleep 1; done'"
    said: list[str] = []
    with Supervisor([Program("stubborn", stubborn)], ENV, tmp_path, said.append) as supervisor:
        supervisor.patience = 0.5
        log = tmp_path / "stubborn.log"
        assert soon(lambda: log.read_text().strip().isdigit())
        child, leader = int(log.read_text()), supervisor.pids["stubborn"]
    assert gone(leader)
    assert soon(lambda: gone(child))
    assert said == ["stubborn did not stop within 0.5 s and was killed"]


def test_a_crashed_program_is_started_again_and_it_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    crashing = Program("crash", "sh -c 'echo once more; exit 3'")
    with Supervisor([crashing], ENV, tmp_path, said.append) as supervisor:
        log = tmp_path / "crash.log"
        assert soon(lambda: log.read_text().count("once more") >= 2, supervisor)
    assert said[0].startswith("crash ended with 3; again in 1 s")


def test_killing_one_program_leaves_the_others_alone(tmp_path: Path) -> None:
    said: list[str] = []
    programs = [Program("one", "sleep 60"), Program("two", "sleep 60")]
    with Supervisor(programs, ENV, tmp_path, said.append) as supervisor:
        first, second = supervisor.pids["one"], supervisor.pids["two"]
        os.kill(first, signal.SIGKILL)
        assert soon(lambda: supervisor.pids.get("one", first) != first, supervisor)
        assert supervisor.pids["two"] == second
    assert said[0].startswith("one was killed by SIGKILL")


@pytest.mark.parametrize(("failures", "pause"), [(0, 0), (1, 1), (2, 2), (3, 4), (6, 30), (99, 30)])
def test_pauses_grow_up_to_half_a_minute(failures: int, pause: float) -> None:
    assert pause_after(failures) == pause


def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as holder:
        nap = int(holder.stdout.readline())
        assert not gone(nap)
        holder.kill()
        assert soon(lambda: gone(nap))


def test_a_program_that_must_succeed_says_why_it_did_not(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match=r"(?s)release ended with 4.*no such table"):
        run_once(Program("release", "sh -c 'echo no such table; exit 4'"), ENV, tmp_path)


def test_a_large_log_makes_room(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    log.write_text("more than ten bytes")
    rotate(log, limit=10)
    assert not log.exists()
    assert (tmp_path / "web.log.1").exists()


def test_a_procfile_is_names_and_commands() -> None:
    text = "# comment\n\nweb: serve --port $PORT\nworker-short : work: hard\n"
    assert parse(text) == [
        Program("web", "serve --port $PORT"),
        Program("worker-short", "work: hard"),
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("web serve", "line 1 is not `name: command`"),
        ("a: x\n\nb:", "line 3 is not"),
        ("a: x\na: y", "line 2 names a a second time"),
    ],
)
def test_a_bad_procfile_names_the_line(text: str, complaint: str) -> None:
    with pytest.raises(BadProcfile, match=complaint):
        parse(text)


def test_our_own_procfile_has_every_kind_of_process() -> None:
    assert [program.name for program in read()] == [
        "release",
        "web",
        "worker-short",
        "worker-agents",
        "worker-executors",
        "worker-chats",
        "clock",
    ]
