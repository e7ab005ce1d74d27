"""Whatever an agent puts into its tree, it is kept, and nothing of it runs or leads outside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from models.blobs import Blobs
from tests.workers.workspaces.leaving import files, kept, nested
from workers.workspaces import Savepoint, WorkspaceError, open_workspace, remove

pytestmark = pytest.mark.slow  # real git

NOBODY = 65534


def test_names_that_are_no_text_and_names_git_fears_come_back(root, elsewhere, blobs):
    names = [b"caf\xe9", b"a\nb", b"-rf", b"git~1", b"back\\slash", b".git ", b"con", b'"q"']
    with open_workspace(root, "run_1", None, blobs) as workspace:
        for name in names:
            Path(os.fsdecode(os.fsencode(workspace.tree) + b"/" + name)).write_bytes(name)
        os.mkfifo(workspace.tree / "pipe")
        saved = kept(workspace, blobs)
    with open_workspace(elsewhere, "run_1", saved, blobs) as workspace:
        assert files(workspace.tree) == {name: name for name in names}


def test_ignored_files_stay_out_of_the_history(opened):
    (opened.tree / ".gitignore").write_text("*.log\nnode_modules/\n")
    (opened.tree / "x.log").write_text("noise")
    opened.commit("x", "finn", "exec_1")
    assert opened.git("ls-files").split() == [".gitignore"]


def test_files_come_back_byte_for_byte_whatever_gitattributes_asks(root, elsewhere, blobs):
    content = b"one\r\ntwo\n$Id$\n"
    with open_workspace(root, "run_1", None, blobs) as workspace:
        (workspace.tree / ".gitattributes").write_text(
            "* text eol=crlf ident filter=evil working-tree-encoding=UTF-16\n"
        )
        (workspace.tree / "x").write_bytes(content)
        saved = kept(workspace, blobs)
    with open_workspace(elsewhere, "run_1", saved, blobs) as workspace:
        assert (workspace.tree / "x").read_bytes() == content


@pytest.mark.parametrize("commits", [True, False])
def test_a_repository_made_inside_the_tree_is_kept_as_plain_files(root, elsewhere, blobs, commits):
    with open_workspace(root, "run_1", None, blobs) as workspace:
        nested(workspace.tree / "app", commits=commits)
        nested(workspace.tree / "app" / "deeper", commits=commits)
        (workspace.tree / ".GIT").mkdir()
        (workspace.tree / ".GIT" / "x").write_text("git refuses this name")
        (workspace.tree / "app" / "linked").mkdir()
        (workspace.tree / "app" / "linked" / ".git").write_text("gitdir: /etc\n")
        (workspace.tree / "app" / "linked" / "y").write_text("y")
        saved = kept(workspace, blobs)
    with open_workspace(elsewhere, "run_1", saved, blobs) as workspace:
        assert set(files(workspace.tree)) == {
            b"app/inner.txt",
            b"app/deeper/inner.txt",
            b"app/linked/y",
        }


def test_nothing_an_agent_configures_runs_on_the_host(root, blobs, tmp_path):
    ran = tmp_path / "ran"
    evil = tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\necho ran >> {ran}\n")
    evil.chmod(0o755)
    with open_workspace(root, "run_1", None, blobs) as workspace:
        nested(workspace.tree / "app", commits=True)
        for folder in (workspace.tree / "app" / ".git", workspace.tree / ".git"):
            (folder / "hooks").mkdir(parents=True, exist_ok=True)
            (folder / "config").write_text(
                f'[core]\n\tfsmonitor = {evil}\n\thooksPath = {tmp_path}\n[filter "evil"]\n'
                f"\tclean = {evil}\n\tsmudge = {evil}\n"
            )
            (folder / "hooks" / "pre-commit").write_bytes(evil.read_bytes())
        (workspace.tree / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n")
        saved = kept(workspace, blobs)
        nested(workspace.tree / "app2", commits=True)
    with open_workspace(root, "run_1", saved, blobs) as workspace:
        kept(workspace, blobs, "exec_2")
    assert not ran.exists()


def test_a_repository_the_agent_works_with_outlives_a_savepoint(root, elsewhere, blobs):
    with open_workspace(root, "run_1", None, blobs) as workspace:
        app = nested(workspace.tree / "app", commits=True)
        deeper = nested(app / "deeper", commits=True)
        point = workspace.savepoint(blobs, None)
        assert workspace.savepoint(blobs, point) is None
        for folder in (app, deeper):
            log = subprocess.run(["git", "-C", folder, "log", "--format=%s"], capture_output=True)
            assert log.stdout == b"x\n"
        saved = kept(workspace, blobs)
    with open_workspace(elsewhere, "run_1", None, blobs) as workspace:
        workspace.restore([point], blobs)
        assert set(files(workspace.tree)) == {b"app/inner.txt", b"app/deeper/inner.txt"}
    with open_workspace(elsewhere, "run_1", saved, blobs) as workspace:
        assert set(files(workspace.tree)) == {b"app/inner.txt", b"app/deeper/inner.txt"}


def test_a_submodule_somebody_filled_becomes_plain_files(root, elsewhere, blobs):
    link = ["update-index", "--add", "--cacheinfo", f"160000,{'a' * 40},"]
    with open_workspace(root, "run_1", None, blobs) as workspace:
        for name in ("filled", "empty"):
            workspace.git(*link[:-1], f"{link[-1]}{name}")
            nested(workspace.tree / name, commits=True)
        (workspace.tree / "empty" / "inner.txt").unlink()
        saved = kept(workspace, blobs)
        assert "160000 commit" in workspace.git("ls-tree", saved.commit, "empty")
    with open_workspace(elsewhere, "run_1", saved, blobs) as workspace:
        assert files(workspace.tree) == {b"filled/inner.txt": b"inner"}


def test_git_asks_no_repository_that_appears_while_it_looks(root, blobs, tmp_path):
    ran, evil = tmp_path / "ran", tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\necho ran >> {ran}\ncat\n")
    evil.chmod(0o755)
    with open_workspace(root, "run_1", None, blobs) as workspace:
        app = nested(workspace.tree / "app", commits=True)
        (app / ".gitattributes").write_text("inner.txt filter=evil\n")
        with (app / ".git" / "config").open("a") as config:
            config.write(f'[filter "evil"]\n\tclean = {evil}\n')
        workspace.alone("add", "--all")
        (app / "inner.txt").write_text("other")
        with pytest.raises(WorkspaceError, match="git status"):
            workspace.alone("add", "--all")
        assert not ran.exists()
        workspace.git("add", "--all")
        assert ran.exists(), "what staging guards against"


RESTLESS = """
import os, shutil, sys, time
app, stash = sys.argv[1:]
os.write(1, b"!")
while True:
    try:
        shutil.copytree(stash, app + "/.git", dirs_exist_ok=True)
    except (OSError, shutil.Error):
        pass
    open(f"{app}/passing", "w").close()
    time.sleep(0.005)
    os.unlink(f"{app}/passing")
    time.sleep(0.005)
