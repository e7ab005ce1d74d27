"""A stopped worker keeps its lock; its successor neither waits for it nor shares its folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from tests.patience import within
from tests.workers.workspaces.leaving import files, kept
from workers.workspaces import Busy, folders, locks, open_workspace, remove

pytestmark = pytest.mark.slow  # real processes

STOPPING = """
import os, signal, sys
from pathlib import Path
from models.blobs import Blobs
from workers.workspaces import Saved, open_workspace
root, url, commit, snapshot = sys.argv[1:]
blobs = Blobs(url)
with open_workspace(Path(root), "run_1", Saved(commit, snapshot), blobs) as workspace:
    os.kill(os.getpid(), signal.SIGSTOP)
    (workspace.tree / "ghost").write_text("from the grave")
    workspace.savepoint(blobs, None)
    workspace.commit("a zombie's", "finn", "exec_2")
"""


@pytest.fixture
def begun(root, blobs):
    """What the step before left: one file."""
    with open_workspace(root, "run_1", None, blobs) as workspace:
        (workspace.tree / "old").write_text("old")
        return kept(workspace, blobs)


@contextmanager
def stopped(root, blobs, saved):
    """A worker that has the run's files open and is stopped; yields its process."""
    arguments = [str(root), blobs.url, saved.commit, saved.snapshot]
    child = subprocess.Popen([sys.executable, "-c", STOPPING, *arguments])
    try:
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        yield child
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


def test_the_successor_of_a_stopped_worker_works_at_once_in_a_folder_of_its_own(root, blobs, begun):
    with stopped(root, blobs, begun) as zombie:

        def look_in() -> None:
            with open_workspace(root, "run_1", begun, blobs):
                pass

        within(2, look_in)
        with open_workspace(root, "run_1", begun, blobs) as workspace:
            assert workspace.folder.name == "run_1~1"
            (workspace.tree / "new").write_text("new")
            point = workspace.savepoint(blobs, None)
            zombie.send_signal(signal.SIGCONT)
            zombie.wait()
            assert files(workspace.tree) == {b"old": b"old", b"new": b"new"}
            assert workspace.savepoint(blobs, point) is None
            saved = kept(workspace, blobs, "exec_2")
    assert (root / "run_1" / "tree" / "ghost").exists()
    with open_workspace(root, "run_1", saved, blobs) as workspace:
        assert workspace.folder.name == "run_1"
        assert workspace.head() == saved.commit
        assert files(workspace.tree) == {b"old": b"old", b"new": b"new"}


def test_a_second_zombie_costs_one_folder_more(root, blobs, begun):
    with (
        stopped(root, blobs, begun),
        stopped(root, blobs, begun),
        open_workspace(root, "run_1", begun, blobs) as workspace,
    ):
        assert workspace.folder.name == "run_1~2"
        assert files(workspace.tree) == {b"old": b"old"}


def test_a_run_is_removed_with_all_its_folders_once_the_zombie_is_gone(root, blobs, begun):
    with stopped(root, blobs, begun):
        open_workspace(root, "run_1", begun, blobs).close()
        with pytest.raises(Busy):
            remove(root, "run_1")
    remove(root, "run_1")
    assert list(root.iterdir()) == []


def test_removing_a_run_spares_those_whose_names_begin_alike(root, blobs):
    for run_id in ("run_1", "run_10", "run_1-x"):
        open_workspace(root, run_id, None, blobs).close()
    remove(root, "run_1")
    assert not (root / "run_1").exists()
    assert (root / "run_10" / "tree").is_dir()
    assert (root / "run_1-x" / "tree").is_dir()


def test_there_is_an_end_to_the_folders_of_one_run(root, blobs):
    first = root / "run_1"
    held = [
        locks.acquire(folders.lock_of(folder), 0)
        for folder in (first, *(root / f"run_1~{n}" for n in range(1, folders.CANDIDATES)))
    ]
    with pytest.raises(Busy, match="run_1"):
        open_workspace(root, "run_1", None, blobs)
    for lock in held:
        os.close(lock)
