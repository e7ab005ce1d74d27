"""Going through folders that agents wrote, never through a symbolic link."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path


def forget_nested(tree: Path) -> None:
    """Delete every `.git` below the top, so that nested repositories are plain files.

    Left alone they would stop `git add`, lose their files from the snapshot, and, once known to the
    index, have git read their configuration out here, where it can name programs to run.
    Raises PermissionError for a folder that cannot be entered: git would just leave it out.
    """
    for name, descriptor in _nested(tree):
        _delete(name, descriptor)


@contextmanager
def without_nested(tree: Path, aside: Path) -> Iterator[bool]:
    """The same only while the block lasts: meanwhile they are at `aside`. Yields whether any is.

    One that a program still running made anew in between stays in the place of ours.
    """
    delete(aside)
    with ExitStack() as after:
        after.callback(delete, aside)
        moved = 0
        for name, descriptor in _nested(tree):
            aside.mkdir(mode=0o700, exist_ok=True)  # few trees have any
            with suppress(FileNotFoundError):
                os.rename(name, aside / str(moved), src_dir_fd=descriptor)
                home = os.dup(descriptor)
                after.callback(os.close, home)
                after.callback(_put_back, aside / str(moved), name, home)
                moved += 1
        yield moved > 0


def _put_back(path: Path, name: str, home: int) -> None:
    with suppress(OSError):  # its folder is gone, or it has another one
        os.rename(path, name, dst_dir_fd=home)


def _nested(tree: Path) -> Iterator[tuple[str, int]]:
    """Every `.git` below the top: its name, and a descriptor of the folder it is in."""
    top = True
    for _, folders, files, descriptor in os.fwalk(tree, onerror=_raised):
        for name in [each for each in (*folders, *files) if each.casefold() == ".git"]:
            if name in folders:
                folders.remove(name)
            if not (top and name == ".git"):  # that one git itself never looks at
                yield name, descriptor
        top = False


def delete(tree: Path) -> None:
    """Delete a folder with whatever an agent made in it; nothing there is fine."""
    try:
        shutil.rmtree(tree)
    except FileNotFoundError:
        return
    except OSError:
        if tree.is_symlink() or tree.is_file():
            tree.unlink()
            return
        loosen(tree)
        shutil.rmtree(tree)


def loosen(tree: Path) -> None:
    """Give ourselves back the permissions an agent took away."""
    if not tree.is_symlink():
        tree.chmod(stat.S_IMODE(tree.stat().st_mode) | stat.S_IRWXU)
    for _, folders, files, descriptor in os.fwalk(tree):
        for name in (*folders, *files):
            with suppress(FileNotFoundError):  # what a program still running took away
                _open_up(name, descriptor)


def _open_up(name: str, descriptor: int) -> None:
    """Through a handle: between a look and a `chmod` a program may put a link in its place."""
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
            more = stat.S_IRWXU if stat.S_ISDIR(mode) else stat.S_IRUSR | stat.S_IWUSR
            Path(f"/proc/self/fd/{handle}").chmod(stat.S_IMODE(mode) | more)
    finally:
        os.close(handle)


def _raised(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _delete(name: str, descriptor: int) -> None:
    with suppress(FileNotFoundError):
        mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            shutil.rmtree(name, dir_fd=descriptor)
        else:
            os.unlink(name, dir_fd=descriptor)
