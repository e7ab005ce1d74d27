"""Savepoints: amid a step the files can be put back to the last act, on any machine."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from models.errors import NotFound
from tests.workers.workspaces.leaving import files, kept
from workers.workspaces import Savepoint, Start, WorkspaceError, merge, open_workspace

pytestmark = pytest.mark.slow  # real git


def acts(workspace, blobs, *names):
    """A savepoint after each of the acts, which write a file each."""
    points = []
    for name in names:
        (workspace.tree / name).write_text(f"written by act {name}")
        points.append(workspace.savepoint(blobs, points[-1] if points else None))
    return points


@pytest.fixture
def begun(root, blobs):
    """What the step before left: one file."""
    with open_workspace(root, "run_1", None, blobs) as workspace:
        (workspace.tree / "old").write_text("old")
        return kept(workspace, blobs)


@pytest.mark.parametrize("machine", ["root", "elsewhere"])
def test_a_step_taken_over_finds_the_files_as_its_last_act_left_them(
    request, root, blobs, begun, machine
):
    with open_workspace(root, "run_1", begun, blobs) as workspace:
        points = acts(workspace, blobs, "a", "b", "c")
        (workspace.tree / "old").unlink()
        points.append(workspace.savepoint(blobs, points[-1]))
        (workspace.tree / "half").write_text("an act nobody sealed")
        (workspace.tree / "b").write_text("half")
    folder = request.getfixturevalue(machine)
    with open_workspace(folder, "run_1", begun, blobs) as workspace:
        workspace.restore(points, blobs)
        assert set(files(workspace.tree)) == {b"a", b"b", b"c"}
        assert files(workspace.tree)[b"b"] == b"written by act b"
        assert workspace.head() == begun.commit


def test_after_it_the_step_is_still_one_commit_with_everything(root, elsewhere, blobs, begun):
    with open_workspace(root, "run_1", begun, blobs) as workspace:
        points = acts(workspace, blobs, "a", "b")
    with open_workspace(elsewhere, "run_1", begun, blobs) as workspace:
        workspace.restore(points, blobs)
        (workspace.tree / "c").write_text("later")
        saved = kept(workspace, blobs, "exec_2")
        assert workspace.git("rev-parse", "HEAD^").strip() == begun.commit
    with open_workspace(root, "run_1", saved, blobs) as workspace:
        assert set(files(workspace.tree)) == {b"old", b"a", b"b", b"c"}
        assert len(workspace.log()) == 2


def test_the_first_step_of_a_run_has_savepoints_too(root, elsewhere, blobs):
    with open_workspace(root, "run_1", None, blobs) as workspace:
        assert workspace.savepoint(blobs, None) is None
        points = acts(workspace, blobs, "a", "b")
    for folder in (root, elsewhere):
        with open_workspace(folder, "run_1", None, blobs) as workspace:
            workspace.restore(points, blobs)
            assert set(files(workspace.tree)) == {b"a", b"b"}
            assert workspace.head() is None


def test_others_begin_with_the_files_amid_a_step_and_their_work_is_taken_in(
    root, elsewhere, blobs, begun
):
    with open_workspace(root, "run_1", begun, blobs) as workspace:
        assert workspace.packed(None, blobs) == begun
        points = acts(workspace, blobs, "a", "b")
        amid = workspace.packed(points[-1], blobs)
    with open_workspace(elsewhere, "run_2", [Start("run_1", amid)], blobs) as other:
        assert set(files(other.tree)) == {b"old", b"a", b"b"}
        (other.tree / "c").write_text("theirs")
        theirs = Start("run_2", kept(other, blobs))
    made = merge(elsewhere, "run_1", amid, [theirs], blobs).saved
    points.append(Savepoint(made.commit, made.snapshot))
    for folder in (root, elsewhere):
        with open_workspace(folder, "run_1", begun, blobs) as workspace:
            workspace.restore(points, blobs)
            (workspace.tree / "d").write_text(str(folder))
            points.append(workspace.savepoint(blobs, points[-1]))
    with open_workspace(root, "run_1", begun, blobs) as workspace:
        workspace.restore(points, blobs)
        assert set(files(workspace.tree)) == {b"old", b"a", b"b", b"c", b"d"}
        kept(workspace, blobs, "exec_2")
        assert workspace.git("rev-parse", "HEAD^").strip() == begun.commit


def test_nothing_yet_is_nothing_to_begin_with(opened, blobs):
    assert opened.packed(None, blobs) is None


def test_an_act_that_changed_nothing_needs_none(root, blobs, begun):
    with open_workspace(root, "run_1", begun, blobs) as workspace:
        assert workspace.savepoint(blobs, None) is None
        (point,) = acts(workspace, blobs, "a")
        assert workspace.savepoint(blobs, point) is None
        (workspace.tree / "a").unlink()
        assert workspace.savepoint(blobs, point) is not None
    with open_workspace(root, "run_1", begun, blobs) as workspace:
        workspace.restore([point], blobs)
        assert workspace.savepoint(blobs, point) is None
        assert workspace.savepoint(blobs, None) == point


def test_a_savepoint_made_twice_is_made_once(root, elsewhere, blobs, begun):
    made = []
    for folder in (root, elsewhere):
        with open_workspace(folder, "run_1", begun, blobs) as workspace:
            made.append(acts(workspace, blobs, "a", "b"))
    assert made[0] == made[1]


def test_a_savepoint_holds_only_what_its_act_changed(root, blobs, begun):
    with open_workspace(root, "run_1", begun, blobs) as workspace:
        (workspace.tree / "zeros").write_bytes(bytes(range(256)) * 4_000)
        points = [workspace.savepoint(blobs, None)]
        (workspace.tree / "note").write_text("small")
        points.append(workspace.savepoint(blobs, points[0]))
    assert blobs.size(points[1].snapshot) < 1_000


def test_another_worker_goes_on_from_the_last_savepoint_with_its_own(root, elsewhere, blobs, begun):
    with open_workspace(root, "run_1", begun, blobs) as workspace:
        points = acts(workspace, blobs, "a", "b")
    for folder, name in ((elsewhere, "c"), (root, "d"), (elsewhere, "e")):
        with open_workspace(folder, "run_1", begun, blobs) as workspace:
            workspace.restore(points, blobs)
            (workspace.tree / name).write_text(name)
            points.append(workspace.savepoint(blobs, points[-1]))
    with open_workspace(root, "run_1", begun, blobs) as workspace:
        workspace.restore(points, blobs)
        assert set(files(workspace.tree)) == {b"old", b"a", b"b", b"c", b"d", b"e"}


def test_ignored_files_stay_out_and_nested_repositories_are_plain_files(root, elsewhere, blobs):
    with open_workspace(root, "run_1", None, blobs) as workspace:
        (workspace.tree / ".gitignore").write_text("*.log\n")
        (workspace.tree / "x.log").write_text("noise")
        (workspace.tree / "app" / ".git").mkdir(parents=True)
        (workspace.tree / "app" / "code").write_text("x")
        point = workspace.savepoint(blobs, None)
    with open_workspace(elsewhere, "run_1", None, blobs) as workspace:
        workspace.restore([point], blobs)
        assert set(files(workspace.tree)) == {b".gitignore", b"app/code"}


def test_a_lock_that_a_killed_git_left_stops_no_savepoint(root, blobs, begun):
    with open_workspace(root, "run_1", begun, blobs) as workspace:
        (workspace.git_dir / "index.lock").touch()
        points = acts(workspace, blobs, "a")
        (workspace.git_dir / "index.lock").touch()
        (workspace.git_dir / "objects" / "pack").mkdir(exist_ok=True)
        (workspace.git_dir / "objects" / "pack" / "tmp_pack_x").write_bytes(b"PACK half")
        (workspace.git_dir / "refs" / "djinn" / "tmp_obj_x").write_bytes(b"half")
    with open_workspace(root, "run_1", begun, blobs) as workspace:
        workspace.restore(points, blobs)
        assert set(files(workspace.tree)) == {b"old", b"a"}


@pytest.mark.parametrize("content", [b"", b"\0torn"])
def test_savepoints_a_power_cut_tore_come_from_their_blobs(root, blobs, begun, content):
    with open_workspace(root, "run_1", begun, blobs) as workspace:
        before = set(workspace.git_dir.rglob("objects/*/*"))
        points = acts(workspace, blobs, "a", "b")
        for path in set(workspace.git_dir.rglob("objects/*/*")) - before:
            path.chmod(0o600)
            path.write_bytes(content)
    with open_workspace(root, "run_1", begun, blobs) as workspace:
        workspace.restore(points, blobs)
        assert set(files(workspace.tree)) == {b"old", b"a", b"b"}
        assert kept(workspace, blobs, "exec_2")


DYING = """
import os, signal, sys, threading, time
from pathlib import Path
from models.blobs import Blobs
from workers.workspaces import Saved, open_workspace
root, url, commit, snapshot, moment = sys.argv[1:]
blobs = Blobs(url)
with open_workspace(Path(root), "run_1", Saved(commit, snapshot), blobs) as workspace:
    (workspace.tree / "a").write_text("a")
    point = workspace.savepoint(blobs, None)
    print(point.commit, point.snapshot, flush=True)
    for number in range(40):
        (workspace.tree / str(number)).write_bytes(os.urandom(100_000))
    dying = threading.Timer(float(moment), os.kill, (os.getpid(), signal.SIGKILL))
    dying.start()
    while point:
        (workspace.tree / "clock").write_text(str(time.monotonic()))
        point = workspace.savepoint(blobs, point)
