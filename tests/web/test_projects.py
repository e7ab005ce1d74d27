"""Projects over HTTP: what they are, who works on them, what they begin with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import repositories, shelf
from models.audit import Entry
from models.base import db
from models.board import Column, Task
from models.projects import Project
from models.repositories import Repository
from tasks import projects
from tests.conftest import PROJECT
from tests.web.boards import Crew
from tests.web.test_boards import told

Work = Callable[..., int]


@pytest.fixture
def crew(owner: FlaskClient) -> Crew:
    return Crew(owner)


def test_a_project_is_its_members_and_nobody_elses(
    crew: Crew, teammate: FlaskClient, stranger: FlaskClient, admin: FlaskClient
):
    assert teammate.get(crew.path).status_code == 404
    added = crew.client.post(f"{crew.path}/members", json={"userId": "usr_teammate"}).json
    assert [each["user_id"] for each in added] == ["usr_owner", "usr_teammate"]
    assert [each["role"] for each in added] == ["owner", "member"]
    assert teammate.get(crew.path).json["name"] == "Todo"
    assert crew.id in [each["id"] for each in teammate.get("/v1/projects").json]
    assert teammate.post(f"{crew.path}/tasks", json={"title": "Mine"}).status_code == 200
    for refused in (
        teammate.post(f"{crew.path}/members", json={"userId": "usr_stranger"}),
        teammate.delete(f"{crew.path}/members/usr_owner"),
        teammate.delete(crew.path),
    ):
        assert refused.status_code == 403
    assert stranger.get("/v1/projects").json == []
    assert admin.get(crew.path).status_code == 200
    assert crew.client.delete(f"{crew.path}/members/usr_owner").status_code == 409
    assert crew.client.delete(f"{crew.path}/members/usr_teammate").json == {"status": "removed"}
    assert crew.client.delete(f"{crew.path}/members/usr_teammate").status_code == 404
    assert teammate.get(crew.path).status_code == 404
    with db.connection_context():
        actions = [entry.action for entry in Entry.select().order_by(Entry.seq)]
    assert actions == ["project.add_member", "project.remove_member"]


def test_whose_keys_pay_ends_with_the_membership(crew: Crew, teammate: FlaskClient):
    crew.client.post(f"{crew.path}/members", json={"user_id": "usr_teammate"})
    offered = teammate.put(f"{crew.path}/key-user", json={"key_user_id": "usr_teammate"})
    assert offered.json == {"key_user_id": "usr_teammate", "status": "updated"}
    crew.client.delete(f"{crew.path}/members/usr_teammate")
    assert crew.board["key_user_id"] is None


def test_projects_are_listed_last_changed_first_page_by_page(owner: FlaskClient):
    crews = [Crew(owner, name=f"P{number}") for number in range(3)]
    owner.put(crews[0].path, json={"description": "changed", "name": None})
    first = owner.get("/v1/projects?limit=2")
    assert [each["name"] for each in first.json] == ["P0", "P2"]
    assert first.headers["X-Total-Count"] == "4"
    more = owner.get(first.headers["Link"].partition("<")[2].partition(">")[0]).json
    assert [each["name"] for each in more] == ["P1", "Shared"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"name": " "}, 422),
        ({"name": "x" * 257}, 422),
        ({"name": "x", "templateId": "none"}, 404),
        ({"name": "x", "repository": "file:///etc"}, 422),
        ({"name": "x", "repository": "ext::sh -c true"}, 422),
        ({"name": "x", "repository": "https://me:secret@example.com/a/b"}, 422),
        ({"name": "x", "repository": "-uhttps://example.com/a/b"}, 422),
        ({"name": "x", "repository": "https://example.com/a b"}, 422),
        ({"name": "x", "statusSemantics": {"magic": []}}, 422),
        (
            {
                "name": "x",
                "columns": [{"name": "A", "position": 0, "statuses": ["a"]}],
                "statusSemantics": {"initial": ["b"]},
            },
            422,
        ),
    ],
)
def test_a_project_that_cannot_be_is_refused_and_nothing_is_left(
    owner: FlaskClient, body: Any, status: int
):
    answer = owner.post("/v1/projects", json=body)
    assert answer.status_code == status, answer.text
    assert "secret" not in answer.text
    with db.connection_context():
        assert (Project.select().count(), Column.select().count()) == (1, 0)


@pytest.mark.parametrize(
    ("written", "kept", "asked"),
    [
        ("https://example.com/acme/todo", "https://example.com/acme/todo.git", None),
        ("example.com/acme/todo", "https://example.com/acme/todo.git", None),
        ("https://example.com/todo.git", "https://example.com/todo.git", None),
        ("git@example.com:a/todo", "git@example.com:a/todo.git", "https://example.com/a/todo.git"),
        ("", None, None),
    ],
)
def test_a_repository_is_kept_in_one_form(written: str, kept: str | None, asked: str | None):
    assert repositories.normalised(written) == kept
    if kept is not None:
        assert repositories.address(kept) == asked or asked is None


def test_a_repository_is_looked_at_by_a_job_and_what_it_found_is_told(crew: Crew, work: Work):
    set_ = crew.client.put(
        f"{crew.path}/repository", json={"repoUrl": "http://127.0.0.1:1/acme/todo"}
    ).json
    assert (set_["status"], set_["cloned"]) == ("queued", False)
    status = crew.client.get(f"{crew.path}/repository/status").json
    assert (status["status"], status["error"]) == ("queued", None)
    work()
    status = crew.client.get(f"{crew.path}/repository/status").json
    assert status["status"] == "failed"
    assert "may not be asked" in status["error"]
    assert crew.client.post(f"{crew.path}/repository/status").json["status"] == "queued"
    assert crew.client.delete(f"{crew.path}/repository").json["repoUrl"] is None
    work()  # the look that was asked for finds nothing to look at
    assert crew.client.get(f"{crew.path}/repository/status").json["status"] == "none"
    assert crew.client.post(f"{crew.path}/repository/clone").status_code == 400


def test_a_look_that_got_lost_is_asked_for_again(crew: Crew, work: Work):
    crew.client.put(f"{crew.path}/repository", json={"repoUrl": "http://127.0.0.1:1/a/b"})
    with db.connection_context():
        db.execute_sql("DELETE FROM outbox")
        projects.ask_again()
        assert Repository.of(crew.id).state == "queued"
        Repository.update(updated_at=0).execute()
        projects.ask_again()
    work()
    assert crew.client.get(f"{crew.path}/repository/status").json["status"] == "failed"


def test_the_vision_is_written_read_and_cleared(crew: Crew):
    path = f"{crew.path}/vision"
    assert crew.client.get(path).json == {"vision": ""}
    crew.client.put(path, json={"vision": "# Everybody does less"})
    assert crew.client.get(path).json == {"vision": "# Everybody does less"}
    crew.client.put(path, json={"vision": ""})
    assert crew.board["vision"] is None
    assert crew.client.put(path, json={}).status_code == 422


def test_agents_are_assigned_once_and_there_is_one_lead(crew: Crew, owner: FlaskClient):
    path = f"{crew.path}/agents"
    for agent in ("finn", "eric"):
        answer = owner.post(path, json={"agentId": agent, "role": "lead"})
        assert answer.json["status"] == "assigned"
    assert owner.post(path, json={"agentId": "eric"}).status_code == 400
    assert owner.post(path, json={"agentId": "nobody"}).status_code == 404
    assert {each["agent_id"]: each["role"] for each in owner.get(path).json} == {
        "eric": "lead",
        "finn": "member",
    }
    assert owner.patch(f"{path}/finn", json={"role": "lead"}).json["role"] == "lead"
    assert owner.put(f"{path}/eric", json={"role": "boss"}).status_code == 422
    assert owner.put(f"{path}/jim", json={"role": "member"}).status_code == 404
    (theirs,) = owner.get("/v1/agents/finn/projects").json
    assert (theirs["project_id"], theirs["role"], theirs["project_name"]) == (
        crew.id,
        "lead",
        "Todo",
    )
    mine = crew.add("Mine", assignedAgent="finn")
    crew.add("Theirs", assignedAgent="jim")
    listed = owner.get(f"/v1/agents/finn/projects/{crew.id}/tasks").json
    assert [task["id"] for task in listed] == [mine]
    assert owner.get(f"/v1/agents/jim/projects/{crew.id}/tasks").status_code == 403
    assert owner.delete(f"{path}/finn").json == {"status": "removed"}
    assert owner.delete(f"{path}/finn").status_code == 404


def test_an_agents_projects_are_told_to_those_who_see_them(
    crew: Crew, owner: FlaskClient, stranger: FlaskClient
):
    owner.post(f"{crew.path}/agents", json={"agentId": "finn"})
    assert stranger.get("/v1/agents/finn/projects").json == []
    path = f"/v1/agents/finn/projects/{crew.id}/tasks"
    assert stranger.get(path).status_code == 404


def test_a_policy_is_checked_and_can_be_sent_back_as_it_was_read(crew: Crew):
    path = f"{crew.path}/workflow-policy"
    read = crew.client.get(path).json
    assert crew.client.put(path, json=read).status_code == 200
    assert crew.client.get(path).json["stage_rules"] == read["stage_rules"]
    for rules in (
        {"magic": []},
        {"docs": [{"stage": "think", "disposition": "skip"}]},
        {"docs": [{"stage": "spec", "disposition": "foo"}]},
        {"docs": [{"stage": "spec", "disposition": "skip"}] * 2},
        {"docs": "spec"},
        {"docs": ["spec"]},
        [],
        None,
    ):
        answer = crew.client.put(path, json={"stageRules": rules})
        assert answer.status_code == 422, answer.text
    bare = Crew(crew.client, templateId="research")
    assert bare.client.get(f"{bare.path}/workflow-policy").json["exists"] is False


def test_a_workflow_is_resolved_as_it_is_or_as_it_would_be(crew: Crew):
    task = crew.add("Build it", workType="bugfix")
    path = f"{crew.path}/tasks/{task}"
    told = crew.client.get(f"{path}/workflow").json
    assert told["required_stages"] == ["implement", "test"]
    assert (told["current_stage"], told["next_required_stage"]) == ("implement", "test")
    assert told["next_valid_stages"] == ["review", "test", "deploy"]
    assert told["next_valid_statuses"] == ["review", "test"]
    assert crew.client.post(f"{path}/resolve-workflow").json == told
    what_if = {"status": "test", "completed_stages": ["implement"]}
    would = crew.client.post(f"{path}/resolve-workflow", json=what_if).json
    assert would["next_valid_stages"] == ["deploy", "done"]
    assert would["next_valid_statuses"] == ["done"]
    bare = Crew(crew.client, templateId="kanban-simple")
    other = bare.add("One")
    free = bare.client.get(f"{bare.path}/tasks/{other}/workflow").json
    assert (free["has_policy"], "every move" in free["message"]) == (False, True)


def test_templates_ship_and_can_be_made_changed_and_copied(owner: FlaskClient, admin: FlaskClient):
    shipped = owner.get("/v1/project-templates/").json["templates"]
    assert [each["slug"] for each in shipped] == [
        *("software-dev", "kanban-simple", "content-pipeline", "research")
    ]
    columns = [{"name": "New", "position": 0, "statuses": ["new"], "wip_limit": 2}]
    body = {"slug": "support", "name": "Support", "columns": columns}
    made = owner.post("/v1/project-templates", json=body)
    assert made.status_code == 201
    assert owner.post("/v1/project-templates", json=body).status_code == 409
    wrong = {**body, "slug": "x", "statusSemantics": {"initial": ["gone"]}}
    assert owner.post("/v1/project-templates", json=wrong).status_code == 400
    assert owner.post("/v1/project-templates", json={**body, "slug": "A b"}).status_code == 422
    assert Crew(owner, templateId="support").board["columns"][0]["wip_limit"] == 2
    copied = owner.post("/v1/project-templates/support/clone").json
    assert (copied["slug"], copied["isBuiltin"]) == ("support-2", False)
    path = "/v1/project-templates/software-dev"
    assert owner.put(path, json={"name": "Ours"}).status_code == 403
    assert admin.put(path, json={"name": "Ours"}).json["name"] == "Ours"
    assert admin.delete(path).status_code == 403
    assert owner.delete(f"/v1/project-templates/{copied['id']}").json["status"] == "deleted"


@pytest.mark.parametrize("told", ["x" * 33, "", 5, {"a": 1}, ["git_worktree"]])
def test_a_template_whose_kind_of_workspace_makes_no_sense_says_nothing_of_it(
    owner: FlaskClient, told: Any
):
    columns = [{"name": "New", "position": 0, "statuses": ["new"]}]
    body = {"slug": "odd", "name": "Odd", "columns": columns, "metadata": {"workspace_type": told}}
    assert owner.post("/v1/project-templates", json=body).status_code == 201
    assert Crew(owner, templateId="odd").board["workspace_type"] is None


def test_a_copy_finds_a_free_name_and_no_room_is_found_beyond_the_limit(
    owner: FlaskClient, monkeypatch: pytest.MonkeyPatch
):
    copy = "/v1/project-templates/research/clone"
    assert [owner.post(copy).json["slug"] for _ in range(2)] == ["research-2", "research-3"]
    owner.delete("/v1/project-templates/research-2")
    assert owner.post(copy).json["slug"] == "research-2"
    monkeypatch.setattr("tasks.templates.MOST", 6)
    assert owner.post(copy).status_code == 409


def test_what_an_admin_made_of_a_shipped_template_outlives_updates(admin: FlaskClient):
    path = "/v1/project-templates/research"
    admin.put(path, json={"name": "Our research"})
    with db.connection_context():
        assert "template research (kept as changed here)" in shelf.load_shipped()
    assert admin.get(path).json["name"] == "Our research"


def test_a_deleted_project_leaves_its_runs_and_nothing_else(crew: Crew):
    run = crew.post(crew.add("One"), "execute", pipelineId="bugfix").json["run_id"]
    assert crew.client.delete(crew.path).json == {"status": "deleted", "project_id": crew.id}
    assert crew.client.get(crew.path).status_code == 404
    assert crew.client.get(f"/v1/runs/{run}").json["status"] == "cancelled"
    with db.connection_context():
        assert (Task.select().count(), Column.select().count()) == (0, 0)
    assert told("project_deleted")


def test_a_run_of_a_project_is_seen_by_its_people(owner: FlaskClient, teammate: FlaskClient):
    column = {"name": "Ready", "taskStatuses": ["ready"]}
    owner.post(f"/v1/projects/{PROJECT}/columns", json=column)
    path = f"/v1/projects/{PROJECT}/tasks"
    task = owner.post(path, json={"title": "One"}).json["id"]
    run = owner.post(f"{path}/{task}/execute", json={"pipelineId": "bugfix"}).json["run_id"]
    assert teammate.get(f"/v1/runs/{run}").json["task_id"] == task
    assert teammate.get(f"/v1/internal/run-history?task_id={task}").json["total"] == 1
