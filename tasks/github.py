"""Projects' repositories on GitHub: connect one, and follow what becomes of it there."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any
from urllib.parse import urlencode, urlsplit

from models import accounts, audit, github, github_app
from models.accounts import digest
from models.base import db, now_ms
from models.config import settings
from models.errors import Conflict, DomainError, Malformed, NotFound
from models.github import Connection, InstallState
from models.principals import Principal
from models.projects import Project
from tasks import task

CONNECTING = 0x646A_6768  # the advisory lock of whoever connects a repository
STATE_BYTES = 32
OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,100}")
FORMS = "owner/repo, https://<host>/owner/repo or git@<host>:owner/repo.git"


@task(queue="short")
def process(event_id: str) -> None:
    """Do what a webhook event entails; a second time nothing is left to do."""


@task(queue="short")
def catch_up(slot: int) -> None:
    """Have GitHub send again what it could not deliver; `slot` tells the times apart."""


def validate() -> str:
    """The name by which GitHub knows our App; Malformed says why it does not."""
    fault = settings().github.fault
    if fault:
        raise Malformed(f"The GitHub App is not configured: {fault}")
    try:
        return str(github_app.app().get("name"))
    except DomainError as error:
        raise Malformed(f"GitHub does not take us for the App: {error}") from None


def installing(principal: Principal, project: Project) -> dict[str, str]:
    """Where to install the App for a project, and the state by which one is known on return."""
    chosen = github_app.configured()
    state = secrets.token_urlsafe(STATE_BYTES)
    expires = now_ms() + github.STATE_MS
    told = {"project": project.id, "user_id": principal.id, "expires_at": expires}
    InstallState(state_hash=digest(state), **told).add()
    return {"url": f"{chosen.install_url}?{urlencode({'state': state})}", "state": state}


def arrived(state: str, installation_id: int | None) -> str:
    """Where to send somebody who comes back from installing the App.

    An installation with one repository is connected at once. The state is all they have to show:
    it is good once, for who asked for it, and for their project.
    """
    known = InstallState.taken(digest(state))
    if known is None:
        return _sorry("This link is over or was used already; begin again in the project")
    if installation_id is None:
        return _sorry("The App is not installed yet: an owner of the account has to approve it")
    try:
        _connect_only(known, installation_id)
    except DomainError as error:
        return _sorry(str(error))
    told = {"tab": "github", "installation_id": installation_id, "success": "true"}
    return f"{settings().frontend_url}/projects/{known.project_id}/settings?{urlencode(told)}"


def connect(principal: Principal, project: Project, form: Mapping[str, Any]) -> Connection:
    """Make a repository that the installation covers the project's, in place of any other."""
    owner, name = parsed(f"{form['owner']}/{form['repo']}")
    covering, found = github_app.repository(owner, name)
    if covering != form["installation_id"]:
        raise NotFound(f"This installation of the App does not cover {owner}/{name}")
    return _connected(principal, project.id, covering, found)


def disconnect(principal: Principal, project: Project) -> None:
    """Part a project from its repository; NotFound when it has none."""
    with db.atomic():
        gone = Connection.delete().where(Connection.project == project.id)
        if not gone.execute():
            raise Connection.missing(project.id)
        audit.record(principal, "github.disconnect", project.id)


def parsed(text: str) -> tuple[str, str]:
    """Owner and name of a repository from any form in which people write them."""
    host = re.escape(urlsplit(settings().github.web_url).netloc)
    lead = re.match(rf"https?://{host}/|ssh://git@{host}/|git@{host}:|", text.strip(), re.I)
    path = text.strip()[lead.end() if lead else 0 :].removesuffix("/").removesuffix(".git")
    owner, _, name = path.partition("/")
    if not OWNER.fullmatch(owner) or not NAME.fullmatch(name):
        raise Malformed(f"{text[:200]!r} is no repository: write {FORMS}")
    return owner, name


def pushed(connection: Connection, moment: int) -> None:
    """Note when something was last pushed; an older moment changes nothing."""
    db.now(
        """
        UPDATE project_github SET last_push_at = greatest(coalesce(last_push_at, 0), %s)
        WHERE id = %s
        """,
        (moment, connection.id),
    )


def renamed(installation_id: int, former: str, full_name: str) -> None:
    """Follow a repository to its new name."""
    owner, _, name = full_name.partition("/")
    mine = (Connection.installation_id == installation_id) & (Connection.repo_key == former.lower())
    changes = {"repo_owner": owner, "repo_name": name, "repo_full_name": full_name}
    Connection.update({**changes, "repo_key": full_name.lower()}).where(mine).execute()


def suspended(installation_id: int, suspends: bool) -> None:
    """Leave the repositories of an installation alone, or take them up again."""
    mine = Connection.installation_id == installation_id
    changed = Connection.update(is_active=not suspends).where(mine).execute()
    if changed:
        verb = "suspend" if suspends else "unsuspend"
        audit.record(None, f"github.{verb}", str(installation_id))


def uninstalled(installation_id: int, before: int) -> None:
    """Part every project from an installation that is gone."""
    _part(Connection.installation_id == installation_id, before)


def withdrawn(installation_id: int, full_names: Iterable[str], before: int) -> None:
    """Part projects from repositories that the installation does not cover any more."""
    keys = [name.lower() for name in full_names]
    mine = Connection.installation_id == installation_id
    _part(mine & Connection.repo_key.in_(keys), before)


def _part(which: Any, before: int) -> None:
    """Delete connections that were made before an event, which may come late."""
    gone = Connection.delete().where(which & (Connection.connected_at < before))
    for connection in list(gone.returning(Connection).execute()):
        audit.record(None, "github.disconnect", connection.project_id, by="GitHub")


def _connect_only(known: InstallState, installation_id: int) -> None:
    principal = accounts.caller(known.user_id)
    visible = Project.visible_to(principal).where(Project.id == known.project_id)
    if not visible.exists():
        raise NotFound("The project is gone, or you do not work on it any more")
    github_app.installation(installation_id)
    found = list(islice(github_app.repositories(installation_id), 2))
    if len(found) == 1:
        _connected(principal, known.project_id, installation_id, found[0])


def _connected(
    principal: Principal, project_id: str, installation_id: int, found: Mapping[str, Any]
) -> Connection:
    full_name = found["full_name"]
    owner, _, name = full_name.partition("/")
    connection = Connection(
        project=project_id,
        installation_id=installation_id,
        repo_owner=owner,
        repo_name=name,
        repo_full_name=full_name,
        repo_key=full_name.lower(),
        default_branch=found.get("default_branch") or "main",
        connected_by=principal.id,
    )
    with db.atomic():
        _refuse_anothers(principal, full_name)
        github.connect(connection)
        audit.record(principal, "github.connect", project_id, repository=full_name)
    return connection


def _refuse_anothers(principal: Principal, full_name: str) -> None:
    """A repository of a project that one does not see is not opened by a project of one's own.

    Of two who connect one at once the second finds it connected.
    """
    db.execute_sql("SELECT pg_advisory_xact_lock(%s)", (CONNECTING,))
    projects = {connection.project_id for connection in Connection.to(full_name)}
    mine = Project.visible_to(principal).where(Project.id.in_(projects)).count()
    if mine < len(projects):
        raise Conflict(f"{full_name} is connected to a project of others; an admin may share it")


def _sorry(message: str) -> str:
    return f"{settings().frontend_url}/github/error?{urlencode({'message': message})}"
