"""One suite over every sandbox backend that works on this machine.

bubblewrap and unsafe-local must work wherever the suite runs; docker joins where an engine answers.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.processes.product import until
from tests.servers.containers import engine
from workers.halting import DeadlinePassed, Halt, Stopped
from workers.sandboxes import BACKENDS, SandboxUnavailable, backend, choose
from workers.sandboxes.base import (
    Backend,
    Belongings,
    Engine,
    Output,
    Sandbox,
    SandboxAway,
    Spec,
)

pytestmark = pytest.mark.slow  # real processes

ALWAYS = {"bubblewrap", "unsafe-local"}
USABLE = [name for name in BACKENDS if name in ALWAYS or backend(name, engine()).probe() is None]
CONFINING = [name for name in USABLE if name != "unsafe-local"]

confining = pytest.mark.parametrize("name", CONFINING)


@pytest.fixture(params=USABLE)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def nap() -> str:
    """Seconds to sleep, about a minute: other tests look for their sleepers on this machine too."""
    return f"60.{secrets.randbelow(10**9):09}"


def bash(sandbox: Sandbox, command: str, timeout: float = 30) -> Output:
    return sandbox.run(["bash", "-c", command], timeout, Halt())


def processes_with(mark: str) -> list[str]:
    """The command lines of this machine's processes that contain `mark`."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if folder.name.isdigit() and mark in line and int(folder.name) != os.getpid():
            found.append(line)
    return found


