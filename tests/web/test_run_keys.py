"""The key of an agent at work: bound to its agent, its run and the lease of its step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import base, run_keys, steps
from models.config import Settings
from models.projects import ProjectAgent
from models.steps import Step
from tasks import runs as commands
from tests.beginning import begun
from tests.web.boards import Crew
from web import create_app
from workers.jobs import steps as jobs

Caller = Callable[[str | None], FlaskClient]
ENV = "/v1/secrets/agents/{}/env"


@pytest.fixture
def at_work(run: str) -> Step:
    """The first step of the owner's run, claimed by a worker."""
    claimed = jobs.claim(begun(run).id)
    assert claimed is not None
    keep(claimed[1])
    return claimed[1]


def keep(step: Step, seconds: int = 600) -> None:
    """A slow machine must not let the lease run out amid a test."""
    until = base.database_ms() + seconds * 1000
    Step.update(leased_until=until).where(Step.id == step.id).execute()


def status(as_caller: Caller, key: str | None, agent: str) -> int:
    return as_caller(key).get(ENV.format(agent)).status_code


def test_it_opens_what_is_its_agents_and_nothing_else(as_caller: Caller, at_work: Step):
    key = run_keys.drawn(at_work)
    assert status(as_caller, key, at_work.agent_id) == 200
    assert status(as_caller, key, "finn") == 403
    client = as_caller(key)
    for path in ("/v1/runs", f"/v1/runs/{at_work.run_id}", "/v1/secrets", "/v1/agents"):
        assert client.get(path).status_code == 403
    cookies = f"/v1/browser/cookies/agents/{at_work.agent_id}"
    assert client.get(cookies).status_code == 200
    assert client.get(f"{cookies}?run_id={at_work.run_id}").status_code == 200
    assert client.get(f"{cookies}?run_id=run_of_others").status_code == 403


def test_it_looks_back_on_runs_of_its_projects_alone(
    as_caller: Caller, at_work: Step, owner: FlaskClient, stranger: FlaskClient
):
    path, client = "/v1/internal/run-history", as_caller(run_keys.drawn(at_work))
    assert client.get(path).json["runs"] == []  # its own belongs to no project
    crews = [Crew(who) for who in (owner, stranger)]
    form = {"pipeline_id": "bugfix", "task": "x"}
    for crew in crews:
        with base.db.connection_context():
            ProjectAgent(project=crew.id, agent_id=at_work.agent_id).add()
        crew.client.post("/v1/runs", json=form | {"project_id": crew.id})
    (shown,) = client.get(path).json["runs"]
    assert shown["project_id"] == crews[0].id
    assert client.get(f"{path}?agent_id=finn").status_code == 403
    assert client.get(f"{path}?project_id={crews[1].id}").json["runs"] == []


def test_it_gets_what_the_runs_owner_may_use(
    as_caller: Caller, at_work: Step, owner: FlaskClient, stranger: FlaskClient, admin: FlaskClient
):
    for client, name in ((owner, "MINE"), (stranger, "THEIRS"), (admin, "INSTANCE")):
        made = client.post("/v1/secrets", json={"name": name, "value": "some value"}).json["id"]
        client.post(f"/v1/secrets/{made}/grant/{at_work.agent_id}")
    client = as_caller(run_keys.drawn(at_work))
    assert client.get(ENV.format(at_work.agent_id)).json["env"] == {"MINE": "some value"}
    admin.post(f"/v1/admin/secrets/{made}/grant-user/usr_owner")
    told = client.get(ENV.format(at_work.agent_id)).json["env"]
    assert set(told) == {"MINE", "INSTANCE"}


def test_it_dies_with_its_lease(as_caller: Caller, at_work: Step):
    key = run_keys.drawn(at_work)
    Step.update(leased_until=base.database_ms() - 1).where(Step.id == at_work.id).execute()
    assert status(as_caller, key, at_work.agent_id) == 401
    keep(at_work)
    assert status(as_caller, key, at_work.agent_id) == 200
    jobs.give_back(at_work.run, at_work)
    assert status(as_caller, key, at_work.agent_id) == 401
    claimed = jobs.claim(at_work.id)
    assert claimed is not None
    keep(claimed[1])
    assert status(as_caller, key, at_work.agent_id) == 401  # another lease
    assert status(as_caller, run_keys.drawn(claimed[1]), at_work.agent_id) == 200


def test_it_dies_when_the_run_is_cancelled(as_caller: Caller, at_work: Step):
    commands.cancel(at_work.run_id)
    assert Step.get_by_id(at_work.id).state == steps.CANCELLED
    assert status(as_caller, run_keys.drawn(at_work), at_work.agent_id) == 401


@pytest.mark.parametrize(
    "forge",
    [
        lambda key: key[:-1] + ("0" if key[-1] != "0" else "1"),
        lambda key: key[:-64],
        lambda key: key + "0",
        lambda key: key[:-64] + "\u00e9" * 64,
        lambda key: "djb_run_",
        lambda key: "djb_run__",
        lambda key: key.replace("djb_run_", "djb_run_exec_"),
    ],
)
def test_a_forged_one_is_nobody(as_caller: Caller, at_work: Step, forge: Callable[[str], str]):
    key = forge(str(run_keys.drawn(at_work)))
    header = {"Authorization": f"Bearer {key}".encode().decode("latin-1")}
    assert as_caller(None).get(ENV.format("eric"), headers=header).status_code == 401


def test_what_the_database_holds_makes_no_key(at_work: Step):
    """Whoever reads the rows knows execution and lease, not what signs them."""
    key = str(run_keys.drawn(at_work))
    assert at_work.lease_id not in key
    assert key.partition("_")[2] not in str(Step.get_by_id(at_work.id).__data__)


def test_where_accounts_are_off_it_still_names_its_agent(local: Settings, at_work: Step):
    client: Any = create_app(replace(local, auth_enabled=False)).test_client()
    header = {"Authorization": f"Bearer {run_keys.drawn(at_work)}"}
    assert client.get(ENV.format(at_work.agent_id), headers=header).status_code == 200
    assert client.get("/v1/runs", headers=header).status_code == 403
    assert client.get("/v1/runs").status_code == 200


def test_it_sees_no_project_that_the_owner_of_its_run_does_not(
    as_caller: Caller, at_work: Step, stranger: FlaskClient, owner: FlaskClient, admin: FlaskClient
):
    key = as_caller(run_keys.drawn(at_work))
    for client, expected in ((stranger, 404), (owner, 200)):
        crew = Crew(client)
        admin.post(f"{crew.path}/agents", json={"agentId": at_work.agent_id})
        task = crew.add("One")
        assert key.get(f"{crew.path}/tasks/{task}").status_code == expected
        claim = key.post(f"{crew.path}/tasks/{task}/claim", json={"agentId": at_work.agent_id})
        assert claim.status_code == expected
