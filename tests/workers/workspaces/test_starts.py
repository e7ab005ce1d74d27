"""Forks and swarms: beginning where other runs ended, and making one branch of many."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from models.errors import NotFound
from tests.workers.workspaces.leaving import files, kept
from workers.workspaces import (
    Report,
    Saved,
    Start,
    WorkspaceError,
    merge,
    open_workspace,
    remove,
)

pytestmark = pytest.mark.slow  # real git


@pytest.fixture
def ended(elsewhere, blobs):
    """Run to its end, on another machine, a run that begins at `begin` and writes `texts`."""

    def ended(name, begin=None, **texts):
        with open_workspace(elsewhere, f"run_{name}", begin, blobs) as workspace:
            for file, text in texts.items():
                (workspace.tree / file).write_text(text)
            return Start(name, kept(workspace, blobs, f"exec_{name}"))

    return ended


OLD_GIT = """#!/bin/sh
case "$*" in
*" version") echo "git version 2.34.1" ;;
*merge-tree*) echo "usage: git merge-tree <base-tree> <branch1> <branch2>" >&2; exit 129 ;;
*) exec {git} "$@" ;;
esac
"""


@pytest.fixture(params=["new", "old"])
def any_git(request, monkeypatch, tmp_path):
    """The git of this machine, and one from before it could merge without a work tree."""
    if request.param == "old":
        program = tmp_path / "bin" / "git"
        program.parent.mkdir()
        program.write_text(OLD_GIT.format(git=shutil.which("git")))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


def test_a_fork_goes_on_from_another_run_s_snapshot(root, blobs, ended):
    other = ended("other", a="one").saved
    with open_workspace(root, "run_1", other, blobs) as workspace:
        assert workspace.head() == other.commit
        assert workspace.git("branch", "--format=%(refname:short)").split() == ["run/run_1"]
        (workspace.tree / "b").write_text("two")
        saved = kept(workspace, blobs)
    with open_workspace(root, "run_1", saved, blobs) as workspace:
        assert set(files(workspace.tree)) == {b"a", b"b"}
        assert len(workspace.log()) == 2


def test_a_snapshot_without_the_commit_is_said(root, blobs, ended):
    one, other = ended("one", a="1").saved, ended("other", a="2").saved
    with pytest.raises(WorkspaceError, match=one.commit):
        open_workspace(root, "run_1", Saved(one.commit, other.snapshot), blobs)


@pytest.mark.usefixtures("any_git")
def test_a_dependant_starts_with_the_work_of_all_it_depends_on(root, blobs, ended):
    base = ended("base", shared="1\n2\n3\n4\n5\n").saved
    one = ended("one", base, shared="one\n2\n3\n4\n5\n", a="one")
    two = ended("two", base, shared="1\n2\n3\n4\ntwo\n")
    with open_workspace(root, "run_1", [one, two], blobs) as workspace:
        assert files(workspace.tree) == {b"shared": b"one\n2\n3\n4\ntwo\n", b"a": b"one"}
        assert not workspace.changed()
        assert workspace.conflicts == ()
        parents = workspace.git("log", "-1", "--format=%P|%an|%s").strip()
        assert parents == f"{one.saved.commit} {two.saved.commit}|DjinnBot|Merge two"
        (workspace.tree / "mine").write_text("x")
        saved = kept(workspace, blobs)
    with open_workspace(root, "run_1", saved, blobs) as workspace:
        assert workspace.head() == saved.commit
        assert len(workspace.log()) == 5


@pytest.mark.usefixtures("any_git")
def test_a_start_that_conflicts_is_left_out_and_can_be_looked_at(root, blobs, ended):
    base = ended("base", shared="start").saved
    one = ended("one", base, shared="one")
    two = ended("two", base, shared="two", other="two")
    three = ended("three", base, c="three")
    with open_workspace(root, "run_1", [one, two, three], blobs) as workspace:
        assert files(workspace.tree) == {b"shared": b"one", b"c": b"three"}
        (conflict,) = workspace.conflicts
        assert (conflict.name, conflict.commit) == ("two", two.saved.commit)
        assert conflict.files == ("shared",)
        assert workspace.git("show", "refs/djinn/left/two:shared") == "two"
        assert not workspace.changed()


@pytest.mark.usefixtures("any_git")
def test_starts_that_share_no_history_are_merged(root, blobs, ended):
    one, two, three = ended("one", a="1"), ended("two", b="2"), ended("three", a="3")
    with open_workspace(root, "run_1", [one, two, three], blobs) as workspace:
        assert files(workspace.tree) == {b"a": b"1", b"b": b"2"}
        assert [conflict.files for conflict in workspace.conflicts] == [("a",)]


def test_a_start_that_another_contains_needs_no_merge(root, blobs, ended):
    base = ended("base", a="1")
    later = ended("later", base.saved, b="2")
    for order in ([base, later], [later, base], [later, Start("again", later.saved)]):
        with open_workspace(root, "run_1", order, blobs) as workspace:
            assert workspace.head() == later.saved.commit
            assert set(files(workspace.tree)) == {b"a", b"b"}


def test_the_same_starts_are_the_same_commit_everywhere_so_savepoints_fit(
    root, elsewhere, blobs, ended
):
    begin = [ended("one", a="1"), ended("two", b="2")]
    with open_workspace(root, "run_1", begin, blobs) as workspace:
        head = workspace.head()
        (workspace.tree / "c").write_text("3")
        point = workspace.savepoint(blobs, None)
    assert blobs.size(point.snapshot) < 700
    for folder in (root, elsewhere):
        with open_workspace(folder, "run_1", begin, blobs) as workspace:
            workspace.restore([point], blobs)
            assert workspace.head() == head
            assert set(files(workspace.tree)) == {b"a", b"b", b"c"}


@pytest.mark.usefixtures("any_git")
def test_no_merge_runs_or_obeys_what_a_tree_brings(root, elsewhere, blobs, ended, tmp_path):
    ran, evil = tmp_path / "ran", tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\necho ran >> {ran}\n")
    evil.chmod(0o755)
    asks = "* merge=evil filter=evil diff=evil\nshared merge=union\n"
    config = f'[merge "evil"]\n\tdriver = {evil}\n[filter "evil"]\n\tsmudge = {evil}\n'
    base = ended("base", shared="1", **{".gitattributes": asks, ".gitconfig": config}).saved
    one, two = ended("one", base, shared="one"), ended("two", base, shared="two")
    with open_workspace(root, "run_1", [one, two], blobs) as workspace:
        assert [conflict.files for conflict in workspace.conflicts] == [("shared",)]
    assert not ran.exists()


@pytest.mark.usefixtures("any_git")
def test_no_merge_writes_through_a_link(root, elsewhere, blobs, ended, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    with open_workspace(elsewhere, "run_link", None, blobs) as workspace:
        (workspace.tree / "way").symlink_to(outside)
        link = Start("link", kept(workspace, blobs))
    with open_workspace(elsewhere, "run_folder", None, blobs) as workspace:
        (workspace.tree / "way").mkdir()
        (workspace.tree / "way" / "in").write_text("x")
        folder = Start("folder", kept(workspace, blobs))
    for order in ([link, folder], [folder, link]):
        open_workspace(root, "run_1", order, blobs).close()
    assert list(outside.iterdir()) == []


@pytest.mark.usefixtures("any_git")
@pytest.mark.parametrize("before", ["", "## EARLIER\n\ndone\n\n"])
def test_the_progress_that_each_branch_wrote_down_is_no_conflict(root, elsewhere, blobs, before):
    base, branches = None, []
    for name, text in (
        ("base", before),
        ("one", before + "## ONE\n"),
        ("two", before + "## TWO\n"),
    ):
        with open_workspace(elsewhere, f"run_{name}", base, blobs) as workspace:
            (workspace.tree / ".djinn").mkdir(exist_ok=True)
            if text:
                (workspace.tree / ".djinn" / "progress.md").write_text(text)
            branches.append(Start(name, kept(workspace, blobs, name)))
        base = branches[0].saved
    with open_workspace(root, "run_1", branches, blobs) as workspace:
        assert workspace.conflicts == ()
        progress = (workspace.tree / ".djinn" / "progress.md").read_text()
        assert progress == f"{before}## ONE\n## TWO\n"


@pytest.mark.usefixtures("any_git")
def test_files_in_conflict_are_named_as_they_are(root, blobs, ended):
    name = 'a "b"\né'
    one, two = ended("one", **{name: "1", "x": "1"}), ended("two", **{name: "2", "x": "2"})
    with open_workspace(root, "run_1", [one, two], blobs) as workspace:
        assert sorted(workspace.conflicts[0].files) == [name, "x"]


HOSTILE = ["", "../heads/x", "a b", "a..b", "-x\0", "x.lock", "a\nb", "/x", "x/", "@{", "a^"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_no_branch_can_have_is_refused(root, blobs, ended, name):
    good = ended("good", a="1")
    with pytest.raises(WorkspaceError):
        open_workspace(root, "run_1", [good, Start(name, good.saved)], blobs)
    with pytest.raises(WorkspaceError):
        merge(root, "swarm_1", good.saved, [Start(name, good.saved)], blobs)


@pytest.mark.parametrize(
    "name", ["--help", "-d", "feature/x", "größe", "HEAD", "x;reboot", "$(id)"]
)
def test_a_name_is_only_a_name(root, blobs, ended, name):
    one, two = ended("one", a="1"), ended("two", a="2")
    with open_workspace(root, "run_1", [one, Start(name, two.saved)], blobs) as workspace:
        assert [conflict.name for conflict in workspace.conflicts] == [name]


def test_two_starts_of_one_name_are_refused(root, blobs, ended):
    one, two = ended("one", a="1"), ended("two", b="2")
    with pytest.raises(WorkspaceError, match="same name"):
        open_workspace(root, "run_1", [one, Start("one", two.saved)], blobs)


@pytest.mark.parametrize("commit", ["", "--all", "HEAD"])
def test_only_a_commit_s_full_name_is_a_start(root, blobs, ended, commit):
    snapshot = ended("one", a="1").saved.snapshot
    with pytest.raises(WorkspaceError):
        open_workspace(root, "run_1", [Start("x", Saved(commit, snapshot))], blobs)


@pytest.mark.usefixtures("any_git")
def test_branches_become_one_and_each_is_told_what_became_of_it(root, elsewhere, blobs, ended):
    base = ended("base", shared="start").saved
    one = ended("one", base, shared="one")
    two = ended("two", base, shared="two", b="two")
    three = ended("three", base, c="three")
    merged = merge(root, "swarm_1", base, [one, two, three], blobs)
    assert merged.reports == (
        Report("one", merged=True),
        Report("two", merged=False, files=("shared",)),
        Report("three", merged=True),
    )
    assert list(root.iterdir()) == []
    with open_workspace(elsewhere, "run_planner", merged.saved, blobs) as workspace:
        assert files(workspace.tree) == {b"shared": b"one", b"c": b"three"}
        assert workspace.head() == merged.saved.commit


def test_merging_twice_is_merging_once(root, elsewhere, blobs, ended):
    branches = [ended("one", a="1"), ended("two", b="2")]
    commits = {
        merge(folder, "swarm_1", None, branches, blobs).saved.commit
        for folder in (root, root, elsewhere)
    }
    assert len(commits) == 1


def test_of_nothing_comes_what_was_there(root, blobs, ended):
    base = ended("base", a="1").saved
    assert merge(root, "swarm_1", None, [], blobs).saved is None
    assert merge(root, "swarm_1", base, [], blobs).saved == base
    assert merge(root, "swarm_1", base, [], blobs).reports == ()


def test_one_branch_alone_is_merged_as_it_is(root, blobs, ended):
    one = ended("one", a="1")
    merged = merge(root, "swarm_1", None, [one], blobs)
    assert merged.saved.commit == one.saved.commit
    assert merged.reports == (Report("one", merged=True),)


def test_a_merge_in_a_run_s_name_leaves_its_files_alone(root, blobs, ended):
    with open_workspace(root, "run_1", None, blobs) as workspace:
        (workspace.tree / "mine").write_text("mine")
        merge(root, "run_1", None, [ended("one", a="1"), ended("two", b="2")], blobs)
        assert files(workspace.tree) == {b"mine": b"mine"}


def test_a_merge_that_cannot_be_leaves_nothing(root, blobs, ended):
    lost = Start("lost", Saved("a" * 40, "b" * 64))
    with pytest.raises(NotFound):
        merge(root, "swarm_1", None, [ended("one", a="1"), lost], blobs)
    assert list(root.iterdir()) == []
    with pytest.raises(WorkspaceError):
        merge(root, "../swarm", None, [lost], blobs)


def test_a_merge_that_was_killed_is_swept_up_with_its_run(root, blobs, ended):
    left = root / "swarm_1~merge"
    left.mkdir(parents=True)
    (root / "swarm_1~merge.lock").touch()
    (left / "repo.git").mkdir()
    (left / "repo.git" / "packed-refs.lock").write_bytes(b"half")
    merge(root, "swarm_1", None, [ended("one", a="1"), ended("two", b="2")], blobs)
    assert list(root.iterdir()) == []
    left.mkdir()
    (root / "swarm_1~merge.lock").touch()
    remove(root, "swarm_1")
    assert list(root.iterdir()) == []


def test_a_dozen_branches_become_one(root, blobs, ended):
    base = ended("base", a="1").saved
    branches = [ended(f"task{n}", base, **{f"file{n}": str(n)}) for n in range(12)]
    merged = merge(root, "swarm_1", base, branches, blobs)
    assert all(report.merged for report in merged.reports)
    with open_workspace(root, "run_1", merged.saved, blobs) as workspace:
        assert len(files(workspace.tree)) == 13


def test_a_snapshot_can_be_read_by_any_git(tmp_path, blobs, ended):
    saved = ended("one", a="1").saved
    bundle = tmp_path / "one.bundle"
    blobs.save(saved.snapshot, bundle)
    clone = ["git", "clone", "-q", "-b", "run/run_one", str(bundle), str(tmp_path / "clone")]
    subprocess.run(clone, check=True, env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"})
    assert (tmp_path / "clone" / "a").read_text() == "1"
