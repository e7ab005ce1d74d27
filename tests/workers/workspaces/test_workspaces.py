"""Workspaces: what a step leaves behind is what the next one finds, on any machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from models.blobs import Blobs
from models.errors import NotFound
from workers.workspaces import Busy, Saved, WorkspaceError, locks, open_workspace, remove


@pytest.fixture
def blobs(tmp_path):
    return Blobs((tmp_path / "blobs").as_uri())


@pytest.fixture
def root(tmp_path):
    return tmp_path / "here" / "workspaces"


@pytest.fixture
def elsewhere(tmp_path):
    return tmp_path / "another machine" / "workspaces"


@pytest.fixture
def opened(root, blobs):
    """The new workspace of run_1, open."""
    with open_workspace(root, "run_1", None, blobs) as workspace:
        yield workspace


def files(tree: Path) -> dict[bytes, bytes]:
    """Every file below `tree` by its raw name; a link is its target."""
    found = {}
    for path in tree.rglob("*"):
        name = os.fsencode(path.relative_to(tree))
        if path.is_symlink():
            found[name] = os.fsencode(path.readlink())
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def kept(workspace, blobs, step="exec_1", message="a step") -> Saved:
    return Saved(workspace.commit(message, "finn", step), workspace.snapshot(blobs))


def said(workspace, *arguments) -> str:
    return workspace.git(*arguments)


# One step after the other


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
    who = said(opened, "log", "-1", "--format=%an|%cn|%(trailers:key=Djinn-Step,valueonly)")
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
        assert said(workspace, "ls-files").split() == ["b"]
        assert len(workspace.log()) == 2


def test_committing_a_step_twice_is_committing_it_once(opened):
    first = opened.commit("done", "finn", "exec_1")
    (opened.tree / "late").write_text("x")
    assert opened.commit("done", "finn", "exec_1") == first
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
        "Djinn-Step: exec_0",
    ],
)
def test_a_message_is_only_words(opened, message):
    opened.commit(message, "finn", "exec_1")
    body = said(opened, "log", "-1", "--format=%B")
    assert message.replace("\0", "").replace("\udcff", "?") in body
    assert opened.commit("again", "finn", "exec_1") == opened.head()
    assert len(opened.log()) == 1


@pytest.mark.parametrize("message", ["", " \n ", "long " * 400_000])
def test_no_message_is_too_short_or_too_long(opened, message):
    assert opened.commit(message, "finn", "exec_1")
    assert 0 < len(said(opened, "log", "-1", "--format=%B")) < 70_000
    assert len(opened.log()[0]) <= 200


@pytest.mark.parametrize("author", ["", "<>", "a\nb <x@y>", "  .", "Zoë"])
def test_any_author_can_be_written_down(opened, author):
    assert opened.commit("x", author, "exec_1")


# Whatever agents put into the tree


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
    assert said(opened, "ls-files").split() == [".gitignore"]


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


def nested(folder: Path, *, commits: bool) -> Path:
    folder.mkdir()
    (folder / "inner.txt").write_text("inner")
    run = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*run, "init", "-q"], check=True)
    if commits:
        subprocess.run([*run, "add", "-A"], check=True)
        subprocess.run([*run, "commit", "-qm", "x"], check=True)
    return folder


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
    assert said(opened, "ls-files").split() == ["shut/file"]


def test_ten_thousand_files_are_one_commit(opened, blobs):
    for folder in range(100):
        (opened.tree / f"{folder}").mkdir()
        for name in range(100):
            (opened.tree / f"{folder}" / f"{name}").write_text(f"{folder} {name}")
    saved = kept(opened, blobs)
    assert len(said(opened, "ls-tree", "-r", "--name-only", saved.commit).split()) == 10_000


# Crashes, other machines, other processes


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
    timer = threading.Timer(0.3, workspace.__exit__)
    timer.start()
    with open_workspace(root, "run_1", None, blobs):
        assert not timer.is_alive() or timer.finished.is_set()
    timer.join()


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


def test_git_s_own_words_are_in_the_error(opened):
    with pytest.raises(WorkspaceError, match="Needed a single revision"):
        opened.git("rev-parse", "--verify", "nothing-such^{commit}", "--")
