"""What a command finds when it looks for a way out of each backend that confines."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

from tests.contracts.test_sandboxes import bash, confining, repository
from workers.sandboxes.base import Backend, Sandbox, Spec


@confining
def test_no_device_and_no_namespace_can_be_made(sandbox: Sandbox) -> None:
    made = "mknod disk b 8 0; mknod memory c 1 1; mount -t tmpfs x /tmp; unshare -Ur true; ls -A"
    output = bash(sandbox, f"{made}; unshare -Ur echo nested; chroot . /bin/true && echo rooted")
    assert "nested" not in output.text.split()
    assert "rooted" not in output.text.split()
    assert not {"disk", "memory"} & set(output.text.split())


@confining
def test_the_kernel_cannot_be_told_anything(sandbox: Sandbox) -> None:
    """Its knobs are only opened, never turned: where they can be, this machine would change."""
    find = "find /proc -type f -not -path '/proc/[0-9]*' -not -path '/proc/*self/*' 2>/dev/null"
    openable = f'{find} | while read -r knob; do (: >> "$knob") 2>/dev/null && echo "$knob"; done'
    assert bash(sandbox, openable, timeout=60).text == ""
    assert bash(sandbox, "(: < /dev/mem) || (: < /proc/kcore)").code != 0


@confining
def test_history_cannot_be_linked_into_the_files(
    chosen: Backend, spec: Spec, tmp_path: Path
) -> None:
    git_dir = repository(spec, tmp_path)
    with chosen.open(replace(spec, git_dir=git_dir)) as sandbox:
        bash(sandbox, "ln .git/HEAD head; ln .git/config config; echo evil | tee -a head config")
    assert "evil" not in (git_dir / "HEAD").read_text() + (git_dir / "config").read_text()


@confining
def test_no_socket_of_the_machine_is_in_reach(sandbox: Sandbox, tmp_path: Path) -> None:
    """Neither a file nor an abstract one, which mounts do not hide."""
    name = f"djinn-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as named, socket.socket(socket.AF_UNIX) as abstract:
        named.bind(str(tmp_path / "door"))
        abstract.bind(f"\0{name}")
        for each in (named, abstract):
            each.listen()
        seen = bash(sandbox, f"cat /proc/net/unix; ls {tmp_path} /run /var/run /tmp").text
    assert name not in seen
    assert "door" not in seen


@confining
def test_no_process_outside_can_be_signalled_or_read(sandbox: Sandbox) -> None:
    pid = os.getpid()
    output = bash(sandbox, f"kill -0 {pid} && echo found; cat /proc/{pid}/environ && echo read")
    assert not {"found", "read"} & set(output.text.split())
