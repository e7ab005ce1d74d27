"""Runs' work on its way to the repository it began with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models import config
from models.blobs import Blobs
from tests.servers.git import Hub, hub
from tests.workers.workspaces.test_origins import git
from workers.workspaces import Origin, Saved, Start, Workspace, WorkspaceError, open_workspace
from workers.workspaces.pushing import Refused, push

pytestmark = pytest.mark.slow  # real pushes

WORK = "feat/task_1-a-task"


@pytest.fixture
def neighbours(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Private networks may be asked: the loopback is one."""
    monkeypatch.setenv("ALLOW_PRIVATE_NETWORKS", "true")
    config.settings.cache_clear()
    yield
    monkeypatch.undo()
    config.settings.cache_clear()


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The repository of a project, with one commit on branch `trunk`."""
    folder, bare = tmp_path / "project", tmp_path / "served" / "todo.git"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "trunk")
    (folder / "main.py").write_text("print('hello')\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    git(folder, "clone", "-q", "--bare", str(folder), str(bare))
    return bare


@pytest.fixture
def remote(bare: Path, neighbours: None) -> Iterator[Hub]:
    with hub(bare.parent) as server:
        yield server


@pytest.fixture
def origin(remote: Hub) -> Origin:
    return Origin(f"{remote.url}/todo.git", work=WORK)


def worked(workspace: Workspace, blobs: Blobs, name: str) -> Saved:
    (workspace.tree / name).write_text(name)
    commit = workspace.commit(name, "yukihiro", f"exec_{name}")
    return Saved(commit, workspace.snapshot(blobs))


def person(bare: Path, tmp_path: Path, branch: str, name: str) -> str:
    """A person pushes a commit to a branch; gives the commit."""
    folder = tmp_path / f"person-{name}"
    git(tmp_path, "clone", "-q", str(bare), str(folder))
    git(folder, "checkout", "-q", branch)
    (folder / name).write_text(name)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", f"{name} by a person")
    git(folder, "push", "-q", "origin", branch)
    return git(folder, "rev-parse", "HEAD")


def test_work_reaches_its_branch_once_however_often_it_is_pushed(
    root: Path, elsewhere: Path, blobs: Blobs, bare: Path, remote: Hub, origin: Origin
):
    with open_workspace(root, "run_1", None, blobs, origin) as workspace:
        saved = worked(workspace, blobs, "one")
    assert push(root, "push_1", saved, origin, blobs)
    assert not push(root, "push_1", saved, origin, blobs)
    assert not push(elsewhere, "push_1", saved, origin, blobs)  # on another machine
    assert git(bare, "rev-parse", WORK) == saved.commit
    assert remote.pushes == 1
    assert [path.name for path in root.iterdir() if "push" in path.name] == []


def test_the_next_run_goes_on_where_others_see_the_branch(
    root: Path, elsewhere: Path, blobs: Blobs, bare: Path, origin: Origin, tmp_path: Path
):
    with open_workspace(root, "run_1", None, blobs, origin) as workspace:
        first = worked(workspace, blobs, "one")
    push(root, "push_1", first, origin, blobs)
    theirs = person(bare, tmp_path, WORK, "review")
    person(bare, tmp_path, "trunk", "since")
    with open_workspace(elsewhere, "run_2", [Start(WORK, first)], blobs, origin) as workspace:
        assert {path.name for path in workspace.tree.iterdir()} >= {"one", "review", "since"}
        second = worked(workspace, blobs, "two")
    git(bare, "branch", "-D", WORK)  # merged and deleted: its snapshot stands without it
    with open_workspace(root, "run_2", second, blobs, origin) as workspace:
        assert workspace.head() == second.commit
    assert push(root, "push_2", second, origin, blobs)
    assert theirs in git(bare, "rev-list", WORK).split()


def test_a_branch_that_conflicts_with_the_project_s_own_is_gone_on_with_all_the_same(
    root: Path, blobs: Blobs, bare: Path, origin: Origin, tmp_path: Path
):
    with open_workspace(root, "run_1", None, blobs, origin) as workspace:
        first = worked(workspace, blobs, "same.txt")
    push(root, "push_1", first, origin, blobs)
    git(bare, "config", "core.bare", "true")
    folder = tmp_path / "person"
    git(tmp_path, "clone", "-q", str(bare), str(folder))
    (folder / "same.txt").write_text("something else\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "it differs")
    git(folder, "push", "-q", "origin", "trunk")
    with open_workspace(root, "run_2", None, blobs, origin) as workspace:
        assert [conflict.name for conflict in workspace.conflicts] == ["origin"]
        second = worked(workspace, blobs, "two")
    assert push(root, "push_2", second, origin, blobs)
    assert git(bare, "rev-parse", WORK) == second.commit


def test_what_others_pushed_is_never_overwritten(
    root: Path, blobs: Blobs, bare: Path, origin: Origin, tmp_path: Path
):
    with open_workspace(root, "run_1", None, blobs, origin) as workspace:
        saved = worked(workspace, blobs, "one")
    git(bare, "branch", WORK, "trunk")
    theirs = person(bare, tmp_path, WORK, "quicker")
    with pytest.raises(Refused, match="has commits that this work does not have"):
        push(root, "push_1", saved, origin, blobs)
    assert git(bare, "rev-parse", WORK) == theirs


@pytest.mark.parametrize("told", [None, "trunk"])
def test_nothing_is_pushed_to_the_project_s_own_branch(
    root: Path, blobs: Blobs, bare: Path, remote: Hub, told: str | None
):
    origin = Origin(f"{remote.url}/todo.git", told, work="trunk")
    with open_workspace(root, "run_1", None, blobs, origin) as workspace:
        saved = worked(workspace, blobs, "one")
    with pytest.raises(Refused, match="own branch"):
        push(root, "push_1", saved, origin, blobs)
    assert remote.pushes == 0


def test_a_repository_that_says_no_is_heard(root: Path, blobs: Blobs, bare: Path, origin: Origin):
    hook = bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with open_workspace(root, "run_1", None, blobs, origin) as workspace:
        saved = worked(workspace, blobs, "one")
    with pytest.raises(Refused, match="pre-receive hook declined"):
        push(root, "push_1", saved, origin, blobs)


def test_somebody_quicker_in_the_last_moment_makes_it_a_matter_of_another_try(
    root: Path, blobs: Blobs, bare: Path, origin: Origin
):
    hook = bare / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ngit update-ref $1 refs/heads/trunk\n")
    hook.chmod(0o755)
    with open_workspace(root, "run_1", None, blobs, origin) as workspace:
        saved = worked(workspace, blobs, "one")
    with pytest.raises(WorkspaceError) as failure:
        push(root, "push_1", saved, origin, blobs)
    assert not isinstance(failure.value, Refused)
    hook.unlink()
    assert push(root, "push_1", saved, origin, blobs)
    assert git(bare, "rev-parse", WORK) == saved.commit


@pytest.mark.parametrize("name", ["--force", "a..b", "x.lock", "a b", "a:refs/heads/trunk", "a\nb"])
def test_a_name_that_is_none_pushes_nothing(
    root: Path, blobs: Blobs, bare: Path, remote: Hub, name: str
):
    address = f"{remote.url}/todo.git"
    with open_workspace(root, "run_1", None, blobs, Origin(address)) as workspace:
        saved = worked(workspace, blobs, "one")
    with pytest.raises(WorkspaceError):
        push(root, "push_1", saved, Origin(address, work=name), blobs)
    assert git(bare, "for-each-ref", "--format=%(refname)") == "refs/heads/trunk"


def test_a_token_opens_it_and_stands_nowhere(
    root: Path, blobs: Blobs, bare: Path, neighbours: None, tmp_path: Path
):
    secret = "a-token-nobody-may-read"
    with hub(bare.parent, secret) as server:
        origin = Origin(f"{server.url}/todo.git", password=secret, work=WORK)
        with open_workspace(root, "run_1", None, blobs, origin) as workspace:
            saved = worked(workspace, blobs, "one")
        for wrong in (None, secret + "x"):
            other = Origin(origin.repository, password=wrong, work=WORK)
            with pytest.raises(WorkspaceError) as refusal:
                push(tmp_path / "other" / "workspaces", "push_1", saved, other, blobs)
            assert secret not in str(refusal.value)
        assert push(root, "push_1", saved, origin, blobs)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in kept if secret.encode() in path.read_bytes()]


def test_an_empty_repository_gets_its_first_branch(
    root: Path, blobs: Blobs, tmp_path: Path, neighbours: None
):
    bare = tmp_path / "served" / "empty.git"
    bare.mkdir(parents=True)
    git(bare, "init", "-q", "--bare", "-b", "trunk")
    with hub(bare.parent) as server:
        origin = Origin(f"{server.url}/empty.git", work=WORK)
        with open_workspace(root, "run_1", None, blobs, origin) as workspace:
            saved = worked(workspace, blobs, "one")
        assert push(root, "push_1", saved, origin, blobs)
        with open_workspace(root, "run_2", None, blobs, origin) as workspace:
            assert workspace.head() == saved.commit


def test_private_networks_are_not_pushed_to(root: Path, blobs: Blobs, bare: Path):
    with open_workspace(root, "run_1", None, blobs, Origin(bare)) as workspace:
        saved = worked(workspace, blobs, "one")
    with hub(bare.parent) as server:
        with pytest.raises(WorkspaceError, match="may not be asked"):
            push(root, "push_1", saved, Origin(f"{server.url}/todo.git", work=WORK), blobs)
        assert server.asked == []
