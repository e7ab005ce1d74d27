"""The App, projects' repositories and tokens, as clients see them."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from models import audit, config, health
from models.accounts import User
from models.assignments import Assignment
from models.base import db, now_ms
from models.errors import Malformed
from models.github import Connection, InstallState
from models.principals import Principal
from models.projects import Project
from models.projects import ProjectMember as Member
from tasks import github as commands
from tasks.github import parsed
from tests.conftest import PROJECT
from tests.servers.github import APP_ID, INSTALLATION, SLUG, Github
from tests.web.connecting import FORM, HERE, assign

Caller = Callable[[str | None], FlaskClient]


def test_without_an_app_the_first_missing_thing_is_named_and_nothing_fails(owner: FlaskClient):
    for path in ("/v1/github/app/status", "/v1/github/status"):
        answer = owner.get(path)
        assert answer.status_code == 200
        assert answer.json["healthy"] is answer.json["is_configured"] is False
        assert (answer.json["app_id"], answer.json["app_name"]) == (0, "Not Configured")
        assert answer.json["installation_url"] == ""
        assert "GITHUB_APP_ID" in answer.json["message"]
    setup = owner.get("/v1/github/setup-status").json
    assert setup["configured"] is False
    assert len(setup["missing"]) == 4
    for path in ("/v1/github/repos", "/v1/github/app-install-url", f"{HERE}/install-url"):
        assert owner.get(path).status_code == 503, path


def test_an_app_says_who_it_is(github: Github, owner: FlaskClient, admin: FlaskClient):
    status = owner.get("/v1/github/app/status").json
    assert (status["healthy"], status["app_id"], status["app_name"]) == (True, int(APP_ID), SLUG)
    assert owner.get("/v1/github/app-info").json["app_id"] == int(APP_ID)
    assert owner.get("/v1/github/setup-status").json["missing"] == []
    assert SLUG in owner.get("/v1/github/app-install-url").json["url"]
    assert owner.post("/v1/github/validate").status_code == 403
    assert "DjinnBot of the tests" in admin.post("/v1/github/validate").json["message"]
    github.failing = 401
    assert admin.post("/v1/github/validate").status_code == 400
    assert health.report(config.settings())["github"] == {"configured": True, "healthy": True}


def test_admins_see_installations(github: Github, admin: FlaskClient, owner: FlaskClient):
    assert owner.get("/v1/github/installations").status_code == 403
    (found,) = admin.get("/v1/github/installations").json
    assert (found["installation_id"], found["account_login"]) == (INSTALLATION, "acme")
    assert found["installed_at"] == 1_793_534_400_000
    path, body = "/v1/github/manual-callback", {"installation_id": INSTALLATION}
    assert owner.post(path, json=body).status_code == 403
    assert admin.post(path, json=body).json["account_login"] == "acme"
    assert admin.post(path, json={"installation_id": 1}).status_code == 404
    assert admin.post(path, json={"installation_id": "1"}).status_code == 422
    github.failing = 500
    assert admin.post(path, json=body).status_code == 502


def test_repositories_are_listed_whole_or_by_page(github: Github, owner: FlaskClient):
    github.repositories = {INSTALLATION: [f"acme/r{n}" for n in range(8)], 5: ["other/x"]}
    every = owner.get("/v1/github/repos").json
    assert [each["full_name"] for each in every] == [
        *(f"acme/r{number}" for number in range(8)),
        "other/x",
    ]
    assert every[0] == {
        "owner": "acme",
        "name": "r0",
        "full_name": "acme/r0",
        "description": None,
        "private": True,
        "default_branch": "trunk",
        "html_url": f"{github.url}/acme/r0",
        "installation_id": INSTALLATION,
    }
    part = owner.get("/v1/github/repos?page=2&per_page=4").json
    assert [each["name"] for each in part] == ["r4", "r5", "r6", "r7"]
    assert len(owner.get("/v1/github/repos?installation_id=5").json) == 1
    assert owner.get("/v1/github/repos?installation_id=6").status_code == 404
    assert owner.get("/v1/github/repos?per_page=101").status_code == 422
    ours = owner.get(f"{HERE}/repositories?installation_id=5").json
    assert "installation_id" not in ours[0]
    github.failing = 503
    assert owner.get("/v1/github/repos").status_code == 502


def test_a_member_connects_and_parts_a_repository(
    github: Github, connected: FlaskClient, teammate: FlaskClient
):
    answer = teammate.post(f"{HERE}/connect", json=FORM | {"owner": "ACME", "repo": "ToDo"})
    assert answer.json == {
        "success": True,
        "repo_full_name": "acme/todo",
        "installation_id": INSTALLATION,
        "default_branch": "trunk",
    }
    for path in (f"{HERE}/status", f"/v1/projects/{PROJECT}/github/status"):
        status = teammate.get(path).json
        assert (status["connected"], status["repo_full_name"]) == (True, "acme/todo")
        assert status["repo_url"] == f"{github.url}/acme/todo"
        assert status["last_push_at"] is None
    assert Connection.get().connected_by == "usr_teammate"
    assert teammate.delete(f"{HERE}/disconnect").json["success"] is True
    assert teammate.delete(f"{HERE}/disconnect").status_code == 404
    assert teammate.get(f"{HERE}/status").json["connected"] is False
    actions = [entry.action for entry in audit.Entry.select().order_by(audit.Entry.seq)]
    assert actions == ["github.connect", "github.connect", "github.disconnect"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"repo": "other"}, 404),
        ({"installation_id": 5}, 404),
        ({"owner": ".."}, 400),
        ({"repo": ".."}, 400),
        ({"repo": "todo/../../app"}, 400),
        ({"owner": "acme", "repo": "to do"}, 400),
        ({"installation_id": True}, 422),
        ({"repo": ""}, 422),
        ({"owner": None}, 422),
    ],
)
def test_what_the_installation_does_not_cover_is_not_connected(
    github: Github, owner: FlaskClient, change: dict[str, Any], status: int
):
    github.repositories[5] = ["other/x"]
    assert owner.post(f"{HERE}/connect", json=FORM | change).status_code == status
    assert Connection.select().count() == 0


def test_a_repository_of_others_is_not_opened_by_a_project_of_ones_own(
    connected: FlaskClient, stranger: FlaskClient, admin: FlaskClient
):
    Project(id="proj_mine", name="Mine", owner_id="usr_stranger").add()
    path = "/v1/github/projects/proj_mine/connect"
    assert stranger.post(path, json=FORM).status_code == 409
    assert admin.post(path, json=FORM).status_code == 200


def test_of_two_who_connect_a_repository_at_once_one_gets_it(
    github: Github, owner: FlaskClient, stranger: FlaskClient
):
    Project(id="proj_mine", name="Mine", owner_id="usr_stranger").add()
    connected, asked = threading.Event(), threading.Event()

    def connect() -> None:
        with db.connection_context(), db.atomic():
            commands.connect(Principal("usr_owner", "user"), Project.get_by_id(PROJECT), FORM)
            connected.set()
            asked.wait(10)

    answers: list[int] = []

    def ask() -> None:
        path = "/v1/github/projects/proj_mine/connect"
        answers.append(stranger.post(path, json=FORM).status_code)

    threads = [threading.Thread(target=act) for act in (connect, ask)]
    threads[0].start()
    assert connected.wait(10)
    threads[1].start()
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    while not answers and not db.execute_sql(waiting).fetchone()[0]:
        time.sleep(0.02)
    asked.set()
    for thread in threads:
        thread.join(10)
    assert answers == [409]
    assert [each.project_id for each in Connection.select()] == [PROJECT]


def test_strangers_read_the_same_as_a_typo_everywhere(
    connected: FlaskClient, stranger: FlaskClient
):
    assign()
    row = Assignment.get().id
    routes = [
        ("GET", "/v1/github/projects/{}/install-url"),
        ("GET", "/v1/github/projects/{}/status"),
        ("GET", "/v1/github/projects/{}/repositories?installation_id=1"),
        ("DELETE", "/v1/github/projects/{}/disconnect"),
        ("GET", "/v1/github/install?project_id={}"),
        ("GET", "/v1/projects/{}/github/status"),
        ("GET", "/v1/projects/{}/github/webhook-log"),
        ("GET", "/v1/projects/{}/github/assignments"),
        ("GET", f"/v1/projects/{{}}/github/assignments/{row}"),
        ("PUT", f"/v1/projects/{{}}/github/assignments/{row}"),
        ("DELETE", f"/v1/projects/{{}}/github/assignments/{row}"),
        ("GET", "/v1/projects/{}/github/triggers"),
        ("GET", "/v1/projects/{}/github/triggers/none"),
    ]
    for method, path in routes:
        theirs = stranger.open(path.format(PROJECT), method=method)
        typo = stranger.open(path.format("none"), method=method)
        assert theirs.status_code == typo.status_code == 404, path
        assert theirs.json["detail"].replace(PROJECT, "none") == typo.json["detail"]
    assert stranger.post(f"{HERE}/connect", json=FORM).status_code == 404
    assert Connection.select().count() == Assignment.select().count() == 1


def came_back(nobody: FlaskClient, state: str, installation: Any = INSTALLATION) -> str:
    query = f"installation_id={installation}&setup_action=install&state={state}"
    answer = nobody.get(f"/v1/github/callback?{query}")
    assert answer.status_code == 302
    return answer.headers["Location"]


def test_who_installs_the_app_comes_back_to_a_connected_project(
    github: Github, owner: FlaskClient, nobody: FlaskClient
):
    link = owner.get(f"{HERE}/install-url").json
    assert link["state"] == parse_qs(urlsplit(link["url"]).query)["state"][0]
    assert len(link["state"]) >= 43
    assert InstallState.get().state_hash != link["state"]
    location = came_back(nobody, link["state"])
    assert location.startswith(f"http://localhost:3000/projects/{PROJECT}/settings?tab=github")
    assert f"installation_id={INSTALLATION}" in location
    assert location.endswith("success=true")
    assert owner.get(f"{HERE}/status").json["repo_full_name"] == "acme/todo"
    assert "/github/error?message=" in came_back(nobody, link["state"])  # it is good once


def test_several_repositories_leave_the_choice_to_the_member(
    github: Github, owner: FlaskClient, nobody: FlaskClient
):
    github.repositories[INSTALLATION] = ["acme/a", "acme/b"]
    state = owner.get(f"/v1/github/install?project_id={PROJECT}").json["state"]
    assert "success=true" in came_back(nobody, state)
    assert owner.get(f"{HERE}/status").json["connected"] is False


def test_a_state_that_is_made_up_over_or_of_somebody_who_is_gone_connects_nothing(
    github: Github, owner: FlaskClient, nobody: FlaskClient
):
    def fresh() -> str:
        return owner.get(f"{HERE}/install-url").json["state"]

    assert "/github/error" in came_back(nobody, "made-up")
    late = fresh()
    InstallState.update(expires_at=now_ms() - 1).execute()
    assert "/github/error" in came_back(nobody, late)
    assert "/github/error" in came_back(nobody, fresh(), 12345)
    asked = nobody.get(f"/v1/github/callback?setup_action=request&state={fresh()}")
    assert "approve" in asked.headers["Location"]
    state = fresh()
    Project.update(owner_id="usr_teammate").execute()
    Member.delete().where(Member.user == "usr_owner").execute()
    assert "/github/error" in came_back(nobody, state)
    Project.update(owner_id="usr_owner").execute()
    state = fresh()
    User.update(is_active=False).where(User.id == "usr_owner").execute()
    assert "/github/error" in came_back(nobody, state)
    github.failing = 500
    assert Connection.select().count() == 0


OWNERS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9-]{0,9}", fullmatch=True)
REPOS = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,9}", fullmatch=True)
SHAPES = """
    {}/{} https://github.com/{}/{} https://github.com/{}/{}.git git@github.com:{}/{}.git
    ssh://git@github.com/{}/{}.git https://GitHub.com/{}/{}/
"""
FORMS = st.sampled_from([*SHAPES.split(), " {}/{} "])


@given(OWNERS, REPOS.filter(lambda name: not name.endswith(".git")), FORMS)
def test_every_form_of_a_repository_says_the_same(owner: str, name: str, form: str):
    assert parsed(form.format(owner, name)) == (owner, name)


@given(st.text(max_size=40))
def test_whatever_is_read_as_a_repository_is_safe_in_an_address(text: str):
    try:
        owner, name = parsed(text)
    except Malformed:
        return
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", owner + name)
    assert {owner, name}.isdisjoint({".", ".."})
