"""Where the code of projects lives, and what opens it."""

from __future__ import annotations

from models import github_app, repositories
from models.config import settings
from models.errors import Unavailable, Unreachable
from models.github import Connection
from models.repositories import Repository
from workers.workspaces import Origin

READ = {"contents": "read", "metadata": "read"}


def origin_of(project_id: str | None) -> Origin | None:
    """The repository of a project; None when it has none. Raises Unavailable, NotFound."""
    repository = Repository.of(project_id) if project_id is not None else None
    if repository is None:
        return None
    address = repositories.address(repository.url)
    return Origin(address, repository.branch, _opener(repository.project_id, address))


def _opener(project_id: str, address: str) -> str | None:
    """A token of the GitHub App, where the project is connected to this very repository.

    No other address ever gets to see one.
    """
    connection = Connection.of(project_id)
    if connection is None:
        return None
    here = f"{settings().github.web_url}/{connection.repo_key}.git"
    if address.lower() != here.lower():
        return None
    try:
        return github_app.token(connection.installation_id, connection.repo_name, READ).text
    except Unreachable as error:
        raise Unavailable(f"GitHub cannot be asked for a token: {error}") from error