def gone(mark: str) -> bool:
    """Whether no process with `mark` is left, given a moment to be buried."""
    deadline = time.monotonic() + 20
    while processes_with(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not processes_with(mark)


def test_a_command_works_on_the_files_of_the_workspace(sandbox: Sandbox, spec: Spec) -> None:
    (spec.tree / "given.txt").write_text("seven")
    output = bash(sandbox, "cat given.txt && printf eight > made.txt")
    assert output == Output(0, "seven")
    assert (spec.tree / "made.txt").read_text() == "eight"


def test_both_streams_and_the_exit_code_are_told(sandbox: Sandbox) -> None:
    output = bash(sandbox, "echo out; echo err >&2; exit 7")
    assert (output.code, output.timed_out) == (7, False)
    assert {"out", "err"} == set(output.text.split())


def test_who_listens_hears_a_command_while_it_runs(sandbox: Sandbox, spec: Spec) -> None:
    """It goes on only when its first words have been heard."""
    heard: list[str] = []

    def hear(piece: str) -> None:
        heard.append(piece)
        (spec.tree / "heard").touch()

    waiting = "while [ ! -e heard ]; do sleep 0.05; done"
    command = f"printf 'gr\\xc3'; {waiting}; printf '\\xbcn'; echo err >&2"
    output = sandbox.run(["bash", "-c", command], 30, Halt(), hear)
    assert (output.text, output.timed_out) == ("grünerr\n", False)
    assert "".join(heard) == output.text


def test_arguments_are_never_read_by_a_shell(sandbox: Sandbox) -> None:
    assert sandbox.run(["echo", "$(id); 'x'"], 30, Halt()).text == "$(id); 'x'\n"


def test_a_program_that_does_not_exist_is_an_output_not_a_crash(sandbox: Sandbox) -> None:
    output = sandbox.run(["no-such-program"], 30, Halt())
    assert output.code in {126, 127}


def test_a_command_that_takes_too_long_dies_with_its_children(sandbox: Sandbox, nap: str) -> None:
    for timeout in (1, 4, 16):  # where others work too it may not even have begun
        began = time.monotonic()
        output = bash(sandbox, f"echo begun; sleep {nap} & sleep {nap}", timeout)
        assert output.timed_out
        assert time.monotonic() - began < timeout + 14
        assert gone(nap)
        if output.text:
            break
    assert output.text == "begun\n"


def test_a_halt_ends_the_command_at_once(sandbox: Sandbox, nap: str) -> None:
    halt = Halt()
    began = time.monotonic()
    threading.Timer(0.5, halt.stop, ["cancelled"]).start()
    with pytest.raises(Stopped, match="cancelled"):
        sandbox.run(["bash", "-c", f"sleep {nap} & sleep {nap}"], 60, halt)
    assert time.monotonic() - began < 12
    assert gone(nap)


def test_the_deadline_of_the_step_bounds_every_command(sandbox: Sandbox, nap: str) -> None:
    with pytest.raises(DeadlinePassed):
        sandbox.run(["sleep", nap], 60, Halt(seconds=0.5))
    assert gone(nap)


def test_nothing_outlives_the_step(chosen: Backend, spec: Spec, nap: str) -> None:
    with chosen.open(spec) as sandbox:
        output = bash(sandbox, f"sleep {nap} & echo started")
        assert output.text == "started\n"
    assert gone(nap)


def test_the_sandbox_works_again_after_a_time_out(sandbox: Sandbox) -> None:
    bash(sandbox, "sleep 65.25", timeout=0.5)
    assert bash(sandbox, "echo still here").text == "still here\n"


def test_endless_output_is_kept_at_both_ends_only(chosen: Backend, spec: Spec) -> None:
    with chosen.open(replace(spec, output_bytes=10_000)) as sandbox:
        output = bash(sandbox, "echo first; yes | head -c 5000000; echo last")
    assert output.truncated
    assert len(output.text) < 11_000
    assert output.text.startswith("first")
    assert output.text.endswith("last\n")
    assert "bytes left out" in output.text


def test_output_that_is_not_utf8_is_still_text(sandbox: Sandbox) -> None:
    assert "\N{REPLACEMENT CHARACTER}" in bash(sandbox, r"printf '\xff\xfe'").text


def test_a_command_has_no_standard_input_to_wait_for(sandbox: Sandbox) -> None:
    assert bash(sandbox, "cat; echo done", timeout=20).text == "done\n"


def test_the_environment_holds_only_what_was_said(
    chosen: Backend, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    monkeypatch.setenv("ENGINE_INTERNAL_TOKEN", "sk-canary")
    with chosen.open(replace(spec, belongings=Belongings({"CI": "1"}))) as sandbox:
        text = bash(sandbox, "env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'").text
        names = bash(sandbox, "compgen -e").text.split()
    if chosen.confines:
        assert "sk-canary" not in text
    assert "sk-canary" not in bash_env(text)
    expected = {"PATH", "HOME", "LANG", "CI"}
    assert (
        expected
        <= set(names)
        <= expected | {"PWD", "OLDPWD", "SHLVL", "_", "HOSTNAME", "TERM", "container"}
    )


def bash_env(text: str) -> str:
    """The part of the answer that `env` gave, before the other processes' environments."""
    return text.partition("_=/usr/bin/env")[0]


def test_memory_is_limited(sandbox: Sandbox) -> None:
    output = bash(sandbox, "head -c 600M /dev/zero | tail -c 600M | wc -c")
    assert "629145600" not in output.text


def test_the_size_of_a_file_is_limited(chosen: Backend, spec: Spec) -> None:
    with chosen.open(replace(spec, file_mb=1)) as sandbox:
        output = bash(sandbox, "head -c 3M /dev/zero > big; wc -c < big")
    assert "1048576" in output.text


def test_history_can_be_read_with_git(chosen: Backend, spec: Spec, tmp_path: Path) -> None:
    git_dir = repository(spec, tmp_path)
    with chosen.open(replace(spec, git_dir=git_dir)) as sandbox:
        if bash(sandbox, "command -v git").code:
            assert chosen.name == "docker", "only an image may come without git"
        else:
            assert "A first step" in bash(sandbox, "git log --oneline").text


def repository(spec: Spec, tmp_path: Path) -> Path:
    """A git directory beside the tree, with one commit of its files."""
    git_dir = tmp_path / "history.git"
    (spec.tree / "kept.txt").write_text("kept")
    subprocess.run(["git", "init", "-q", "--bare", git_dir], check=True)
    git = ["git", f"--git-dir={git_dir}", f"--work-tree={spec.tree}"]
    git += ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for words in (["add", "-A"], ["commit", "-q", "-m", "A first step"]):
        subprocess.run([*git, *words], check=True)
    return git_dir


@confining
def test_history_cannot_be_written(chosen: Backend, spec: Spec, tmp_path: Path) -> None:
    git_dir = repository(spec, tmp_path)
    with chosen.open(replace(spec, git_dir=git_dir)) as sandbox:
        output = bash(sandbox, "echo x > .git/hooks/post-commit; rm -rf .git; mv .git elsewhere")
    assert "Read-only" in output.text or "denied" in output.text or "busy" in output.text
    assert (git_dir / "HEAD").exists()
    assert not (git_dir / "hooks" / "post-commit").exists()


@confining
def test_the_rest_of_the_machine_is_not_there(sandbox: Sandbox, spec: Spec, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("canary")
    link = spec.tree / "way-out"
    link.symlink_to(tmp_path / "secret.txt")
    text = bash(sandbox, f"cat {tmp_path}/secret.txt way-out; cat /etc/shadow; ls /root /home").text
    assert "canary" not in text
    assert "root:$" not in text


@confining
def test_other_processes_cannot_be_seen(sandbox: Sandbox) -> None:
    seen = bash(sandbox, "echo /proc/[0-9]*").text.split()
    assert f"/proc/{os.getpid()}" not in seen
    assert len(seen) < 8


@confining
def test_the_system_is_read_only_and_powers_are_dropped(sandbox: Sandbox) -> None:
    text = bash(sandbox, "touch /usr/canary; grep -E 'CapEff|NoNewPrivs' /proc/self/status").text
    assert not Path("/usr/canary").exists()
    assert "CapEff:\t0000000000000000" in text
    assert "NoNewPrivs:\t1" in text


def test_belongings_are_with_the_commands_and_in_no_processs_arguments(
    chosen: Backend, spec: Spec, nap: str
) -> None:
    has = Belongings({"TOKEN": "canary-71.25", "LINES": "a\nb=c"}, {"x.txt": "cookie\n" * 9_000})
    with chosen.open(replace(spec, belongings=has)) as sandbox:
        spoil = "echo y > ~/cookies/x.txt; rm -f ~/cookies/x.txt"
        told = bash(sandbox, f'echo "$TOKEN $LINES"; tail -n 1 ~/cookies/x.txt; {spoil}')
        assert told.text.startswith("canary-71.25 a\nb=c\ncookie\n")
        if chosen.confines:
            assert bash(sandbox, "grep -c cookie ~/cookies/x.txt").text == "9000\n"
        halt = Halt()
        with ThreadPoolExecutor() as pool:
            sleeping = pool.submit(sandbox.run, ["bash", "-c", f"sleep {nap}"], 60, halt)
            until(lambda: processes_with(nap))
            seen = processes_with("canary-71.25")
            halt.stop("seen enough")
        assert isinstance(sleeping.exception(), Stopped)
        assert not seen


@confining
def test_there_is_no_network(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        output = bash(sandbox, f"echo hello > /dev/tcp/127.0.0.1/{port}")
    assert output.code != 0


def test_network_is_there_where_it_is_allowed(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        choose("bubblewrap").open(Spec(tmp_path, network=True)) as sandbox,
    ):
        port = server.getsockname()[1]
        assert bash(sandbox, f"echo hello > /dev/tcp/127.0.0.1/{port}").code == 0


@confining
def test_a_fork_bomb_stays_in_its_sandbox(sandbox: Sandbox, nap: str) -> None:
    bomb = f"for i in $(seq 200); do sleep {nap} & echo born; done 2>/dev/null"
    for timeout in (3, 9, 27):
        output = bash(sandbox, bomb, timeout)
        assert output.timed_out
        assert gone(nap)
        if output.text.count("born") > 10:
            break
    assert 10 < output.text.count("born") < 64


@confining
def test_temporary_files_last_as_long_as_the_step(chosen: Backend, spec: Spec) -> None:
    with chosen.open(spec) as sandbox:
        bash(sandbox, "echo note > /tmp/note; mkdir -m 0 ~/locked; ln -s / ~/link")
        assert bash(sandbox, "cat /tmp/note").text == "note\n"
    with chosen.open(spec) as sandbox:
        assert bash(sandbox, "cat /tmp/note").code != 0


def test_a_backend_that_does_not_work_is_refused_and_the_way_out_is_named() -> None:
    with pytest.raises(SandboxUnavailable, match="SANDBOX=unsafe-local"):
        choose("docker", Engine("unix:///nonexistent/engine.sock"))


def test_an_engine_that_does_not_answer_may_be_back_in_a_while() -> None:
    with pytest.raises(SandboxAway, match="no container engine answers"):
        choose("docker", Engine("unix:///nonexistent/engine.sock"))


def test_a_name_nobody_knows_is_refused() -> None:
    with pytest.raises(SandboxUnavailable, match="bubblewrap, docker, unsafe-local"):
        choose("chroot")