"""


@pytest.mark.parametrize("moment", [0.001, 0.01, 0.02, 0.03, 0.05, 0.1])
def test_a_worker_killed_amid_a_savepoint_leaves_the_last_sealed_one(root, blobs, begun, moment):
    child = subprocess.run(
        [sys.executable, "-c", DYING, root, blobs.url, begun.commit, begun.snapshot, str(moment)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    sealed = Savepoint(*child.stdout.split())
    with open_workspace(root, "run_1", begun, blobs) as workspace:
        workspace.restore([sealed], blobs)
        assert files(workspace.tree) == {b"old": b"old", b"a": b"a"}
        assert workspace.savepoint(blobs, sealed) is None


def test_no_savepoints_change_nothing(opened, blobs):
    (opened.tree / "a").write_text("a")
    opened.restore([], blobs)
    assert files(opened.tree) == {b"a": b"a"}


def test_a_savepoint_nobody_has_is_said(opened, blobs):
    with pytest.raises(NotFound):
        opened.restore([Savepoint("a" * 40, "b" * 64)], blobs)
    with pytest.raises(WorkspaceError):
        opened.restore([Savepoint("--help", "b" * 64)], blobs)
    with pytest.raises(WorkspaceError):
        opened.savepoint(blobs, Savepoint("--help", "b" * 64))
