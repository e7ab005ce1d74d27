"""GitHub on the wire: the App, its installations, projects' repositories, and tokens for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from marshmallow import fields, validate

from models import github_app
from models.config import settings
from models.github import Connection
from tasks.repository_tokens import Opened
from web.bodies import LARGEST, Form, Text, Whole
from web.schemas.base import Milliseconds, made

MOST_REPOSITORIES = 3_000  # that one list holds
LOGIN = {"example": "acme"}
REPOSITORY = {"example": "acme/todo"}
URL = {"example": "https://github.com/acme/todo"}

AppStatus = made(
    "GithubAppStatus",
    {
        "healthy": fields.Boolean(),
        "message": fields.String(),
        "app_id": fields.Integer(metadata={"description": "0 when there is no App"}),
        "app_name": fields.String(metadata={"example": "djinnbot"}),
        "installation_url": fields.String(metadata=URL),
        "is_configured": fields.Boolean(),
    },
)
SetupStatus = made(
    "GithubSetupStatus",
    {
        "configured": fields.Boolean(),
        "missing": fields.List(fields.String(metadata={"example": "GITHUB_APP_ID"})),
        "app_name": fields.String(allow_none=True),
        "app_id": fields.Integer(allow_none=True),
    },
)
AppInfo = made(
    "GithubAppInfo",
    {
        name: AppStatus._declared_fields[name]
        for name in ("app_id", "app_name", "installation_url", "is_configured")
    },
)
Valid = made("GithubValid", {"status": fields.String(), "message": fields.String()})
InstallUrl = made(
    "GithubInstallUrl",
    {"url": fields.String(metadata=URL), "app_name": fields.String(), "app_id": fields.Integer()},
)
_ACCOUNT: dict[str, fields.Field] = {
    "installation_id": fields.Integer(),
    "account_login": fields.String(metadata=LOGIN),
    "account_type": fields.String(metadata={"example": "Organization"}),
    "account_avatar_url": fields.String(allow_none=True),
    "repository_selection": fields.String(metadata={"example": "selected"}),
    "installed_at": Milliseconds(allow_none=True),
}
Installation = made(
    "GithubInstallation",
    {**_ACCOUNT, "app_id": fields.Integer(), "app_slug": fields.String()},
)
Arrived = made("GithubArrived", {"ok": fields.Boolean(), **_ACCOUNT})
_REPOSITORY: dict[str, fields.Field] = {
    "owner": fields.String(metadata=LOGIN),
    "name": fields.String(metadata={"example": "todo"}),
    "full_name": fields.String(metadata=REPOSITORY),
    "description": fields.String(allow_none=True),
    "private": fields.Boolean(),
    "default_branch": fields.String(metadata={"example": "main"}),
    "html_url": fields.String(metadata=URL),
}
Repository = made("GithubRepository", {**_REPOSITORY, "installation_id": fields.Integer()})
ProjectRepository = made("GithubProjectRepository", _REPOSITORY)
Installing = made(
    "GithubInstalling", {"url": fields.String(metadata=URL), "state": fields.String()}
)
Connected = made(
    "GithubConnected",
    {
        "success": fields.Boolean(),
        "repo_full_name": fields.String(metadata=REPOSITORY),
        "installation_id": fields.Integer(),
        "default_branch": fields.String(metadata={"example": "main"}),
    },
)
Status = made(
    "GithubStatus",
    {
        "connected": fields.Boolean(),
        "repo_full_name": fields.String(allow_none=True, metadata=REPOSITORY),
        "repo_url": fields.String(allow_none=True, metadata=URL),
        "default_branch": fields.String(allow_none=True, metadata={"example": "main"}),
        "last_push_at": Milliseconds(allow_none=True),
        "installation_id": fields.Integer(allow_none=True),
    },
)
Disconnected = made("GithubDisconnected", {"success": fields.Boolean(), "message": fields.String()})
_TOKEN: dict[str, fields.Field] = {
    "token": fields.String(metadata={"example": "<token>"}),
    "expires_at": Milliseconds(),
    "installation_id": fields.Integer(),
}
CLONE = {"example": "https://github.com/acme/todo.git", "description": "With the token in it"}
GitToken = made("GithubGitToken", {**_TOKEN, "repo_url": fields.String(metadata=CLONE)})
RepoToken = made(
    "GithubRepoToken",
    {
        **_TOKEN,
        "owner": fields.String(metadata=LOGIN),
        "repo": fields.String(metadata={"example": "todo"}),
        "clone_url": fields.String(metadata=CLONE),
    },
)
GitCredential = made("GithubGitCredential", {"token": _TOKEN["token"]})


class ReposForm(Form):
    """Which repositories are wanted; without a page all of them, within reason."""

    installation_id = fields.Integer(validate=validate.Range(1, LARGEST))
    page = fields.Integer(validate=validate.Range(1, 100))
    per_page = fields.Integer(load_default=100, validate=validate.Range(1, 100))


class InstallationForm(Form):
    """GitHub's number of an installation, in a body."""

    installation_id = Whole(required=True, validate=validate.Range(1, LARGEST))


