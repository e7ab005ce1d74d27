"""Where the code of projects lives, and what opens it."""

from __future__ import annotations

from collections.abc import Mapping

from models import github_app, repositories
from models.config import settings
from models.errors import Unavailable, Unreachable
from models.github import Connection
from models.projects import Project
from models.repositories import Repository
from workers.workspaces import Origin

READ = {"contents": "read", "metadata": "read"}
PUSH = {"contents": "write", "metadata": "read"}


def origin_of(
    project_id: str | None, work: str | None = None, wanted: Mapping[str, str] = READ
) -> Origin | None:
    """The repository of a project; None when it has none. Raises Unavailable, NotFound.

    `work` is the branch that is worked on there, `wanted` what is done with it.
    """
    repository = Repository.of(project_id) if project_id is not None else None
    if repository is None:
        return None
    address = repositories.address(repository.url)
    opener = _opener(repository.project_id, address, wanted)
    return Origin(address, repository.branch, opener, work)


def origin_for(
    project_id: str | None, owner_id: str | None, work: str | None = None
) -> Origin | None:
    """The repository of a project that somebody's run begins with, if they work on the project.

    A project that is only a label, which anybody can write on an executor, opens nothing.
    """
    project = Project.find(project_id) if project_id is not None else None
    if project is None or not project.worked_on_by(owner_id):
        return None
    return origin_of(project.id, work)


def _opener(project_id: str, address: str, wanted: Mapping[str, str]) -> str | None:
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
        opener = github_app.token(connection.installation_id, connection.repo_name, wanted)
    except Unreachable as error:
        raise Unavailable(f"GitHub cannot be asked for a token: {error}") from error
    return opener.text
