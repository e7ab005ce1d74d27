"""What opens the repository of a project, and for whom it is not meant."""

from __future__ import annotations

from models import github as connections
from models.base import db
from models.github import Connection
from models.repositories import Repository
from tests.conftest import PROJECT
from tests.servers.github import INSTALLATION, Github
from workers.repositories import origin_of


def connected(url: str) -> None:
    about = {"repo_owner": "acme", "repo_name": "todo", "repo_full_name": "acme/todo"}
    with db.atomic():
        Repository(project=PROJECT, url=url).add()
        connections.connect(
            Connection(
                project=PROJECT,
                installation_id=INSTALLATION,
                repo_key="acme/todo",
                default_branch="main",
                **about,
            )
        )


def test_a_connected_repository_is_opened_with_a_token_that_may_only_read(
    database: str, stream: str, github: Github
):
    with db.connection_context():
        connected(f"{github.url}/Acme/Todo.git")
        origin = origin_of(PROJECT)
    assert origin is not None
    minted = github.tokens[str(origin.password)]
    assert minted["names"] == ["acme/todo"]
    assert minted["permissions"] == {"contents": "read", "metadata": "read"}


def test_no_other_address_is_shown_a_token(database: str, stream: str, github: Github):
    with db.connection_context():
        connected("https://evil.example/acme/todo.git")
        origin = origin_of(PROJECT)
    assert origin is not None
    assert origin.password is None
    assert github.tokens == {}


def test_a_project_without_a_repository_has_no_origin(database: str):
    with db.connection_context():
        assert origin_of(PROJECT) is None
        assert origin_of(None) is None
