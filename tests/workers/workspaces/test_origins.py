"""Projects with a repository: every run works on a branch of its own clone."""

from __future__ import annotations

import random
import subprocess
from contextlib import nullcontext
from dataclasses import replace

import pytest

from models import config
from models.blobs import Blobs
from tests.workers.workspaces.served import serving
from workers.workspaces import (
    Origin,
    Passing,
    Saved,
    Start,
    WorkspaceError,
    open_workspace,
    origins,
)


def git(folder, *arguments):
    return subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@pytest.fixture
def project(tmp_path):
    """A person's repository with one commit on branch `trunk`."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "trunk")
    (folder / "main.py").write_text("print('hello')\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


@pytest.fixture
def blobs(tmp_path):
    return Blobs((tmp_path / "blobs").as_uri())


@pytest.fixture
def root(tmp_path):
    return tmp_path / "here" / "workspaces"


def test_a_run_starts_from_the_project_s_branch_on_its_own(root, blobs, project):
    origin = Origin(project, "trunk")
    with open_workspace(root, "run_1", None, blobs, origin) as workspace:
        assert workspace.head() == git(project, "rev-parse", "trunk")
        assert (workspace.tree / "main.py").exists()
        assert workspace.log()[0].endswith("first")
        (workspace.tree / "new.py").write_text("x")
        workspace.commit("x", "yukihiro", "exec_1")
    assert git(project, "branch", "--list", "run/*") == ""


def test_the_next_run_sees_what_the_project_gained(root, blobs, project):
    origin = Origin(str(project), "trunk")
    open_workspace(root, "run_1", None, blobs, origin).close()
    git(project, "commit", "--allow-empty", "-qm", "second")
    with open_workspace(root, "run_2", None, blobs, origin) as workspace:
        assert workspace.log()[0].endswith("second")


def test_a_snapshot_holds_only_the_run_s_own_commits_and_opens_elsewhere(
    root, blobs, project, tmp_path
):
    (project / "large").write_bytes(random.Random(1).randbytes(1_000_000))
    git(project, "add", "-A")
    git(project, "commit", "-qm", "large")
    origin = Origin(project, "trunk")
    with open_workspace(root, "run_1", None, blobs, origin) as workspace:
        (workspace.tree / "new.py").write_text("x")
        saved = Saved(workspace.commit("x", "yukihiro", "exec_1"), workspace.snapshot(blobs))
    assert blobs.size(saved.snapshot) < 10_000
    git(project, "commit", "--allow-empty", "-qm", "the project went on")
    with open_workspace(tmp_path / "there" / "workspaces", "run_1", saved, blobs, origin) as again:
        assert again.head() == saved.commit
        assert (again.tree / "new.py").read_text() == "x"
        assert (again.tree / "main.py").exists()
        second = Saved(again.commit("y", "yukihiro", "exec_2"), again.snapshot(blobs))
    with open_workspace(root, "run_1", second, blobs, origin) as workspace:
        assert workspace.head() == second.commit


@pytest.mark.parametrize(
    ("repository", "branch"),
    [
        ("/nowhere", "trunk"),
        ("ext::sh -c true", "trunk"),
        ("ssh://127.0.0.1/x", "trunk"),
        ("git://127.0.0.1/x", "trunk"),
        ("file:///etc", "trunk"),
        ("--upload-pack=true", "trunk"),
        (None, "absent"),
        (None, "--help"),
        (None, "a..b"),
    ],
)
def test_an_origin_that_cannot_be_is_said(root, blobs, project, repository, branch):
    with pytest.raises(WorkspaceError) as failure:
        open_workspace(root, "run_1", None, blobs, Origin(repository or project, branch))
    assert not isinstance(failure.value, Passing)


def test_a_submodule_an_agent_filled_runs_nothing_on_the_host(root, blobs, project, tmp_path):
    ran, evil = tmp_path / "ran", tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\necho ran >> {ran}\n")
    evil.chmod(0o755)
    git(
        project,
        "update-index",
        "--add",
        "--cacheinfo",
        "160000",
        git(project, "rev-parse", "HEAD"),
        "lib",
    )
    git(project, "commit", "-qm", "a submodule")
    with open_workspace(root, "run_1", None, blobs, Origin(project, "trunk")) as workspace:
        git(workspace.tree / "lib", "init", "-q")
        git(workspace.tree / "lib", "commit", "--allow-empty", "-qm", "x")
        git(workspace.tree / "lib", "config", "core.fsmonitor", str(evil))
        (workspace.tree / "lib" / "code.py").write_text("x")
        workspace.changed()
        commit = workspace.commit("x", "yukihiro", "exec_1")
        (workspace.tree / "left").touch()
    with open_workspace(root, "run_1", Saved(commit, "b" * 64), blobs) as workspace:
        assert workspace.head() == commit
    assert not ran.exists()


@pytest.fixture
def served(project, tmp_path):
    """The project as a web server's files."""
    bare = tmp_path / "web" / "todo.git"
    git(project, "clone", "-q", "--bare", str(project), str(bare))
    git(bare, "update-server-info")
    return bare.parent


@pytest.fixture
def neighbours(monkeypatch):
    """Private networks may be asked: the loopback is one."""
    monkeypatch.setenv("ALLOW_PRIVATE_NETWORKS", "true")
    config.settings.cache_clear()
    yield
    monkeypatch.undo()
    config.settings.cache_clear()


