"""Start a program that dies with its parent, under an identity the program accepts.

This file is both a module and a script: `tethered` writes an argv that runs this file in a fresh
interpreter, which prepares itself and then becomes the program. A fresh process is
single-threaded, which `unshare` demands and which `preexec_fn` cannot promise.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

Identity = Literal["self", "namespace", "nobody"]

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1


class NoIdentity(Exception):
    """Postgres refuses to run as this user, and nobody else can be borrowed."""


def tethered(
    argv: Sequence[str | Path],
    farewell: signal.Signals = signal.SIGTERM,
    identity: Identity = "self",
) -> list[str]:
    """The argv that runs `argv` and gets `farewell` when the calling thread's process dies."""
    head = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(farewell)), identity]
    return [*head, *map(str, argv)]


def ordinary_identity() -> Identity:
    """An identity that is not root and has a passwd entry; raises NoIdentity when none is left."""
    if os.geteuid() != 0 and _has_name(os.geteuid()):
        return "self"
    if _works("namespace"):
        return "namespace"
    if os.geteuid() == 0 and _works("nobody"):
        return "nobody"
    raise NoIdentity(
        "Postgres does not run as root or as a user without a name, and this system allows no "
        "user namespaces. Run as an ordinary user, or set DATABASE_URL to a Postgres server."
    )


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _works(identity: Identity) -> bool:
    argv = tethered(["true"], identity=identity)
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def become(parent: int, farewell: int, identity: str, argv: list[str]) -> None:
    """Turn this process into `argv`; does not return."""
    if identity == "namespace":
        _enter_namespace()
    if identity == "nobody":
        _drop_to_nobody()
    die_with_parent(farewell)  # after the change of identity, which clears it
    if os.getppid() != parent:
        sys.exit("the parent is gone")
    os.execvp(argv[0], argv)  # noqa: S606


def die_with_parent(farewell: int) -> None:
    """Get this signal when the thread ends that started this process; it may have ended already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, farewell, 0, 0, 0)


def _enter_namespace() -> None:
    """Be `nobody` in a user namespace of our own: the files stay those of the real user."""
    nobody, uid, gid = pwd.getpwnam("nobody"), os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "no user namespace")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/gid_map").write_text(f"{nobody.pw_gid} {gid} 1")
    Path("/proc/self/uid_map").write_text(f"{nobody.pw_uid} {uid} 1")


def _drop_to_nobody() -> None:
    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)


if __name__ == "__main__":
    become(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
