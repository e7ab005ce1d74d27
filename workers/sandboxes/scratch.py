"""A folder for one step's temporary files, removed whatever a command made of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

FRESH = os.O_WRONLY | os.O_CREAT | os.O_EXCL


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder that is gone after the block.

    Not tempfile.TemporaryDirectory: before 3.11.8 its clean-up follows links while it mends modes,
    and here strangers choose the links.
    """
    folder = Path(tempfile.mkdtemp(prefix="djinn-step-"))
    try:
        yield folder
    finally:
        _unlock(folder)
        shutil.rmtree(folder, ignore_errors=True)


def lay_out(folder: Path, files: Mapping[str, str]) -> None:
    """Make a folder with these files, which only we may read."""
    folder.mkdir(mode=0o700)
    for name, text in files.items():
        with os.fdopen(os.open(folder / name, FRESH, 0o400), "w") as file:
            file.write(text)


def _unlock(folder: Path) -> None:
    """Let us into folders whose modes were taken away; no command runs any more, so no races."""
    for parent, names, _ in os.walk(folder):
        for name in names:
            child = Path(parent, name)
            if not child.is_symlink():
                child.chmod(0o700)