class CoveredForm(Form):
    """GitHub's number of an installation, in a query."""

    installation_id = fields.Integer(required=True, validate=validate.Range(1, LARGEST))


class ArrivalForm(Form):
    """What GitHub sends a browser back with."""

    installation_id = fields.Integer(validate=validate.Range(1, LARGEST))
    setup_action = fields.String(validate=validate.Length(max=64))
    state = fields.String(load_default="", validate=validate.Length(max=256))


class ConnectForm(InstallationForm):
    """Which repository becomes the project's."""

    owner = Text(required=True, validate=validate.Length(max=100), metadata=LOGIN)
    repo = Text(required=True, validate=validate.Length(max=100), metadata={"example": "todo"})


class InstallForm(Form):
    """The project that the App is installed for."""

    project_id = Text(required=True, validate=validate.Length(max=128))


class RepoForm(Form):
    """A repository, in any form: owner/repo, https or ssh."""

    repo = Text(required=True, validate=validate.Length(max=500), metadata=REPOSITORY)


class CredentialForm(Form):
    """Who wants to reach a repository, and which, if the agent works on several."""

    agent_id = fields.String(validate=validate.Length(max=128))
    repo = fields.String(validate=validate.Length(max=500), metadata=REPOSITORY)


def app_status() -> dict[str, Any]:
    """How the App is set; GitHub is not asked."""
    chosen = settings().github
    fault = chosen.fault
    return {
        "healthy": fault is None,
        "message": fault or f"The GitHub App {chosen.app_name} is configured",
        "app_id": int(chosen.app_id) if fault is None else 0,
        "app_name": chosen.app_name if fault is None else "Not Configured",
        "installation_url": chosen.install_url if fault is None else "",
        "is_configured": fault is None,
    }


def setup_status() -> dict[str, Any]:
    """What is missing still."""
    chosen, fault = settings().github, settings().github.fault
    return {
        "configured": fault is None,
        "missing": chosen.missing,
        "app_name": chosen.app_name if fault is None else None,
        "app_id": int(chosen.app_id) if fault is None else None,
    }


def install_url() -> dict[str, Any]:
    """Where the App is installed; Unavailable without one."""
    chosen = github_app.configured()
    return {
        "url": chosen.install_url,
        "app_name": chosen.app_name,
        "app_id": int(chosen.app_id),
    }


def installation(found: Mapping[str, Any]) -> dict[str, Any]:
    """An installation as we show it."""
    account = found.get("account") or {}
    made_at = found.get("created_at")
    moment = datetime.fromisoformat(made_at) if isinstance(made_at, str) else None
    return {
        "installation_id": found["id"],
        "account_login": account.get("login", ""),
        "account_type": account.get("type", ""),
        "account_avatar_url": account.get("avatar_url"),
        "app_id": found.get("app_id", 0),
        "app_slug": found.get("app_slug", ""),
        "repository_selection": found.get("repository_selection", ""),
        "installed_at": int(moment.timestamp() * 1000) if moment else None,
    }


def repositories(
    found: Iterable[tuple[int, Mapping[str, Any]]], form: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The repositories of a page; GitHub is asked for no more than that takes."""
    page, size = form.get("page"), form.get("per_page", 0)
    first, last = ((page - 1) * size, page * size) if page else (0, MOST_REPOSITORIES)
    return [repository(*each) for each in islice(found, first, last)]


def repository(installation_id: int, found: Mapping[str, Any]) -> dict[str, Any]:
    """A repository as we show it."""
    shown = ("name", "full_name", "description", "private", "html_url")
    return {
        **{name: found.get(name) for name in shown},
        "owner": found["full_name"].partition("/")[0],
        "default_branch": found.get("default_branch") or "main",
        "installation_id": installation_id,
    }


def connected(connection: Connection) -> dict[str, Any]:
    """What connecting came to."""
    shown = ("repo_full_name", "installation_id", "default_branch")
    return {"success": True, **{name: getattr(connection, name) for name in shown}}


def status(connection: Connection | None) -> dict[str, Any]:
    """How a project stands with GitHub."""
    shown = ("repo_full_name", "default_branch", "last_push_at", "installation_id")
    address = f"{settings().github.web_url}/{connection.repo_full_name}" if connection else None
    told = {name: getattr(connection, name, None) for name in shown}
    return {"connected": connection is not None, "repo_url": address, **told}


def opened(found: Opened) -> dict[str, Any]:
    """A token with what it opens, under every name that clients read."""
    return {
        "token": found.token.text,
        "expires_at": found.token.expires_at,
        "installation_id": found.installation_id,
        "repo_url": found.address,
        "clone_url": found.address,
        "owner": found.owner,
        "repo": found.name,
    }