def test_a_look_over_http_tells_branches_and_a_run_begins_there(
    root, blobs, project, served, neighbours
):
    with serving(served) as server:
        origin = Origin(f"{server.url}/todo.git")
        seen = origins.look(root.parent, origin)
        head = git(project, "rev-parse", "trunk")
        assert (seen.branch, seen.commit) == ("trunk", head)
        assert seen.branches == ({"name": "trunk", "commit": head},)
        with open_workspace(root, "run_1", None, blobs, origin) as workspace:
            assert workspace.head() == head


def test_a_server_that_is_away_is_asked_again_and_one_that_says_no_is_not(root, served, neighbours):
    with serving(served) as server:
        origin = Origin(f"{server.url}/todo.git")
        for away in (True, False, True):  # a clone, and then a fetch
            server.away = away
            with pytest.raises(Passing, match="503") if away else nullcontext():
                origins.look(root.parent, origin)
        server.away = False
        with pytest.raises(WorkspaceError, match="not found") as refusal:
            origins.look(root.parent, Origin(f"{server.url}/none.git"))
        assert not isinstance(refusal.value, Passing)
    with pytest.raises(Passing, match="onnect"):
        origins.look(root.parent, origin)  # nobody is there any more


def test_a_password_opens_the_repository_and_stands_nowhere(
    root, blobs, served, neighbours, tmp_path
):
    secret = "a-token-nobody-may-read"
    with serving(served, password=secret) as server:
        url = f"{server.url}/todo.git"
        with pytest.raises(WorkspaceError):
            origins.look(root.parent, Origin(url))
        assert origins.look(root.parent, Origin(url, password=secret)).branch == "trunk"
        with pytest.raises(WorkspaceError) as refusal:
            origins.look(tmp_path / "other", Origin(url, password=secret + "x"))
    assert not isinstance(refusal.value, Passing)
    assert secret not in str(refusal.value)
    assert secret not in repr(Origin(url, password=secret))
    kept = [path for path in root.parent.rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if secret.encode() in path.read_bytes()]


def test_private_networks_are_not_asked(root, served):
    with serving(served) as server:
        for url in (server.url, server.url.replace("127.0.0.1", "localhost")):
            with pytest.raises(WorkspaceError, match="may not be asked"):
                origins.look(root.parent, Origin(f"{url}/todo.git"))
        assert server.asked == []


def test_a_redirect_is_not_followed(root, served, neighbours):
    with serving(served) as inside, serving(served, elsewhere=inside.url) as outside:
        with pytest.raises(WorkspaceError) as refusal:
            origins.look(root.parent, Origin(f"{outside.url}/todo.git"))
        assert not isinstance(refusal.value, Passing)
        assert outside.asked
        assert inside.asked == []


def test_an_empty_repository_begins_with_nothing(root, blobs, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q", "--bare", "-b", "trunk")
    assert origins.look(root.parent, Origin(empty)).commit is None
    with open_workspace(root, "run_1", None, blobs, Origin(empty)) as workspace:
        assert workspace.head() is None


def added(project, branch, name):
    """A person commits a file of that name to the branch."""
    git(project, "switch", "-q", branch)
    (project / name).write_text(name)
    git(project, "add", "-A")
    git(project, "commit", "-qm", name)


def test_a_part_of_a_branch_begins_with_what_is_there_and_goes_on_from_that(
    root, blobs, project, tmp_path
):
    git(project, "branch", "foo")
    added(project, "foo", "before.py")
    added(project, "trunk", "since.py")
    origin = Origin(project, "trunk", work="foo-B", whole="foo")
    with open_workspace(root, "run_1", None, blobs, origin) as workspace:
        names = {"main.py", "before.py", "since.py"}
        assert {path.name for path in workspace.tree.iterdir()} >= names
        begun, at = workspace.head(), workspace.whole
        (workspace.tree / "mine.py").write_text("x")
        savepoint = workspace.savepoint(blobs, None)
    added(project, "foo", "theirs.py")  # others go on there, and the first worker is lost
    elsewhere = tmp_path / "there" / "workspaces"
    origin = replace(origin, whole_at=at)
    with open_workspace(elsewhere, "run_1", None, blobs, origin) as workspace:
        assert workspace.head() == begun
        workspace.restore([savepoint], blobs)
        assert (workspace.tree / "mine.py").read_text() == "x"


def test_a_part_that_others_can_see_is_gone_on_with_and_brought_up_to_the_whole(
    root, blobs, project
):
    git(project, "branch", "foo")
    git(project, "branch", "foo-B")
    added(project, "foo-B", "mine.py")
    added(project, "foo", "whole.py")
    origin = Origin(project, "trunk", work="foo-B", whole="foo")
    with open_workspace(root, "run_1", None, blobs, origin) as workspace:
        assert {path.name for path in workspace.tree.iterdir()} >= {"mine.py", "whole.py"}


def test_work_that_others_left_is_merged_into_what_the_project_is_now(root, blobs, project):
    origin = Origin(project)
    with open_workspace(root, "run_1", None, blobs, origin) as workspace:
        (workspace.tree / "new.py").write_text("x")
        saved = Saved(workspace.commit("x", "yukihiro", "exec_1"), workspace.snapshot(blobs))
    (project / "since.py").write_text("y")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "since")
    with open_workspace(root, "run_2", [Start("feat/x", saved)], blobs, origin) as workspace:
        assert {path.name for path in workspace.tree.iterdir()} >= {"main.py", "new.py", "since.py"}
        assert workspace.conflicts == ()
