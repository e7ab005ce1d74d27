"""What opens a repository, and who is given it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import nullcontext

import pytest
from flask.testing import FlaskClient

from models import audit
from models.accounts import ApiKey, digest
from models.base import db, now_ms
from models.errors import NotFound
from models.projects import Project
from models.runs import Run
from tasks import repository_tokens
from tests.servers.github import INSTALLATION, Github
from tests.web.connecting import FORM, HERE, assign

Caller = Callable[[str | None], FlaskClient]


@pytest.fixture
def finn(github: Github, as_caller: Caller) -> FlaskClient:
    """An agent's key."""
    told = {"key_hash": digest("djb_agent_finn"), "key_prefix": "djb_agent_", "name": "finn"}
    with db.connection_context():
        ApiKey(agent_id="finn", is_service_key=True, **told).add()
    return as_caller("djb_agent_finn")


def test_the_engine_gets_a_projects_token_and_people_do_not(
    github: Github, connected: FlaskClient, engine: FlaskClient, finn: FlaskClient
):
    path = f"{HERE}/git-token"
    assert connected.get(path).status_code == 403
    assert finn.get(path).status_code == 403
    told = engine.get(path).json
    minted = github.tokens[told["token"]]
    assert minted["names"] == ["acme/todo"]
    host = github.url.removeprefix("http://")
    assert told["repo_url"] == f"http://x-access-token:{told['token']}@{host}/acme/todo.git"
    assert told["installation_id"] == INSTALLATION
    assert told["expires_at"] > now_ms()
    connected.delete(f"{HERE}/disconnect")
    assert engine.get(path).status_code == 404


def test_agents_get_tokens_for_the_projects_they_are_assigned_to(
    github: Github, connected: FlaskClient, finn: FlaskClient, engine: FlaskClient
):
    path = "/v1/github/repo-token?repo=acme/todo"
    assert finn.get(path).status_code == 404
    assign()
    told = finn.get(path).json
    assert (told["owner"], told["repo"]) == ("acme", "todo")
    assert told["clone_url"].endswith("/acme/todo.git")
    host = github.url
    for form in (f"{host}/Acme/Todo.git", f"git@{host[7:]}:acme/todo.git", "acme/todo"):
        assert finn.get("/v1/github/repo-token", query_string={"repo": form}).status_code == 200
    for form in ("acme", "https://evil.example/acme/todo", "acme/../app", ""):
        wrong = finn.get("/v1/github/repo-token", query_string={"repo": form})
        assert wrong.status_code in {400, 422}, form
    github.repositories[INSTALLATION].append("acme/other")
    assert finn.get("/v1/github/repo-token?repo=acme/other").status_code == 404
    assert engine.get("/v1/github/repo-token?repo=acme/other").status_code == 200
    refused = engine.get("/v1/github/repo-token?repo=acme/nowhere")
    assert refused.status_code == 404
    assert "install the App at" in refused.json["detail"]
    assert connected.get(path).status_code == 403


def test_an_agent_at_work_gets_no_token_of_a_project_that_its_runs_owner_does_not_see(
    github: Github, connected: FlaskClient
):
    assign()
    for owner_id, sees in (("usr_owner", True), ("usr_stranger", False)):
        agent = Run(id="run_1", owner_id=owner_id).caller("finn")
        with db.connection_context(), nullcontext() if sees else pytest.raises(NotFound):
            assert repository_tokens.of_repository(agent, "acme/todo").name == "todo"


def test_the_containers_sed_reads_the_credential(
    connected: FlaskClient, finn: FlaskClient, engine: FlaskClient, github: Github
):
    assign()
    answer = finn.get("/v1/github/git-credential?agent_id=finn")
    assert answer.headers["Cache-Control"] == "no-store"
    script = 's/.*"token":"\\([^"]*\\)".*/\\1/p'
    done = subprocess.run(["sed", "-n", script], input=answer.data, capture_output=True, check=True)
    token = done.stdout.decode().strip()
    assert answer.data == f'{{"token":"{token}"}}'.encode()
    assert github.tokens[token]["names"] == ["acme/todo"]
    assert finn.get("/v1/github/git-credential?agent_id=eric").status_code == 403
    assert engine.get("/v1/github/git-credential?agent_id=eric").status_code == 404
    assert engine.get("/v1/github/git-credential?agent_id=finn").status_code == 200
    assert connected.get("/v1/github/git-credential?agent_id=finn").status_code == 403


def test_an_agent_with_several_repositories_says_which(
    connected: FlaskClient, finn: FlaskClient, owner: FlaskClient, github: Github
):
    github.repositories[INSTALLATION].append("acme/other")
    Project(id="proj_2", name="Two", owner_id="usr_owner").add()
    second = FORM | {"repo": "other"}
    assert owner.post("/v1/github/projects/proj_2/connect", json=second).status_code == 200
    assign()
    assign(project="proj_2")
    assert finn.get("/v1/github/git-credential").status_code == 400
    answer = finn.get("/v1/github/git-credential?repo=acme/other")
    assert github.tokens[answer.json["token"]]["names"] == ["acme/other"]


def test_every_token_that_is_handed_out_is_audited_without_it(
    connected: FlaskClient, finn: FlaskClient
):
    assign()
    token = finn.get("/v1/github/git-credential").json["token"]
    entry = audit.Entry.select().order_by(audit.Entry.seq.desc()).get()
    assert (entry.actor, entry.action, entry.subject) == ("agent:finn", "github.token", "acme/todo")
    assert token not in str(entry.details)
