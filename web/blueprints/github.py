"""The GitHub App: is it there, where is it installed, and tokens for what lies there."""

from __future__ import annotations

from typing import Any

from flask import g, redirect
from flask.views import MethodView

from models import github_app
from tasks import github, repository_tokens
from web.resources import Blueprint
from web.schemas import github as wire
from web.security import admin, for_agents, internal, public

blueprint = Blueprint("github", "The GitHub App")


@blueprint.route("/github/app/status", "/github/status")
class AppStatus(MethodView):
    @blueprint.response(200, wire.AppStatus)
    def get(self) -> Any:
        """Whether the App is set up, or what is the first thing that is missing."""
        return wire.app_status()


@blueprint.route("/github/setup-status")
class SetupStatus(MethodView):
    @blueprint.response(200, wire.SetupStatus)
    def get(self) -> Any:
        """All that is missing of the App's settings."""
        return wire.setup_status()


@blueprint.route("/github/app-info")
class AppInfo(MethodView):
    @blueprint.response(200, wire.AppInfo)
    def get(self) -> Any:
        """The App's name and where it is installed."""
        return wire.app_status()


@blueprint.route("/github/app-install-url")
class AppInstallUrl(MethodView):
    @blueprint.response(200, wire.InstallUrl)
    def get(self) -> Any:
        """Where to install the App on an account."""
        return wire.install_url()


@blueprint.route("/github/validate")
class Validate(MethodView):
    @admin
    @blueprint.response(200, wire.Valid)
    def post(self) -> Any:
        """Ask GitHub whether it takes us for the App; 400 says why not."""
        name = github.validate()
        return {"status": "valid", "message": f"GitHub knows us as {name}"}


@blueprint.route("/github/installations")
class Installations(MethodView):
    @admin
    @blueprint.response(200, wire.Installation(many=True))
    def get(self) -> Any:
        """The accounts on which the App is installed."""
        return [wire.installation(found) for found in github_app.installations()]


@blueprint.route("/github/manual-callback")
class ManualCallback(MethodView):
    @admin
    @blueprint.arguments(wire.InstallationForm)
    @blueprint.response(200, wire.Arrived)
    def post(self, form: dict[str, Any]) -> Any:
        """Look at an installation whose redirect did not reach us."""
        found = github_app.installation(form["installation_id"])
        return {"ok": True, **wire.installation(found)}


@blueprint.route("/github/callback")
@public
class Callback(MethodView):
    @blueprint.arguments(wire.ArrivalForm, location="query")
    @blueprint.response(302)
    def get(self, form: dict[str, Any]) -> Any:
        """Where GitHub sends a browser back to; on to the project's settings, or to an error."""
        return redirect(github.arrived(form["state"], form.get("installation_id")))


@blueprint.route("/github/repos")
class Repos(MethodView):
    @blueprint.arguments(wire.ReposForm, location="query")
    @blueprint.response(200, wire.Repository(many=True))
    def get(self, form: dict[str, Any]) -> Any:
        """The repositories that the App may work on."""
        found = github_app.every_repository(form.get("installation_id"))
        return wire.repositories(found, form)


@blueprint.route("/github/repo-token")
class RepoToken(MethodView):
    @internal
    @for_agents
    @blueprint.arguments(wire.RepoForm, location="query")
    @blueprint.response(200, wire.RepoToken)
    def get(self, form: dict[str, Any]) -> Any:
        """A token for one repository; agents get it for those of projects they are assigned to."""
        return wire.opened(repository_tokens.of_repository(g.principal, form["repo"]))


@blueprint.route("/github/git-credential")
class GitCredential(MethodView):
    @internal
    @for_agents
    @blueprint.arguments(wire.CredentialForm, location="query")
    @blueprint.response(200, wire.GitCredential)
    def get(self, form: dict[str, Any]) -> Any:
        """What git asks for in an agent's sandbox: a token for the repository it works on."""
        agent_id = g.principal.agent_id or form.get("agent_id", "")
        return wire.opened(repository_tokens.of_agent(g.principal, agent_id, form.get("repo")))
