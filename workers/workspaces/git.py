"""Running git so that neither the operator's configuration nor anything an agent wrote matters."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
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


@dataclass(frozen=True)
class Outcome:
    """How a git command ended: its exit code, what it printed and what it complained of."""

    code: int
    said: str
    complaint: str


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
        """What git printed, given `text`; WorkspaceError when it fails or is too slow.

        With `into` it prints to that file, and this is empty.
        """
        done = self.outcome(*arguments, text=text, author=author, seconds=seconds, into=into)
        if done.code:
            raise WorkspaceError(done.complaint or f"git ended with {done.code}")
        return done.said

    def outcome(
        self,
        *arguments: str,
        text: str = "",
        author: str = COMMITTER,
        seconds: float = SECONDS,
        into: int = subprocess.PIPE,
    ) -> Outcome:
        """How the command ended, also when it failed; WorkspaceError when it is too slow."""
        place = (f"--git-dir={self.git_dir}", f"--work-tree={self.tree}")
        settings = [word for setting in SETTINGS for word in ("-c", setting)]
        program = shutil.which("git")
        if program is None:
            raise WorkspaceError("git is not installed")
        try:
            done = subprocess.run(
                [program, *settings, *place, *arguments],
                input=text.encode("utf-8", "replace"),
                stdout=into,
                stderr=subprocess.PIPE,
                timeout=seconds,
                cwd=self.tree,
                env={**_environment(program, author), **self._own()},
                pass_fds=(self.lock,),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise WorkspaceError(f"git took longer than {seconds:g} s") from None
        except OSError as error:
            raise WorkspaceError(f"git could not be run: {error}") from error
        said = (done.stdout or b"").decode("utf-8", "replace")
        return Outcome(done.returncode, said, _last_lines(done.stderr))

    def _own(self) -> Mapping[str, str]:
        """The password stands in the environment: argv can be read by everybody on the machine."""
        if self.childless:
            return NOWHERE
        return {PASSWORD: self.password} if self.password is not None else {}


def may_name(git: Git, reference: str) -> bool:
    """Whether a reference can have this name; only an unusual one is worth asking git."""
    if PLAIN.fullmatch(reference):
        return True
    return "\0" not in reference and not git.outcome("check-ref-format", reference).code


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
