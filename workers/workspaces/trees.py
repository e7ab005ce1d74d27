"""Going through folders that agents wrote, never through a symbolic link."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path


def forget_nested(tree: Path) -> None:
    """Delete every `.git` below the top, so that nested repositories are plain files.

    Left alone they would stop `git add`, lose their files from the snapshot, and, once known to the
    index, have git read their configuration out here, where it can name programs to run.
    Raises PermissionError for a folder that cannot be entered: git would just leave it out.
    """
    top = True
    for _, folders, files, descriptor in os.fwalk(tree, onerror=_raised):
        for name in [each for each in (*folders, *files) if each.casefold() == ".git"]:
            if name in folders:
                folders.remove(name)
            if not (top and name == ".git"):  # that one git itself never looks at
                _delete(name, descriptor)
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
            mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                os.chmod(name, mode | stat.S_IRWXU, dir_fd=descriptor)
            elif stat.S_ISREG(mode):
                os.chmod(name, mode | stat.S_IRUSR | stat.S_IWUSR, dir_fd=descriptor)


def _raised(error: OSError) -> None:
    raise error


def _delete(name: str, descriptor: int) -> None:
    mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
    if stat.S_ISDIR(mode):
        shutil.rmtree(name, dir_fd=descriptor)
    else:
        os.unlink(name, dir_fd=descriptor)
