"""Running git so that neither the operator's configuration nor anything an agent wrote matters."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

COMMITTER = "DjinnBot"
DOMAIN = "djinnbot.invalid"
SECONDS = 120.0
ERROR_LINES = 5
PASSWORD = "DJINN_GIT_PASSWORD"  # noqa: S105 - the name of a variable
ASKED = f'!f() {{ echo username=x-access-token; echo "password=${PASSWORD}"; }}; f'
PLAIN = re.compile(r"refs(/\w[\w-]*)+", re.ASCII)
NOWHERE = {"PATH": "/nonexistent", "GIT_EXEC_PATH": "/nonexistent"}
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # what a person mends elsewhere
ROOM = 16 * 1024 * 1024  # bytes; what fails where fewer are left may have failed for want of them
# How git says that the machine fails it, where it does say so.
MACHINE = (*DISK, errno.ENOMEM, errno.EAGAIN)
PASSING = (*map(os.strerror, MACHINE), "died of signal")

SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    # Agents may name files as Linux does; only `.git` itself stays forbidden.
    "core.protectNTFS=false",
    "core.protectHFS=false",
    "submodule.recurse=false",
    "core.fsyncMethod=batch",
    "protocol.allow=never",
    # Packing keeps snapshots fast. It must neither outlive the lock nor hide the branch's own file.
    "gc.autoDetach=false",
    "gc.packRefs=false",
)


class WorkspaceError(Exception):
    """The run's files cannot be had or kept; says git's last lines."""


class Passing(WorkspaceError):
    """The machine or the network was in the way: another time it may go well."""


@dataclass(frozen=True)
class Outcome:
    """How a git command ended: its exit code, what it printed and what it complained of."""

    code: int
    said: str
    complaint: str

    @property
    def flaw(self) -> str:
        """What was wrong, in words."""
        return self.complaint or f"git ended with {self.code}"


@dataclass(frozen=True)
class Git:
    """Git on one repository; children keep the descriptor `lock`, so they hold the lock too.

    One that is `childless` can start no program, itself included: a repository that appears in the
    tree while git goes through it would otherwise be asked for its status, and name what to run.
    """

    git_dir: Path
    tree: Path
    lock: int
    childless: bool = False
    password: str | None = field(default=None, repr=False)  # what opens the remote, if anything

    def __call__(
        self,
        *arguments: str,
        text: str = "",
        author: str = COMMITTER,
        seconds: float = SECONDS,
        into: int = subprocess.PIPE,
    ) -> str:
        """What git printed, given `text`; WorkspaceError when it fails.

        With `into` it prints to that file, and this is empty.
        """
        return self.outcome(*arguments, text=text, author=author, seconds=seconds, into=into).said

    def outcome(
        self,
        *arguments: str,
        fine: Container[int] = (0,),
        text: str = "",
        author: str = COMMITTER,
        seconds: float = SECONDS,
        into: int = subprocess.PIPE,
    ) -> Outcome:
        """How the command ended, which is with one of the exit codes that are `fine`.

        Raises WorkspaceError for another, Passing where the machine was in the way: git was killed,
        took too long, could not be run, or had no disk to work on.
        """
        done = self._ended(arguments, text.encode("utf-8", "replace"), author, seconds, into)
        if done.returncode < 0:
            raise Passing(f"git was ended: {signal.strsignal(-done.returncode)}")
        said = (done.stdout or b"").decode("utf-8", "replace")
        outcome = Outcome(done.returncode, said, _last_lines(done.stderr))
        if outcome.code not in fine:
            raise self.error(outcome.flaw)
        return outcome

    def error(self, flaw: str) -> WorkspaceError:
        """What to raise for it: Passing where the tree has no disk to be on just now."""
        passing = any(words in flaw for words in PASSING) or not _roomy(self.tree)
        return (Passing if passing else WorkspaceError)(flaw)

    def _ended(
        self, arguments: Sequence[str], text: bytes, author: str, seconds: float, into: int
    ) -> subprocess.CompletedProcess[bytes]:
        program = shutil.which("git")
        if program is None:
            raise WorkspaceError("git is not installed")
        place = (f"--git-dir={self.git_dir}", f"--work-tree={self.tree}")
        settings = [word for setting in SETTINGS for word in ("-c", setting)]
        try:
            return subprocess.run(
                [program, *settings, *place, *arguments],
                input=text,
                stdout=into,
                stderr=subprocess.PIPE,
                timeout=seconds,
                cwd=self.tree,
                env={**_environment(program, author), **self._own()},
                pass_fds=(self.lock,),
                # A platform may tell all of a worker's group to go; what is under way is to end.
                process_group=0,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Passing(f"git took longer than {seconds:g} s") from None
        except OSError as error:
            raise Passing(f"git could not be run: {error}") from error

    def _own(self) -> Mapping[str, str]:
        """The password stands in the environment: argv can be read by everybody on the machine."""
        if self.childless:
            return NOWHERE
        return {PASSWORD: self.password} if self.password is not None else {}


def may_name(git: Git, reference: str) -> bool:
    """Whether a reference can have this name; only an unusual one is worth asking git."""
    if PLAIN.fullmatch(reference):
        return True
    if "\0" in reference:
        return False
    return git.outcome("check-ref-format", reference, fine=(0, 1)).code == 0


def _roomy(folder: Path) -> bool:
    """Whether a folder is there, on a disk with some room."""
    try:
        return shutil.disk_usage(folder).free > ROOM
    except OSError:
        return False


def _environment(program: str, author: str) -> Mapping[str, str]:
    return {
        "PATH": f"{Path(program).parent}{os.pathsep}{os.defpath}",
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": author,
        "GIT_AUTHOR_EMAIL": f"agents@{DOMAIN}",
        "GIT_COMMITTER_NAME": COMMITTER,
        "GIT_COMMITTER_EMAIL": f"server@{DOMAIN}",
    }


def _last_lines(said: bytes) -> str:
    return "\n".join(said.decode("utf-8", "replace").strip().splitlines()[-ERROR_LINES:])
