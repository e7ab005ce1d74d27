"""A project whose repository is on the GitHub of the tests, with the repository itself there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flask.testing import FlaskClient

from models import base
from models.base import db
from models.github import Connection
from models.pushes import Push
from models.runs import Run
from tests.servers import git
from tests.servers.github import Github
from tests.web.boards import Crew
from tests.workers.jobs.telling import connection
from tests.workers.workspaces.test_origins import git as told_git

NAME = "acme/todo"


@dataclass
class Hosted:
    """The project, its repository (bare) and the GitHub that has it."""

    crew: Crew
    bare: Path
    github: Github
    work: Callable[..., int]

    def executed(self, task: str) -> str:
        """An agent works on a task alone; all that this asks for is done. Gives the run."""
        run = self.crew.post(task, "execute-agent", agentId="yukihiro").json["run_id"]
        self.work()
        assert self.crew.status(task) == "done", self.crew.client.get(f"/v1/runs/{run}").json
        return run

    def branches(self) -> dict[str, str]:
        return git.branches(self.bare)

    def branch(self, task: str) -> str:
        return self.crew.task(task)["metadata"]["git_branch"]

    def push(self, run: str) -> Push:
        with db.connection_context():
            found = Push.of(run)
        assert found is not None
        return found

    def commit(self, run: str) -> str:
        with db.connection_context():
            return str(Run.get_by_id(run).workspace_commit)

    @property
    def pushes(self) -> int:
        """How often the repository was really pushed to."""
        asked = self.github.asked
        return sum(each.startswith("POST") and each.endswith(git.PUSHES) for each in asked)

    def hook(self, name: str, text: str) -> Path:
        """Have the repository run this."""
        path = self.bare / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path


def hosted(owner: FlaskClient, github: Github, folder: Path, work: Callable[..., int]) -> Hosted:
    """Make the repository with one commit on `trunk`, the project, and their connection."""
    source, bare = folder / "source", folder / "hosted" / f"{NAME}.git"
    source.mkdir()
    told_git(source, "init", "-q", "-b", "trunk")
    (source / "main.py").write_text("print('hello')\n")
    told_git(source, "add", "-A")
    told_git(source, "commit", "-qm", "The first line of the project")
    told_git(source, "clone", "-q", "--bare", str(source), str(bare))
    github.git_root, github.pulls.branches = folder / "hosted", {}
    crew = Crew(owner, repository=f"{github.url}/{NAME}")
    connection(crew.id)
    with base.db.connection_context():
        Connection.update(default_branch="trunk").execute()
    work()
    return Hosted(crew, bare, github, work)
