"""What becomes of projects when their repositories change on GitHub."""

from __future__ import annotations

from collections.abc import Callable

from flask.testing import FlaskClient

from models import base
from models.github import Connection
from models.projects import Project, ProjectAgent
from models.runs import Run
from models.webhooks import WebhookEvent
from tests.conftest import PROJECT
from tests.servers import github_events as told
from tests.web.boards import Crew
from tests.workers.jobs.telling import Deliver, assign, connection
from workers.jobs import github as jobs

LABELED = told.issues("labeled", added="bug")


def test_a_push_is_noted_whatever_the_case_of_the_name_and_never_backwards(
    deliver: Deliver, connected: Connection, work: Callable[..., int]
):
    payload = told.push("a.py")
    payload["repository"]["full_name"] = "Acme/TODO"
    deliver("push", payload)
    work()
    late = Connection.get().last_push_at
    assert late == WebhookEvent.get().received_at
    WebhookEvent.update(received_at=5, processed=False).execute()
    jobs.process(WebhookEvent.get().id)
    assert Connection.get().last_push_at == late


def test_a_removed_installation_parts_all_its_projects_once(
    deliver: Deliver, connected: Connection, work: Callable[..., int]
):
    deliver("installation", told.installation("deleted"))
    work()
    assert Connection.select().count() == 0
    connection(PROJECT, at=base.now_ms() + 1000)
    WebhookEvent.update(processed=False).execute()
    jobs.process(WebhookEvent.get().id)  # an old word about what was made anew since
    assert Connection.select().count() == 1


def test_a_suspended_installation_is_left_alone_until_it_is_back(
    deliver: Deliver, connected: Connection, work: Callable[..., int], owner: FlaskClient
):
    assign()
    path = f"/v1/github/projects/{PROJECT}/status"
    deliver("installation", told.installation("suspend"), "1")
    work()
    assert owner.get(path).json["connected"] is False
    deliver("issues", LABELED, "2")
    work()
    assert Run.select().count() == 0
    deliver("installation", told.installation("unsuspend"), "3")
    work()
    assert owner.get(path).json["connected"] is True


def test_repositories_that_were_taken_out_part_their_projects_and_no_others(
    deliver: Deliver, connected: Connection, work: Callable[..., int]
):
    Project(id="proj_other", name="Other", owner_id="usr_owner").add()
    connection("proj_other", "acme/other")
    deliver("installation_repositories", told.installation_repositories("Acme/Todo", "acme/x"))
    work()
    assert [row.repo_full_name for row in Connection.select()] == ["acme/other"]


def test_a_repository_is_followed_to_its_new_name(
    deliver: Deliver, connected: Connection, work: Callable[..., int]
):
    moved = {"action": "renamed", "changes": {"repository": {"name": {"from": "ToDo"}}}}
    deliver("repository", moved | told.common(full_name="acme/done"))
    work()
    row = Connection.get()
    assert (row.repo_full_name, row.repo_key, row.repo_name) == ("acme/done", "acme/done", "done")


def test_an_installation_speaks_of_its_own_repositories_alone(
    deliver: Deliver, connected: Connection, work: Callable[..., int]
):
    assign()
    deliver("issues", LABELED | {"installation": {"id": 5}}, "1")
    deliver("push", told.push("a") | {"installation": {"id": 5}}, "2")
    work()
    assert Run.select().count() == 0
    assert Connection.get().last_push_at is None


def test_a_merged_pull_request_closes_the_task_of_its_branch(
    deliver: Deliver, connected: Connection, work: Callable[..., int], owner: FlaskClient
):
    crew = Crew(owner)
    Connection.update(project=crew.id).execute()
    branch = told.merged()["pull_request"]["head"]["ref"]
    task = crew.add("Remember who logged in", metadata={"git_branch": branch})
    event = deliver("pull_request", told.pull_request("closed"), "only closed")
    work()
    assert crew.status(task) != "done"
    event = deliver("pull_request", told.merged())
    work()
    assert crew.status(task) == "done"
    facts = crew.task(task)["metadata"]
    assert (facts["pr_number"], facts["pr_merged_at"]) == (7, 1_795_253_400_000)
    WebhookEvent.update(processed=False).execute()
    jobs.process(event)
    assert crew.status(task) == "done"


def test_an_agent_on_the_board_works_on_the_projects_repository(
    connected: Connection, owner: FlaskClient
):
    assert not Connection.open_to("finn")
    ProjectAgent(project=PROJECT, agent_id="finn").add()
    assert [row.project_id for row in Connection.open_to("finn")] == [PROJECT]


def test_an_opened_pull_request_is_noted_on_the_task_of_its_branch_but_none_of_a_fork(
    deliver: Deliver, connected: Connection, work: Callable[..., int], owner: FlaskClient
):
    crew = Crew(owner)
    Connection.update(project=crew.id).execute()
    branch = told.merged()["pull_request"]["head"]["ref"]
    task = crew.add("Remember who logged in", metadata={"git_branch": branch})
    fork = {"head": {"ref": branch, "sha": "e5", "repo": told.repository("evil/todo")}}
    deliver("pull_request", told.pull_request("opened", **fork), "1")
    closed = {"merged": True, "merged_at": "2026-11-21T09:30:00Z"}
    deliver("pull_request", told.pull_request("closed", **closed, **fork), "2")
    work()
    assert (crew.status(task), crew.task(task)["metadata"]) == ("ready", {"git_branch": branch})
    deliver("pull_request", told.pull_request("opened"), "3")
    work()
    facts = crew.task(task)["metadata"]
    assert (facts["pr_number"], facts["pr_url"]) == (7, f"{told.URL}/pull/7")
