"""Workspaces: what a step leaves behind is what the next one finds, on any machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from models.errors import NotFound
from tests.workers.workspaces.leaving import files, kept, nested
from workers.workspaces import Busy, Saved, WorkspaceError, locks, open_workspace, remove


def test_a_new_run_has_an_empty_tree_and_no_history(opened):
    assert files(opened.tree) == {}
    assert opened.head() is None
    assert opened.log() == []
    assert not opened.changed()


def test_a_step_becomes_one_commit_by_its_agent(opened):
    (opened.tree / "design.md").write_text("# Design\n")
    assert opened.changed()
    commit = opened.commit("step/DESIGN (finn): drew it\n\nMore.", "finn", "exec_1")
    assert opened.head() == commit
    assert not opened.changed()
    assert opened.log() == [f"{commit[:7]} step/DESIGN (finn): drew it"]
    who = opened.git("log", "-1", "--format=%an|%cn|%(trailers:key=Djinn-Step,valueonly)")
    assert who.strip() == "finn|DjinnBot|exec_1"


def test_the_next_step_finds_what_the_last_one_left(root, blobs):
    with open_workspace(root, "run_1", None, blobs) as workspace:
        (workspace.tree / "a").write_text("one")
        saved = kept(workspace, blobs)
    with open_workspace(root, "run_1", saved, blobs) as workspace:
        assert workspace.head() == saved.commit
        assert files(workspace.tree) == {b"a": b"one"}
        (workspace.tree / "a").unlink()
        (workspace.tree / "b").write_text("two")
        kept(workspace, blobs, "exec_2")
        assert workspace.git("ls-files").split() == ["b"]
        assert len(workspace.log()) == 2


def test_committing_a_step_twice_is_committing_it_once(opened):
    first = opened.commit("done", "finn", "exec_1")
    (opened.tree / "late").write_text("x")
    assert opened.commit("said otherwise", "finn", "exec_1") == first
    assert opened.commit("done", "finn", "exec_2") != first


def test_a_step_that_changed_nothing_still_has_its_commit(opened):
    commits = {opened.commit("looked around", "finn", f"exec_{n}") for n in range(3)}
    assert len(commits) == len(opened.log()) == 3


@pytest.mark.parametrize(
    "message",
    [
        "--amend -m x",
        "# not a comment\n# nor this",
        "ü ☃ \udcff",
        "a\0b",
        "-",
        "Djinn-Step: exec_0\nand more",
    ],
)
def test_a_message_is_only_words(opened, message):
    opened.commit(message, "finn", "exec_1")
    body = opened.git("log", "-1", "--format=%B")
    assert message.replace("\0", "").replace("\udcff", "?") in body
    opened.commit("again", "finn", "exec_1")
    assert len(opened.log()) == 1


@pytest.mark.parametrize("message", ["", " \n ", "long " * 400_000])
def test_no_message_is_too_short_or_too_long(opened, message):
    made = opened.commit(message, "finn", "exec_1")
    assert opened.commit("again", "finn", "exec_1") == made
    assert 0 < len(opened.git("log", "-1", "--format=%B")) < 70_000
    assert len(opened.log()[0]) <= 200


@pytest.mark.parametrize("author", ["", "<>", "a\nb <x@y>", "  .", "Zoë"])
def test_any_author_can_be_written_down(opened, author):
    assert opened.commit("x", author, "exec_1")


def test_another_machine_gets_the_same_commit_and_files(root, elsewhere, blobs):
    with open_workspace(root, "run_1", None, blobs) as workspace:
        (workspace.tree / "bin").mkdir()
        (workspace.tree / "bin" / "go").write_text("#!/bin/sh\n")
        (workspace.tree / "bin" / "go").chmod(0o755)
        (workspace.tree / "zeros").write_bytes(bytes(3_000_000))
        kept(workspace, blobs)
        saved = kept(workspace, blobs, "exec_2")
        before = files(workspace.tree)
    with open_workspace(elsewhere, "run_1", saved, blobs) as workspace:
        assert workspace.head() == saved.commit
        assert files(workspace.tree) == before
        assert os.access(workspace.tree / "bin" / "go", os.X_OK)
        assert len(workspace.log()) == 2
        later = kept(workspace, blobs, "exec_3")
    with open_workspace(root, "run_1", later, blobs) as workspace:
        assert workspace.head() == later.commit
        assert len(workspace.log()) == 3


def test_what_a_crashed_step_left_is_dropped(root, blobs):
    with open_workspace(root, "run_1", None, blobs) as workspace:
        (workspace.tree / "a").write_text("one")
        saved = kept(workspace, blobs)
        (workspace.tree / "a").write_text("half")
        nested(workspace.tree / "left", commits=True)
        (workspace.git_dir / "index.lock").touch()
    with open_workspace(root, "run_1", saved, blobs) as workspace:
        assert files(workspace.tree) == {b"a": b"one"}


def test_a_first_step_that_crashed_starts_again_with_nothing(root, blobs):
    with open_workspace(root, "run_1", None, blobs) as workspace:
        (workspace.tree / "a").write_text("half")
        workspace.commit("never told", "finn", "exec_1")
    with open_workspace(root, "run_1", None, blobs) as workspace:
        assert files(workspace.tree) == {}
        assert workspace.head() is None


def test_going_back_to_an_earlier_commit_gives_its_files(root, blobs):
    with open_workspace(root, "run_1", None, blobs) as workspace:
        (workspace.tree / "a").write_text("one")
        earlier = kept(workspace, blobs)
        (workspace.tree / "b").write_text("two")
        kept(workspace, blobs, "exec_2")
    with open_workspace(root, "run_1", earlier, blobs) as workspace:
        assert workspace.head() == earlier.commit
        assert files(workspace.tree) == {b"a": b"one"}


@pytest.mark.parametrize("harm", ["HEAD", "objects", "index", "config", "refs"])
def test_a_damaged_folder_is_built_again_from_the_snapshot(root, blobs, harm):
    with open_workspace(root, "run_1", None, blobs) as workspace:
        (workspace.tree / "a").write_text("one")
        saved = kept(workspace, blobs)
    path = workspace.git_dir / harm
    if path.is_dir():
        for each in [each for each in path.rglob("*") if each.is_file()]:
            each.chmod(0o600)
            each.write_bytes(b"")
    else:
        path.write_bytes(b"\0torn")
    with open_workspace(root, "run_1", saved, blobs) as workspace:
        assert workspace.head() == saved.commit
        assert files(workspace.tree) == {b"a": b"one"}
        assert kept(workspace, blobs, "exec_2")


CRASHING = """
import os, signal, sys
from pathlib import Path
from models.blobs import Blobs
from workers.workspaces import Saved, open_workspace
root, url, commit, snapshot = sys.argv[1:]
blobs = Blobs(url)
with open_workspace(Path(root), "run_1", Saved(commit, snapshot), blobs) as workspace:
    (workspace.tree / "b").write_text("two")
    print(workspace.commit("second", "finn", "exec_2"), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_between_commit_and_snapshot_the_step_finds_the_same_tree(root, elsewhere, blobs):
    with open_workspace(root, "run_1", None, blobs) as workspace:
        (workspace.tree / "a").write_text("one")
        saved = kept(workspace, blobs)
    child = subprocess.run(
        [sys.executable, "-c", CRASHING, str(root), blobs.url, saved.commit, saved.snapshot],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    untold = Saved(child.stdout.strip(), saved.snapshot)
    with open_workspace(root, "run_1", untold, blobs) as workspace:
        assert files(workspace.tree) == {b"a": b"one", b"b": b"two"}
        assert workspace.commit("second", "finn", "exec_2") == untold.commit
    for machine in (root, elsewhere):  # nobody was told of the commit: the step is done again
        with open_workspace(machine, "run_1", saved, blobs) as workspace:
            assert files(workspace.tree) == {b"a": b"one"}


def test_two_processes_never_have_one_run_open(opened, root):
    with pytest.raises(Busy, match="run_1"):
        locks.acquire(root / "run_1.lock", patience=0.1)


def test_whoever_waits_gets_it_when_the_other_is_done(root, blobs):
    workspace = open_workspace(root, "run_1", None, blobs)
    done = threading.Event()
    timer = threading.Timer(0.3, lambda: (done.set(), workspace.close()))
    timer.start()
    with open_workspace(root, "run_1", None, blobs):
        assert done.is_set()
    timer.join()


def test_a_workspace_nobody_closed_does_not_lock_its_run_for_ever(root, blobs):
    open_workspace(root, "run_1", None, blobs)
    os.close(locks.acquire(root / "run_1.lock", patience=0))


def test_a_removed_run_leaves_nothing_and_removing_it_twice_is_fine(root, blobs):
    with open_workspace(root, "run_1", None, blobs) as workspace:
        (workspace.tree / "a").write_text("one")
        kept(workspace, blobs)
    remove(root, "run_1")
    remove(root, "run_1")
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("run_id", ["", ".", "..", "../x", "a/b", "a b", "x" * 129, "é", "a\n"])
def test_only_a_run_s_id_names_a_folder(root, blobs, run_id):
    with pytest.raises(WorkspaceError):
        open_workspace(root, run_id, None, blobs)
    with pytest.raises(WorkspaceError):
        remove(root, run_id)
    assert not root.exists()


def test_a_snapshot_nobody_has_is_said(root, blobs):
    with pytest.raises(NotFound):
        open_workspace(root, "run_1", Saved("a" * 40, "b" * 64), blobs)
    with open_workspace(root, "run_1", None, blobs) as workspace:
        assert workspace.commit("x", "finn", "exec_1")


@pytest.mark.parametrize("commit", ["", "--all", "HEAD", "a" * 39])
def test_only_a_commit_s_full_name_is_one(root, blobs, commit):
    with pytest.raises(WorkspaceError):
        open_workspace(root, "run_1", Saved(commit, "b" * 64), blobs)


@pytest.mark.parametrize("step", ["", "a b", "a\nb", "é"])
def test_only_an_execution_s_id_is_written_into_a_commit(opened, step):
    with pytest.raises(WorkspaceError):
        opened.commit("x", "finn", step)


def test_git_s_own_words_are_in_the_error(opened):
    with pytest.raises(WorkspaceError, match="Needed a single revision"):
        opened.git("rev-parse", "--verify", "nothing-such^{commit}", "--")
