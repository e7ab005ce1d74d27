"""Projects with a repository: every run works on a branch of its own clone."""

from __future__ import annotations

import random
import subprocess

import pytest

from models.blobs import Blobs
from workers.workspaces import Origin, Saved, WorkspaceError, open_workspace


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
        ("--upload-pack=true", "trunk"),
        (None, "absent"),
        (None, "--help"),
        (None, "a..b"),
    ],
)
def test_an_origin_that_cannot_be_is_said(root, blobs, project, repository, branch):
    with pytest.raises(WorkspaceError):
        open_workspace(root, "run_1", None, blobs, Origin(repository or project, branch))


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
