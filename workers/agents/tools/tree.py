"""A workspace's files, reached so that no path and no link leads out of it."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MOUNT = "workspace"  # agents know the workspace by the name it has in their sandbox
MAX_FILE_BYTES = 10 << 20
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A named pipe would block the opening for ever without O_NONBLOCK.
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
FRESH = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class OutOfBounds(Exception):
    """The path names something an agent may not touch this way."""


class Tree:
    """Files beneath `root`; every path is walked folder by folder without following links.

    A command of the same agent may swap a folder for a link at any moment: what was opened stays
    what it was, because each part is opened relative to the one before.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str) -> bytes:
        """The bytes of a regular file; raises OutOfBounds or OSError."""
        *parents, name = self._named(path)
        with self.folder(parents) as parent:
            handle = os.open(name, READ, dir_fd=parent)
        try:
            _regular(os.fstat(handle), path)
            with os.fdopen(handle, "rb", closefd=False) as file:
                data = file.read(MAX_FILE_BYTES + 1)
        finally:
            os.close(handle)
        if len(data) > MAX_FILE_BYTES:
            raise OutOfBounds(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB: use bash on it")
        return data

    def write(self, path: str, data: bytes) -> bool:
        """Make or replace a file whole, with the folders it needs; True when it is new."""
        *parents, name = self._named(path)
        with self.folder(parents, create=True) as parent:
            mode = _mode(parent, name, path)
            draft = f".{name[:100]}.{secrets.token_hex(4)}"
            with os.fdopen(os.open(draft, FRESH, 0o600, dir_fd=parent), "wb") as file:
                file.write(data)
                os.fchmod(file.fileno(), mode or 0o644)
            try:
                os.replace(draft, name, src_dir_fd=parent, dst_dir_fd=parent)
            except OSError:
                os.unlink(draft, dir_fd=parent)
                raise
        return mode is None

    @contextmanager
    def folder(self, parts: list[str], create: bool = False) -> Iterator[int]:
        """An open handle of the folder that `parts` lead to."""
        handle = os.open(self.root, FOLDER & ~os.O_NOFOLLOW)
        try:
            for part in parts:
                below = _enter(handle, part, create)
                os.close(handle)
                handle = below
            yield handle
        finally:
            os.close(handle)

    def parts(self, path: str) -> list[str]:
        """`path` as names beneath the root (none for the root itself); raises OutOfBounds."""
        words = [word for word in path.split("/") if word not in {"", "."}]
        if path.startswith("/"):
            if words[:1] != [MOUNT]:
                raise OutOfBounds(f"{path} is outside the workspace: use paths relative to it")
            words = words[1:]
        if ".." in words or "\0" in path:
            raise OutOfBounds(f"{path} may not contain ..: use paths relative to the workspace")
        if any(word.lower() == ".git" for word in words):
            raise OutOfBounds(f"{path}: .git is kept by the platform, read it with git in bash")
        return words

    def _named(self, path: str) -> list[str]:
        parts = self.parts(path)
        if not parts:
            raise OutOfBounds("a file name is needed, this is the workspace itself")
        return parts


def _enter(parent: int, name: str, create: bool) -> int:
    try:
        return os.open(name, FOLDER, dir_fd=parent)
    except FileNotFoundError:
        if not create:
            raise
    with suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=parent)
    return os.open(name, FOLDER, dir_fd=parent)


def _mode(parent: int, name: str, path: str) -> int | None:
    """The permissions of the file to be replaced; None when there is none."""
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    _regular(found, path)
    return stat.S_IMODE(found.st_mode) & 0o777


def _regular(found: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OutOfBounds(f"{path} is not a regular file")