"""


@contextmanager
def restless(app: Path, stash: Path) -> Iterator[None]:
    """A program of the agent's that makes `app` a repository again and again, and a file in it."""
    arguments = [sys.executable, "-c", RESTLESS, str(app), str(stash)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.read(1)
        try:
            yield
        finally:
            program.kill()


def test_a_program_still_running_makes_a_savepoint_neither_fail_nor_run_anything(
    root, elsewhere, blobs, tmp_path
):
    ran, evil = tmp_path / "ran", tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\necho ran >> {ran}\ncat\n")
    evil.chmod(0o755)
    with open_workspace(root, "run_1", None, blobs) as workspace:
        app = nested(workspace.tree / "app", commits=True)
        (app / ".gitattributes").write_text("inner.txt filter=evil\n")
        with (app / ".git" / "config").open("a") as config:
            config.write(f'[filter "evil"]\n\tclean = {evil}\n[core]\n\tfsmonitor = {evil}\n')
        shutil.copytree(app / ".git", tmp_path / "stash")
        points: list[Savepoint] = []
        with restless(app, tmp_path / "stash"):
            for number in range(25):
                (app / "inner.txt").write_text(f"{number}")
                with suppress(WorkspaceError):  # it may well outrun us; never may it run out here
                    point = workspace.savepoint(blobs, points[-1] if points else None)
                    points += [point] if point else []
        (app / "inner.txt").write_text("at last")
        last = workspace.savepoint(blobs, points[-1] if points else None)
        assert last is not None
    assert not ran.exists()
    with open_workspace(elsewhere, "run_1", None, blobs) as workspace:
        workspace.restore([*points, last], blobs)
        assert files(workspace.tree)[b"app/inner.txt"] == b"at last"


def test_files_that_come_and_go_meanwhile_stop_no_savepoint(root, blobs, tmp_path):
    with open_workspace(root, "run_1", None, blobs) as workspace:
        (workspace.tree / "app").mkdir()
        points: list[Savepoint] = []
        with restless(workspace.tree / "app", tmp_path / "nothing"):
            for number in range(25):
                (workspace.tree / "kept").write_text(f"{number}")
                point = workspace.savepoint(blobs, points[-1] if points else None)
                assert point is not None
                points.append(point)
        workspace.restore(points, blobs)
        assert files(workspace.tree)[b"kept"] == b"24"


def test_a_link_out_of_the_tree_is_kept_as_a_link_and_never_followed(
    root, elsewhere, blobs, tmp_path
):
    outside = tmp_path / "outside"
    (outside / ".git").mkdir(parents=True)
    (outside / "precious").write_text("precious")
    with open_workspace(root, "run_1", None, blobs) as workspace:
        (workspace.tree / "way out").symlink_to(outside)
        (workspace.tree / ".git").symlink_to(outside)
        (workspace.tree / "sub").mkdir()
        (workspace.tree / "sub" / ".git").symlink_to(outside / ".git")
        saved = kept(workspace, blobs)
        (workspace.tree / "left").symlink_to(outside)
    with open_workspace(root, "run_1", saved, blobs) as workspace:
        assert files(workspace.tree)[b"way out"] == os.fsencode(outside)
    with open_workspace(elsewhere, "run_1", saved, blobs) as workspace:
        assert (workspace.tree / "way out").is_symlink()
    remove(root, "run_1")
    assert (outside / "precious").read_text() == "precious"
    assert (outside / ".git").exists()


def test_files_an_agent_locked_away_from_us_are_committed_all_the_same(opened):
    (opened.tree / "shut").mkdir()
    (opened.tree / "shut" / "file").write_text("x")
    (opened.tree / "shut" / "file").chmod(0)
    (opened.tree / "shut").chmod(0)
    opened.commit("x", "finn", "exec_1")
    assert opened.git("ls-files").split() == ["shut/file"]


def test_a_tree_an_agent_shut_altogether_is_opened_again_by_an_ordinary_user():
    with ordinary_folder() as folder:
        blobs = Blobs((folder / "blobs").as_uri())
        with open_workspace(folder / "here", "run_1", None, blobs) as workspace:
            (workspace.tree / "file").write_text("x")
            workspace.tree.chmod(0)
            saved = kept(workspace, blobs)
            workspace.tree.chmod(0)
        with open_workspace(folder / "here", "run_1", saved, blobs) as workspace:
            assert files(workspace.tree) == {b"file": b"x"}
            workspace.tree.chmod(0)
        remove(folder / "here", "run_1")


@contextmanager
def ordinary_folder() -> Iterator[Path]:
    """A folder of an ordinary user, who we are while the block lasts: root may enter anything."""
    folder = Path(tempfile.mkdtemp())
    was = os.geteuid()
    if was == 0:
        os.chown(folder, NOBODY, -1)
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        os.seteuid(was)
        shutil.rmtree(folder)


def test_a_repository_an_agent_shut_is_kept_as_plain_files_by_an_ordinary_user(monkeypatch):
    with ordinary_folder() as folder:
        monkeypatch.setenv("HOME", str(folder))
        blobs = Blobs((folder / "blobs").as_uri())
        with open_workspace(folder / "here", "run_1", None, blobs) as workspace:
            shut = workspace.tree / "app"
            nested(shut, commits=True)
            for path in (shut / ".git" / "objects", shut):
                path.chmod(0)
            saved = kept(workspace, blobs)
        with open_workspace(folder / "there", "run_1", saved, blobs) as workspace:
            assert files(workspace.tree) == {b"app/inner.txt": b"inner"}


def test_nobody_else_may_enter_the_workspaces(opened, root):
    assert root.stat().st_mode & 0o077 == 0


def test_ten_thousand_files_are_one_commit(opened, blobs):
    for folder in range(100):
        (opened.tree / f"{folder}").mkdir()
        for name in range(100):
            (opened.tree / f"{folder}" / f"{name}").write_text(f"{folder} {name}")
    saved = kept(opened, blobs)
    assert len(opened.git("ls-tree", "-r", "--name-only", saved.commit).split()) == 10_000
