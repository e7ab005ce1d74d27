"""Handing out what opens a repository: to the engine, and to agents that work on it."""

from __future__ import annotations

from dataclasses import dataclass

from models import audit, github_app
from models.base import db
from models.config import settings
from models.errors import Malformed, NotFound
from models.github import Connection
from models.github_app import Token
from models.principals import Principal
from models.projects import Project
from tasks.github import parsed


@dataclass(frozen=True)
class Opened:
    """A token and the one repository that it opens."""

    token: Token
    installation_id: int
    owner: str
    name: str

    @property
    def address(self) -> str:
        """Where to clone from, with the token in it."""
        scheme, _, rest = settings().github.web_url.partition("://")
        return f"{scheme}://x-access-token:{self.token.text}@{rest}/{self.owner}/{self.name}.git"


def of_project(principal: Principal, project: Project) -> Opened:
    """A token for the project's repository; NotFound when it has none."""
    connection = Connection.of(project.id)
    if connection is None:
        raise Connection.missing(project.id)
    return _of_connection(principal, connection)


def of_repository(principal: Principal, text: str) -> Opened:
    """A token for a repository named in any form; agents get one for those they work on."""
    owner, name = parsed(text)
    if principal.agent_id is not None:
        return _of_connection(principal, _chosen(principal, principal.agent_id, f"{owner}/{name}"))
    return _opened(principal, *_covered(owner, name))


def of_agent(principal: Principal, agent_id: str, text: str | None) -> Opened:
    """A token for the repository an agent works on; one of several has to be named."""
    full_name = "/".join(parsed(text)) if text else None
    return _of_connection(principal, _chosen(principal, agent_id, full_name))


def _chosen(principal: Principal, agent_id: str, full_name: str | None) -> Connection:
    mine = Connection.open_to(agent_id)
    if principal.run_id is not None:  # at work for somebody, who must see the project as well
        theirs = Project.select(Project.id).where(Project.open_to(principal.owner_id))
        seen = {project.id for project in theirs}
        mine = [each for each in mine if each.project_id in seen]
    if full_name is not None:
        mine = [each for each in mine if each.repo_key == full_name.lower()]
    if not mine:
        raise NotFound(f"Agent {agent_id} works on no such repository{_advice()}")
    if len({each.repo_key for each in mine}) > 1:
        raise Malformed(f"Agent {agent_id} works on several repositories: say which (repo=)")
    return mine[0]


def _covered(owner: str, name: str) -> tuple[int, str]:
    """The installation that covers a repository, and the name as GitHub writes it."""
    try:
        covering, found = github_app.repository(owner, name)
    except NotFound:
        told = f"The App is not installed on {owner}/{name}{_advice()}"
        raise NotFound(told) from None
    return covering, found["full_name"]


def _advice() -> str:
    return f": install the App at {settings().github.install_url} and connect the repository"


def _of_connection(principal: Principal, connection: Connection) -> Opened:
    return _opened(principal, connection.installation_id, connection.repo_full_name)


def _opened(principal: Principal, installation_id: int, full_name: str) -> Opened:
    owner, _, name = full_name.partition("/")
    token = github_app.token(installation_id, name, holder=principal.id)
    with db.atomic():
        audit.record(principal, "github.token", full_name, installation=installation_id)
    return Opened(token, installation_id, owner, name)
