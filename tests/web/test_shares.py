"""Sharing the server's keys, as admins and those they share with see it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from flask.testing import FlaskClient

import tasks.shares
from models import base, shares, spending
from models.base import now_ms
from models.shares import Share
from models.spending import Amount, Shared
from tests.models.spenders import held, new_run

SHARES = "/v1/admin/shared-providers"
OWN = "/v1/settings/user-providers"


@pytest.fixture(autouse=True)
def openai(admin: FlaskClient) -> None:
    """The server has a key to share."""
    admin.put("/v1/settings/providers/openai", json={"apiKey": "sk-server-0123456789abcdef"})


def spend(user_id: str, usd: str) -> None:
    """A call of somebody with the shared key."""
    run, who = new_run(), Shared(user_id, "openai")
    with held(run) as locked:
        spending.reserve(locked, f"exec_{run.id}", Amount(Decimal(usd), 10), who)
        spending.settle(locked, f"exec_{run.id}", Amount(Decimal(usd), 10), who)


def test_a_share_is_made_changed_and_revoked(admin: FlaskClient, owner: FlaskClient) -> None:
    later = now_ms() + 60_000
    form = {
        "providerId": "openai",
        "targetUserId": "usr_owner",
        "expiresAt": later,
        "allowedModels": ["gpt-5.2"],
        "dailyLimit": 10,
        "dailyCostLimitUsd": 2.5,
    }
    made = admin.post(SHARES, json=form)

    assert made.status_code == 201
    share = made.json
    assert share == {
        **form,
        "id": share["id"],
        "adminUserId": "usr_admin",
        "createdAt": share["createdAt"],
    }
    assert share["id"].startswith("asp_")
    assert admin.get(SHARES).json == [share]

    path = f"{SHARES}/{share['id']}"
    kept = admin.patch(path, json={"dailyLimit": 20, "allowedModels": None}).json
    cleared = admin.patch(path, json={"clearExpiresAt": True, "clearAllowedModels": True}).json
    assert kept == share | {"dailyLimit": 20}
    assert cleared == kept | {"expiresAt": None, "allowedModels": None}

    assert admin.delete(path).json == {"status": "revoked", "id": share["id"]}
    assert admin.delete(path).status_code == admin.patch(path, json={}).status_code == 404
    assert owner.get(OWN).json == []


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"providerId": "nonsense"}, 404),
        ({"providerId": "openai", "targetUserId": "usr_nobody"}, 404),
        ({}, 422),
        ({"providerId": "openai", "dailyLimit": -5}, 422),
        ({"providerId": "openai", "dailyLimit": 1.5}, 422),
        ({"providerId": "openai", "dailyCostLimitUsd": -0.1}, 422),
        ({"providerId": "openai", "dailyCostLimitUsd": "5"}, 422),
        ({"providerId": "openai", "allowedModels": []}, 422),
        ({"providerId": "openai", "allowedModels": [""]}, 422),
        ({"providerId": "openai", "expiresAt": 1_000}, 422),
    ],
)
def test_a_share_of_nothing_is_refused(
    admin: FlaskClient, form: dict[str, Any], status: int
) -> None:
    assert admin.post(SHARES, json=form).status_code == status
    assert Share.select().count() == 0


def test_a_share_without_an_end_may_be_made_at_any_tick_of_the_clock(
    admin: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = count(now_ms(), 1_000)  # each look at the clock is a second later
    monkeypatch.setattr(tasks.shares, "now_ms", lambda: next(ticks))
    assert admin.post(SHARES, json={"providerId": "openai"}).status_code == 201


def test_a_service_may_share_too(engine: FlaskClient) -> None:
    made = engine.post(SHARES, json={"providerId": "openai"})
    assert (made.status_code, made.json["adminUserId"]) == (201, None)


@pytest.mark.parametrize("target", [None, "usr_owner"])
def test_twenty_who_share_the_same_make_one_share(
    as_caller: Callable[[str], FlaskClient], target: str | None
) -> None:
    form = {"providerId": "openai", "targetUserId": target}
    answers: list[int] = []

    def share() -> None:
        answers.append(as_caller("djb_admin").post(SHARES, json=form).status_code)

    threads = [threading.Thread(target=share) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201, *[409] * 19]


def test_who_is_shared_with_sees_what_is_left_and_no_key(
    admin: FlaskClient, owner: FlaskClient, teammate: FlaskClient
) -> None:
    form = {"providerId": "openai", "dailyLimit": 2, "dailyCostLimitUsd": 1}
    admin.post(SHARES, json={**form, "allowedModels": ["gpt-5.2"]})
    admin.post(SHARES, json={"providerId": "groq"})  # for which the server has no key
    spend("usr_owner", "0.25")

    assert owner.get(OWN).json == [
        {
            "providerId": "openai",
            "enabled": True,
            "configured": True,
            "maskedApiKey": None,
            "maskedExtraConfig": None,
            "sharedByAdmin": True,
            "blocked": False,
            "blockedReason": None,
            "allowedModels": ["gpt-5.2"],
            "callsLeft": 1,
            "costLeftUsd": 0.75,
        }
    ]
    spend("usr_owner", "0.1")
    (used_up,) = owner.get(OWN).json
    assert (used_up["blocked"], used_up["callsLeft"]) == (True, 0)
    assert "2 requests" in used_up["blockedReason"]
    assert teammate.get(OWN).json[0]["callsLeft"] == 2


def test_a_share_that_has_expired_is_none(admin: FlaskClient, owner: FlaskClient) -> None:
    admin.post(SHARES, json={"providerId": "openai", "expiresAt": now_ms() + 600_000})
    assert len(owner.get(OWN).json) == 1
    Share.update(expires_at=now_ms()).execute()
    assert owner.get(OWN).json == []


def test_admins_see_who_uses_how_much(admin: FlaskClient) -> None:
    admin.post(SHARES, json={"providerId": "openai", "targetUserId": "usr_owner", "dailyLimit": 1})
    admin.post(SHARES, json={"providerId": "openai", "dailyLimit": 5})
    spend("usr_owner", "0.5")
    spend("usr_teammate", "0.2")
    spend("usr_stranger", "0.3")
    spend("usr_stranger", "0.3")

    everybodys, owners = admin.get(f"{SHARES}/usage").json["shares"]

    assert (owners["callsToday"], owners["costTodayUsd"]) == (1, 0.5)
    assert (owners["limitExceeded"], owners["topUsers"]) == (True, [])
    assert (everybodys["callsToday"], everybodys["costTodayUsd"]) == (3, 0.8)
    assert not everybodys["limitExceeded"]
    assert everybodys["topUsers"] == [
        {"userId": "usr_stranger", "callsToday": 2, "costTodayUsd": 0.6},
        {"userId": "usr_teammate", "callsToday": 1, "costTodayUsd": 0.2},
    ]


def test_who_has_used_how_much_is_found_by_an_index(database: str) -> None:
    with base.db.atomic():
        base.db.execute_sql("SET LOCAL enable_seqscan TO off")
        plan = base.db.cursor()
        plan.execute("EXPLAIN " + shares._EVERYBODY % ())
        told = str(plan.fetchall())
    assert re.search(r"Index Cond: .*~>=~", told)
