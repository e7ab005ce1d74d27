"""Git's plainest formats, written here where starting a program would take longer than the work.

Formats: gitformat-bundle(5) and "Git Objects" of the Pro Git book.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from workers.workspaces.git import COMMITTER, DOMAIN, Git

HEADER = re.compile(
    rb"commit \d+\0tree (?P<tree>[0-9a-f]{40,64})\n(parent [0-9a-f]{40,64}\n)*author [^\n]*\n"
    rb"committer [^\n]* (?P<when>\d+) [+-]\d{4}\n"
)


def write_commit(git_dir: Path, parents: Sequence[str], tree: str, message: str, when: int) -> str:
    """A commit of ours on no branch, made at `when` (seconds); its name.

    The same arguments always make the same commit.
    """
    who = f"{COMMITTER} <server@{DOMAIN}> {when} +0000"
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
    body = "\n".join([*lines, f"author {who}", f"committer {who}", "", f"{message}\n"]).encode()
    content = b"commit %d\0%b" % (len(body), body)
    name = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    path = git_dir / "objects" / name[:2] / name[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, zlib.compress(content))
    return name


def read_commit(git_dir: Path, name: str) -> tuple[str, int] | None:
    """The tree of a commit and its time in seconds; None where only git can tell.

    What was just committed lies there by itself, the rest in packs.
    """
    path = git_dir / "objects" / name[:2] / name[2:]
    try:
        content = zlib.decompress(path.read_bytes())
    except (OSError, zlib.error):
        return None
    found = HEADER.match(content)
    return (found["tree"].decode(), int(found["when"])) if found else None


def replace(path: Path, content: bytes) -> None:
    """Make `path` hold `content`, never half of it."""
    # The prefix by which git knows such leftovers of the dead, and sweeps them out in time.
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix="tmp_obj_", delete=False) as draft:
        draft.write(content)
        os.fchmod(draft.fileno(), 0o444)
    Path(draft.name).replace(path)


def write_bundle(git: Git, bundle: Path, reference: str, commit: str, base: str | None) -> None:
    """Make `bundle` hold what `commit` reaches and `base` does not, as `reference`."""
    needs = f"-{base} \n" if base else ""
    excluded = f"^{base}\n" if base else ""
    with bundle.open("wb") as file:
        file.write(f"# v2 git bundle\n{needs}{commit} {reference}\n\n".encode())
        file.flush()
        git(
            *("pack-objects", "--revs", "--thin", "--delta-base-offset", "--quiet", "--stdout"),
            text=f"{commit}\n{excluded}",
            into=file.fileno(),
        )
