"""Secrets: who keeps them, who is given them, who reads them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import secrets as known
from models.accounts import ApiKey, User, digest
from models.audit import Entry
from models.base import db
from models.secrets import AgentGrant, Secret
from tests.conftest import TOKEN
from web import create_app

Caller = Callable[[str | None], FlaskClient]
VALUE = "github_pat_of_somebody_x9Yz"
ENV = "/v1/secrets/agents/eric/env"


@pytest.fixture
def eric(as_caller: Caller) -> FlaskClient:
    """The key of an agent."""
    return agent(as_caller, "eric")


def agent(as_caller: Caller, name: str) -> FlaskClient:
    key = f"djb_agent_{name}"
    with db.connection_context():
        ApiKey(key_hash=digest(key), key_prefix=key[:16], name=name, agent_id=name).add()
    return as_caller(key)


def kept(client: FlaskClient, name: str = "GitHub", **more: Any) -> str:
    answer = client.post("/v1/secrets", json={"name": name, "value": VALUE, **more})
    assert answer.status_code == 201, answer.json
    return answer.json["id"]


def names(client: FlaskClient, path: str = "/v1/secrets") -> list[str]:
    return [secret["name"] for secret in client.get(path).json]


def granted(client: FlaskClient, secret: str, name: str = "eric") -> Any:
    return client.post(f"/v1/secrets/{secret}/grant/{name}")


def test_a_secret_goes_in_and_never_comes_out(owner: FlaskClient):
    form = {"name": "  GitHub token ", "secret_type": "pat", "value": VALUE, "env_key": "gh_token"}
    made = owner.post("/v1/secrets/", json=form)
    assert made.status_code == 201
    told = made.json
    assert told["id"].startswith("sec_")
    assert {
        name: told[name] for name in told if name not in {"id", "created_at", "updated_at"}
    } == {
        "name": "GitHub token",
        "description": None,
        "secret_type": "pat",
        "secret_type_label": "Personal Access Token",
        "env_key": "GH_TOKEN",
        "masked_preview": "github_p...x9Yz",
        "granted_agents": [],
        "scope": "user",
        "owner_user_id": "usr_owner",
    }
    assert owner.get(f"/v1/secrets/{told['id']}").json == told
    assert owner.get("/v1/secrets").json == [told]
    types = owner.get("/v1/secrets/types").json["types"]
    assert {"value": "ssh_key", "label": "SSH Private Key"} in types
    assert len(types) == 7


def test_an_admins_secret_is_the_instances(admin: FlaskClient, engine: FlaskClient):
    for client, name in ((admin, "A"), (engine, "B")):
        made = client.post("/v1/secrets", json={"name": name, "value": "x"}).json
        assert (made["scope"], made["owner_user_id"], made["env_key"]) == ("instance", None, name)
        assert made["masked_preview"] == "***"


def test_without_accounts_secrets_are_kept_as_well(local: Any, database: str, stream: str):
    client = create_app(local).test_client()
    secret = kept(client)
    assert granted(client, secret).json["granted_by"] == "anonymous"
    assert client.get(ENV).status_code == 403
    header = {"Authorization": f"Bearer {TOKEN}"}
    assert client.get(ENV, headers=header).json["env"] == {"GITHUB": VALUE}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 257}, "name"),
        ({"name": "a\x07b"}, "name"),
        ({"value": ""}, "value"),
        ({"value": "x" * 65_537}, "value"),
        ({"value": "nul\x00"}, "value"),
        ({"value": 7}, "value"),
        ({"secret_type": "magic"}, "secret_type"),
        ({"env_key": "1ST"}, "env_key"),
        ({"env_key": "   "}, "env_key"),
        ({"env_key": "\u00c4RGER"}, "env_key"),
        ({"env_key": "A" * 257}, "env_key"),
        ({"name": "\u96e8"}, "env_key"),
        ({"name": "path"}, "env_key"),
        *(
            ({"env_key": key}, "env_key")
            for key in ("path", "LD_PRELOAD", "PYTHONPATH", "AGENT_API_KEY", "DJINNBOT_API_URL")
        ),
    ],
)
def test_what_cannot_be_kept_names_its_field_and_says_nothing_of_the_value(
    owner: FlaskClient, wrong: dict[str, Any], field: str
):
    secret = kept(owner)
    made = owner.post("/v1/secrets", json={"name": "Good", "value": VALUE, **wrong})
    changed = owner.put(f"/v1/secrets/{secret}", json={"value": VALUE, **wrong})
    for answer in (made, changed):
        if answer is changed and "env_key" not in wrong and field == "env_key":
            assert answer.status_code == 200  # a name alone makes no key when it is changed
            continue
        assert answer.status_code == 422, answer.json
        assert answer.json["errors"][0]["loc"][-1] == field
        assert VALUE not in answer.text
    assert len(names(owner)) == 1


def test_one_field_is_changed_and_the_mask_sent_back_keeps_the_value(
    owner: FlaskClient, engine: FlaskClient
):
    secret = kept(owner, description="old")
    granted(owner, secret)
    whole = owner.get(f"/v1/secrets/{secret}").json
    echoed = {**whole, "description": None, "value": whole["masked_preview"]}
    changed = owner.put(f"/v1/secrets/{secret}", json=echoed).json
    assert changed == {**whole, "description": None, "updated_at": changed["updated_at"]}
    assert engine.get(ENV).json["env"] == {"GITHUB": VALUE}
    changed = owner.put(f"/v1/secrets/{secret}", json={"value": "another value"}).json
    assert changed["masked_preview"] == "anot...lue"
    assert engine.get(ENV).json["env"] == {"GITHUB": "another value"}


def test_who_sees_what(
    owner: FlaskClient,
    teammate: FlaskClient,
    stranger: FlaskClient,
    admin: FlaskClient,
    engine: FlaskClient,
):
    own, shared = kept(owner, "Own"), kept(admin, "Instance")
    assert names(owner) == ["Own"]
    assert names(teammate) == names(stranger) == []
    assert names(admin) == names(engine) == ["Instance", "Own"]
    lent = admin.post(f"/v1/admin/secrets/{shared}/grant-user/usr_teammate")
    told = {"status": "granted", "secretId": shared, "userId": "usr_teammate"}
    assert (lent.status_code, lent.json) == (201, told)
    again = admin.post(f"/v1/admin/secrets/{shared}/grant-user/usr_teammate")
    assert (again.status_code, again.json["status"]) == (201, "already_granted")
    assert names(teammate) == ["Instance"]
    assert teammate.put(f"/v1/secrets/{shared}", json={"name": "Mine"}).status_code == 403
    assert teammate.delete(f"/v1/secrets/{shared}").status_code == 403
    assert granted(teammate, shared).json["granted_by"] == "usr_teammate"
    assert admin.post(f"/v1/admin/secrets/{own}/grant-user/usr_teammate").status_code == 400
    assert admin.post(f"/v1/admin/secrets/{shared}/grant-user/usr_none").status_code == 404
    assert owner.post(f"/v1/admin/secrets/{shared}/grant-user/usr_owner").status_code == 403
    mine = teammate.get("/v1/users/me/secrets").json
    assert [(row["envKey"], row["isOwned"], row["scope"]) for row in mine] == [
        ("INSTANCE", False, "instance")
    ]
    kept(teammate, "Later")
    assert names(teammate, "/v1/users/me/secrets") == ["Later", "Instance"]


def test_taking_a_secret_back_takes_it_from_the_agents_it_was_passed_on_to(
    admin: FlaskClient, teammate: FlaskClient
):
    secret = kept(admin)
    loan = f"/v1/admin/secrets/{secret}/grant-user/usr_teammate"
    admin.post(loan)
    granted(teammate, secret, "eric")
    granted(admin, secret, "finn")
    assert admin.delete(loan).status_code == 204
    assert admin.delete(loan).status_code == 404
    assert admin.get(f"/v1/secrets/{secret}").json["granted_agents"] == ["finn"]
    assert granted(teammate, secret).status_code == 404


def test_an_agent_is_granted_once_and_only_if_there_is_one(
    owner: FlaskClient, stranger: FlaskClient
):
    secret = kept(owner)
    first = granted(owner, secret)
    assert first.status_code == 200
    assert first.json["agent_id"] == "eric"
    assert granted(owner, secret).json == first.json
    assert granted(owner, secret, "nobody").status_code == 404
    assert granted(stranger, secret).status_code == 404
    assert owner.get("/v1/secrets").json[0]["granted_agents"] == ["eric"]
    assert names(owner, "/v1/secrets/agents/eric") == ["GitHub"]
    assert names(stranger, "/v1/secrets/agents/eric") == []
    path = f"/v1/secrets/{secret}/grant/eric"
    assert (owner.delete(path).status_code, owner.delete(path).status_code) == (204, 404)


def test_a_secret_is_deleted_by_its_id_or_by_a_name_that_only_one_has(owner: FlaskClient):
    first, second = kept(owner, "Twice"), kept(owner, "Twice")
    granted(owner, first)
    assert owner.delete("/v1/secrets/Twice").status_code == 409
    assert owner.delete(f"/v1/secrets/{second}").status_code == 204
    answer = owner.delete("/v1/secrets/Twice")
    assert (answer.status_code, answer.data) == (204, b"")
    assert owner.delete("/v1/secrets/Twice").status_code == 404
    assert AgentGrant.select().count() == 0


def test_only_the_engine_and_the_agent_itself_read_values(
    as_caller: Caller,
    eric: FlaskClient,
    owner: FlaskClient,
    admin: FlaskClient,
    engine: FlaskClient,
):
    granted(owner, kept(owner))
    for client in (owner, admin, as_caller("djb_stranger"), agent(as_caller, "finn")):
        assert client.get(ENV).status_code == 403
    for client in (engine, eric):
        answer = client.get(ENV)
        told = {"agent_id": "eric", "env": {"GITHUB": VALUE}, "conflicts": []}
        assert answer.json == told
        assert answer.headers["Cache-Control"] == "no-store"
    assert engine.get("/v1/secrets/agents/nobody/env").json["env"] == {}
    assert eric.get("/v1/secrets").status_code == 403
    reads = Entry.select().where(Entry.action == "secret.read", Entry.subject == "eric")
    assert [entry.actor for entry in reads.order_by(Entry.seq)] == ["service:engine", "agent:eric"]


def test_of_two_secrets_with_one_key_the_one_granted_last_is_read(
    owner: FlaskClient, admin: FlaskClient, engine: FlaskClient
):
    older = kept(owner, "One", env_key="TOKEN", value="older value")
    newer = kept(admin, "Two", env_key="TOKEN", value="newer value")
    granted(owner, older)
    granted(admin, newer)
    with db.connection_context():
        AgentGrant.update(granted_at=1).where(AgentGrant.secret == older).execute()
    told = engine.get(ENV).json
    assert (told["env"], told["conflicts"]) == ({"TOKEN": "newer value"}, ["TOKEN"])


def test_a_secret_that_does_not_open_is_left_out(owner: FlaskClient, engine: FlaskClient):
    granted(owner, kept(owner, "Good"))
    bad = kept(owner, "Bad")
    granted(owner, bad)
    with db.connection_context():
        Secret.update(value="v1:lost:AAAA").where(Secret.id == bad).execute()
    assert engine.get(ENV).json["env"] == {"GOOD": VALUE}


def test_a_secret_goes_with_its_owner(owner: FlaskClient, engine: FlaskClient):
    granted(owner, kept(owner))
    with db.connection_context():
        User.delete().where(User.id == "usr_owner").execute()
    assert engine.get(ENV).json["env"] == {}
    assert engine.get("/v1/secrets").json == []


def test_every_change_is_in_the_audit_log_and_no_value_is(owner: FlaskClient, admin: FlaskClient):
    secret = kept(owner)
    granted(owner, secret)
    granted(owner, secret)
    owner.put(f"/v1/secrets/{secret}", json={"value": VALUE + "2"})
    owner.delete(f"/v1/secrets/{secret}/grant/eric")
    owner.delete(f"/v1/secrets/{secret}")
    entries = list(Entry.select().where(Entry.subject == secret).order_by(Entry.seq))
    did = ["created", "granted", "changed", "revoked", "deleted"]
    assert [entry.action for entry in entries] == [f"secret.{verb}" for verb in did]
    assert not any(VALUE in str(entry.details) for entry in entries)


def test_an_owner_keeps_so_many_and_no_more(
    owner: FlaskClient, teammate: FlaskClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tasks.secrets.MOST", 2)
    for name in ("A", "B"):
        kept(owner, name)
    answer = owner.post("/v1/secrets", json={"name": "C", "value": "x"})
    assert answer.status_code == 409
    kept(teammate, "A")


def at_once(*calls: Callable[[], int]) -> list[int]:
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda c=call: statuses.append(c())) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(statuses)


def test_twenty_grants_at_once_are_one(owner: FlaskClient, as_caller: Caller):
    secret = kept(owner)
    grants = [lambda: granted(as_caller("djb_owner"), secret).status_code] * 20
    assert at_once(*grants) == [200] * 20
    assert AgentGrant.select().count() == 1
    assert Entry.select().where(Entry.action == "secret.granted").count() == 1


def test_a_grant_and_the_end_of_its_secret_come_one_after_the_other(
    owner: FlaskClient, as_caller: Caller
):
    for _ in range(5):
        secret = kept(owner)
        grants = [lambda s=secret: granted(as_caller("djb_owner"), s).status_code] * 4
        end = lambda s=secret: as_caller("djb_owner").delete(f"/v1/secrets/{s}").status_code  # noqa: E731
        assert set(at_once(*grants, end)) <= {200, 204, 404}
        assert AgentGrant.select().count() == 0


def test_a_grant_made_while_the_loan_is_taken_back_does_not_stay(
    admin: FlaskClient, as_caller: Caller
):
    secret = kept(admin)
    loan = f"/v1/admin/secrets/{secret}/grant-user/usr_teammate"
    for _ in range(5):
        admin.post(loan)
        passes_on = lambda: granted(as_caller("djb_teammate"), secret).status_code  # noqa: E731
        takes_back = lambda: as_caller("djb_admin").delete(loan).status_code  # noqa: E731
        assert set(at_once(passes_on, takes_back)) <= {200, 204, 404}
        assert AgentGrant.select().count() == 0


def test_lists_read_no_values(owner: FlaskClient):
    kept(owner)
    assert "value" not in known.shown(Secret.select()).get()
