"""Settings of the running server, and what they are good for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import audit, outbox
from models.outbox import Outbox
from models.pipelines import Pipeline
from models.principals import Principal
from models.runs import Run
from models.settings import SETTINGS
from models.steps import Step
from tasks import executors
from tasks import runs as commands
from workers.jobs import runs as run_jobs
from workers.jobs import steps as step_jobs

SETTING = "/v1/settings"


def test_all_settings_are_always_there(owner: FlaskClient, engine: FlaskClient) -> None:
    shown = owner.get(SETTING).json

    assert list(shown) == list(SETTINGS)
    assert (shown["pulseIntervalMinutes"], shown["pulseEnabled"]) == (30, True)
    assert (shown["containerCpuLimit"], shown["defaultThinkingModelThinkingLevel"]) == (
        2.0,
        "medium",
    )
    assert shown["defaultWorkingModel"] == "scripted/demo"  # what really works here
    assert shown["defaultStepTimeoutSec"] == 300
    assert engine.get(f"{SETTING}/").json == shown


def test_one_field_changes_one_field(admin: FlaskClient, owner: FlaskClient) -> None:
    before = owner.get(SETTING).json
    levels = {"defaultWorkingModelThinkingLevel": "high"}

    admin.put(SETTING, json={"agentRuntimeImage": "ghcr.io/acme/runtime:1.2"})
    answer = admin.put(SETTING, json={**levels, "somethingElse": 1})

    expected = before | {"agentRuntimeImage": "ghcr.io/acme/runtime:1.2"} | levels
    assert answer.json == owner.get(SETTING).json == expected
    assert admin.put(SETTING, json=expected).json == expected
    assert admin.put(SETTING, json={"agentRuntimeImage": ""}).json["agentRuntimeImage"] == ""
    assert owner.put(SETTING, json=levels).status_code == 403


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pulseIntervalMinutes", 0),
        ("pulseIntervalMinutes", 10_081),
        ("pulseIntervalMinutes", "30"),
        ("pulseIntervalMinutes", None),
        ("pulseEnabled", "true"),
        ("pulseEnabled", 1),
        ("containerCpuLimit", 0),
        ("containerCpuLimit", True),
        ("containerMemoryLimitMb", 127),
        ("wakeCooldownSec", -1),
        ("defaultWorkingModel", "x" * 257),
        ("defaultWorkingModel", 5),
        ("defaultWorkingModelThinkingLevel", "enormous"),
        ("agentRuntimeImage", "not an image"),
        ("agentRuntimeImage", "image:tag\n"),
    ],
)
def test_what_a_setting_cannot_be_is_refused(admin: FlaskClient, name: str, value: Any) -> None:
    answer = admin.put(SETTING, json={name: value, "ptcEnabled": False})

    assert answer.status_code == 422
    assert answer.json["errors"][0]["loc"] == ["body", name]
    assert admin.get(SETTING).json["ptcEnabled"]


def test_those_who_pulse_hear_of_their_switch_and_of_nothing_else(admin: FlaskClient) -> None:
    admin.put(SETTING, json={"pulseEnabled": True, "wakeEnabled": False})
    admin.put(SETTING, json={"pulseEnabled": False})
    admin.put(SETTING, json={"pulseEnabled": False})

    told = [row.body for row in Outbox.select().where(Outbox.queue == outbox.EVENTS)]
    assert [(body["type"], body["data"]) for body in told] == [
        ("settings_changed", {"pulseEnabled": False})
    ]
    entries = audit.Entry.select().where(audit.Entry.action == "settings.change")
    assert [entry.details for entry in entries.order_by(audit.Entry.seq)] == [
        {"wakeEnabled": False},
        {"pulseEnabled": False},
    ]


def test_changes_at_the_same_time_are_all_kept(
    as_caller: Callable[[str], FlaskClient], admin: FlaskClient
) -> None:
    names = [name for name, setting in SETTINGS.items() if type(setting.default) is int]

    def change(name: str) -> None:
        assert as_caller("djb_admin").put(SETTING, json={name: 200}).status_code == 200

    threads = [threading.Thread(target=change, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shown = admin.get(SETTING).json
    assert {name: shown[name] for name in names} == dict.fromkeys(names, 200)


def claimed(run: Run) -> Step:
    run_jobs.advance(run.id, 1)
    (step,) = Step.of(Run.get_by_id(run.id))
    taken = step_jobs.claim(step.id)
    assert taken is not None
    return taken[1]


def test_workers_begin_steps_under_the_settings_of_the_moment(
    admin: FlaskClient, owner: FlaskClient
) -> None:
    told = {"defaultWorkingModel": "scripted/demo2", "defaultStepTimeoutSec": 7}
    admin.put(SETTING, json={**told, "defaultWorkingModelThinkingLevel": "low"})
    anna = Principal("usr_owner", "user")
    step = claimed(commands.start(anna, Pipeline.get_by_id("bugfix"), {"task": "x"}))

    assert step.model_used == "scripted/demo2"
    assert (step.under.step_timeout, step.under.thinking_level) == (7, "low")
    assert owner.get(f"/v1/runs/{step.run_id}").json["scripted"]


def test_executors_have_a_default_model_of_their_own(admin: FlaskClient) -> None:
    admin.put(SETTING, json={"defaultExecutorModel": "scripted/demo3"})
    order = {"agent_id": "yukihiro", "execution_prompt": "x", "project_id": "p", "task_id": "T"}
    step = claimed(executors.spawn("usr_owner", order))

    assert step.model_used == "scripted/demo3"


def test_favorites_are_ones_own_and_the_servers_to_begin_with(
    owner: FlaskClient, teammate: FlaskClient, engine: FlaskClient
) -> None:
    path = f"{SETTING}/favorites"
    sonnet = {"modelId": "anthropic/claude-sonnet-4-6", "modelName": "Sonnet", "providerName": "A"}
    glm = {"modelId": "zai/glm-5", "modelName": "GLM", "providerName": "Z"}

    assert owner.get(path).json == {"favorites": []}
    assert engine.put(path, json={"favorites": [sonnet]}).json == {"favorites": [sonnet]}
    assert owner.get(path).json == {"favorites": [sonnet]}
    assert owner.put(path, json={"favorites": [glm]}).json == {"favorites": [glm]}
    assert teammate.get(path).json == engine.get(path).json == {"favorites": [sonnet]}
    assert owner.put(path, json={"favorites": []}).json == owner.get(path).json
    assert owner.put(path, json={"favorites": [{}]}).status_code == 422
    assert owner.put(path, json={"favorites": [glm] * 201}).status_code == 422


def test_some_models_are_suggested(owner: FlaskClient) -> None:
    told = owner.get(f"{SETTING}/models/suggestions").json
    assert "openrouter/moonshotai/kimi-k2.5" in told["working"]
    assert "zai/glm-5" in told["thinking"]
