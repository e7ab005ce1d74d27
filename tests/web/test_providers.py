"""Keys of providers: set, masked, kept, never shown."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import audit, base, config, providers
from models.accounts import ApiKey, digest
from models.providers import ModelProvider, UserProvider

KEY = "sk-proj-0123456789abcdefghij"
OTHER = "sk-proj-zyxwvutsrqponmlkjihg"
PROVIDERS = "/v1/settings/providers"
OWN = "/v1/settings/user-providers"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Callable[..., None]]:
    """Says what operators have set."""

    def told(**names: str) -> None:
        for name, value in names.items():
            monkeypatch.setenv(name, value)
        config.settings.cache_clear()

    yield told
    monkeypatch.undo()
    config.settings.cache_clear()


def listed(client: FlaskClient, path: str = PROVIDERS) -> dict[str, dict[str, Any]]:
    return {row["providerId"]: row for row in client.get(path).json}


def put(client: FlaskClient, name: str, path: str = PROVIDERS, **form: Any) -> Any:
    return client.put(f"{path}/{name}", json={"providerId": "something else", **form})


def test_every_provider_is_listed_in_the_order_of_the_catalogue(owner: FlaskClient) -> None:
    rows = owner.get(PROVIDERS).json

    names = [row["providerId"] for row in rows]
    assert names[:4] == ["opencode", "xai", "openrouter", "anthropic"]
    assert rows[3] == {
        "providerId": "anthropic",
        "enabled": False,
        "configured": False,
        "source": None,
        "maskedApiKey": None,
        "maskedExtraConfig": None,
        "plainExtraConfig": None,
        "name": "Anthropic",
        "description": "Claude models.",
        "apiKeyEnvVar": "ANTHROPIC_API_KEY",
        "docsUrl": "https://console.anthropic.com/keys",
        "models": rows[3]["models"],
        "extraFields": [],
        "isCustom": False,
    }
    assert rows[3]["models"][0] == {
        "id": "anthropic/claude-sonnet-4-6",
        "name": "claude-sonnet-4-6",
        "reasoning": True,
    }


def test_what_a_worker_gets_ready_for(
    admin: FlaskClient, owner: FlaskClient, environment: Callable[..., None]
) -> None:
    environment(MISTRAL_API_KEY=KEY, CUSTOM_OURS_BASE_URL="http://127.0.0.1:9/v1")
    before = providers.known()
    assert {"mistral", "custom-ours"} <= before
    assert not before & {"openai", "anthropic"}
    put(admin, "openai", apiKey=KEY)
    put(owner, "anthropic", OWN, apiKey=OTHER)
    assert providers.known() == {*before, "openai", "anthropic"}


def test_a_key_is_set_and_shown_as_a_mask(admin: FlaskClient, owner: FlaskClient) -> None:
    answer = put(admin, "openai", apiKey=KEY)

    assert answer.status_code == 200
    shown = listed(owner)["openai"]
    assert (shown["enabled"], shown["configured"], shown["source"]) == (True, True, "ui")
    assert shown["maskedApiKey"] == "sk-...ghij"
    row = ModelProvider.get_by_id("openai")
    assert KEY not in row.api_key
    assert row.reveal("api_key") == KEY


@pytest.mark.parametrize("sent", ["", None, "sk-...ghij", "absent"])
def test_an_empty_key_or_its_mask_keeps_what_is_stored(admin: FlaskClient, sent: Any) -> None:
    put(admin, "openai", apiKey=KEY)

    put(admin, "openai", enabled=False, **({} if sent == "absent" else {"apiKey": sent}))
    put(admin, "openai", extraConfig=None)

    row = ModelProvider.get_by_id("openai")
    assert (row.reveal("api_key"), row.enabled) == (KEY, False)


def test_further_values_merge_and_empty_ones_go(admin: FlaskClient, owner: FlaskClient) -> None:
    azure = "azure-openai-responses"
    put(admin, azure, apiKey=KEY)
    assert not listed(owner)[azure]["configured"]

    first = put(admin, azure, extraConfig={"AZURE_OPENAI_RESOURCE_NAME": "acme-models"}).json
    mask = first["maskedExtraConfig"]["AZURE_OPENAI_RESOURCE_NAME"]
    second = put(
        admin,
        azure,
        extraConfig={"AZURE_OPENAI_RESOURCE_NAME": mask, "AZURE_OPENAI_API_VERSION": "v1"},
    ).json
    third = put(admin, azure, extraConfig={"AZURE_OPENAI_API_VERSION": ""}).json

    assert first["configured"]
    assert mask != "acme-models"
    plain = {"AZURE_OPENAI_RESOURCE_NAME": "acme-models"}
    assert second["plainExtraConfig"] == plain | {"AZURE_OPENAI_API_VERSION": "v1"}
    assert third["plainExtraConfig"] == plain
    assert listed(owner)[azure]["plainExtraConfig"] is None


@pytest.mark.parametrize(
    ("name", "form", "field"),
    [
        (
            "openai",
            {"extraConfig": {"LD_PRELOAD": "/tmp/x.so"}},
            ["body", "extraConfig", "LD_PRELOAD"],
        ),
        ("openai", {"apiKey": 5}, ["body", "apiKey"]),
        ("openai", {"apiKey": "sk with blanks"}, ["body", "apiKey"]),
        ("openai", {"apiKey": "sk-é" * 9}, ["body", "apiKey"]),
        ("openai", {"apiKey": "k" * 5000}, ["body", "apiKey"]),
        ("openai", {"enabled": "yes"}, ["body", "enabled"]),
        (
            "azure-openai-responses",
            {"extraConfig": {"AZURE_OPENAI_RESOURCE_NAME": "evil.example/"}},
            ["body", "extraConfig", "AZURE_OPENAI_RESOURCE_NAME"],
        ),
        (
            "ollama",
            {"extraConfig": {"OLLAMA_BASE_URL": "http://169.254.169.254/v1"}},
            ["body", "extraConfig", "OLLAMA_BASE_URL"],
        ),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    admin: FlaskClient, name: str, form: dict[str, Any], field: list[str]
) -> None:
    answer = put(admin, name, **form)

    assert answer.status_code == 422
    assert answer.json["errors"][0]["loc"] == field
    assert "sk " not in answer.text
    assert ModelProvider.select().count() == 0


@pytest.mark.parametrize("name", ["nonsense", "custom-x9", "custom-none-such"])
def test_there_is_no_other_provider(admin: FlaskClient, owner: FlaskClient, name: str) -> None:
    assert put(admin, name, apiKey=KEY).status_code == 404
    assert put(owner, name, OWN, apiKey=KEY).status_code == 404
    assert owner.get(f"{PROVIDERS}/{name}/models").status_code == 404


def test_the_environment_fills_what_nobody_has_set_and_never_more(
    admin: FlaskClient, engine: FlaskClient, environment: Callable[..., None]
) -> None:
    environment(OPENAI_API_KEY=KEY)
    before = listed(admin)["openai"]
    put(admin, "openai", apiKey=OTHER)
    reported = put(engine, "openai", apiKey=KEY, enabled=True)
    after = listed(admin)["openai"]
    admin.delete(f"{PROVIDERS}/openai")

    assert (before["enabled"], before["source"], before["maskedApiKey"]) == (
        True,
        "env",
        "sk-...ghij",
    )
    assert reported.status_code == 200
    assert (after["source"], after["maskedApiKey"]) == ("ui", "sk-...jihg")
    assert listed(admin)["openai"] == before


def test_what_the_engine_reports_gives_way_to_an_admin(
    admin: FlaskClient, engine: FlaskClient
) -> None:
    first = put(engine, "openai", apiKey=KEY).json
    put(admin, "openai", enabled=False)
    put(engine, "openai", apiKey=OTHER, enabled=True)
    last = listed(admin)["openai"]

    assert first["source"] == "env"
    assert not last["enabled"]  # an admin has switched it off


def test_a_key_with_the_engines_scope_reports_as_the_engine_does(
    as_caller: Callable[[str], FlaskClient],
) -> None:
    told = {"name": "sync", "key_prefix": "djb_svc_", "is_service_key": True}
    with base.db.connection_context():
        ApiKey(key_hash=digest("djb_svc_sync"), scopes=["engine"], **told).add()

    assert put(as_caller("djb_svc_sync"), "openai", apiKey=KEY).json["source"] == "env"


def test_a_custom_provider_comes_and_goes(admin: FlaskClient, owner: FlaskClient) -> None:
    form = {"name": "Den", "slug": " My-Den ", "baseUrl": "http://10.0.0.7:8000/v1"}
    made = admin.post(PROVIDERS, json=form)
    again = admin.post(PROVIDERS, json=form)
    share = admin.post("/v1/admin/shared-providers", json={"providerId": "custom-my-den"})

    assert made.status_code == 200
    shown = made.json
    assert (shown["providerId"], shown["name"], shown["isCustom"]) == ("custom-my-den", "Den", True)
    assert (shown["configured"], shown["apiKeyEnvVar"]) == (True, "CUSTOM_MY_DEN_API_KEY")
    assert shown["plainExtraConfig"] == {"CUSTOM_MY_DEN_BASE_URL": "http://10.0.0.7:8000/v1"}
    assert again.status_code == 409
    assert share.status_code == 201
    assert owner.get(PROVIDERS).json[-1]["providerId"] == "custom-my-den"

    for _ in range(2):
        gone = admin.delete(f"{PROVIDERS}/custom-my-den")
        assert gone.json == {"status": "ok", "providerId": "custom-my-den"}
    assert "custom-my-den" not in listed(owner)
    assert admin.get("/v1/admin/shared-providers").json == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("slug", "a"),
        ("slug", "-den"),
        ("slug", "Ünder"),
        ("slug", "x" * 33),
        ("baseUrl", "ftp://models.example"),
        ("baseUrl", "https://user:secret@models.example/v1"),
        ("baseUrl", "https://models.example/v1?key=1"),
        ("baseUrl", "http://169.254.169.254/latest"),
        ("baseUrl", "http://[fd00:ec2::254]/latest"),
        ("baseUrl", "http://[::ffff:169.254.169.254]/"),
        ("baseUrl", "http://[broken"),
        ("baseUrl", "models.example"),
        ("name", " "),
    ],
)
def test_a_custom_provider_that_cannot_be_is_refused(
    admin: FlaskClient, field: str, value: str
) -> None:
    form = {"name": "Den", "slug": "den", "baseUrl": "https://models.example/v1", field: value}
    answer = admin.post(PROVIDERS, json=form)

    assert answer.status_code == 422
    assert answer.json["errors"][0]["loc"] == ["body", field]
    assert "secret" not in answer.text
    assert ModelProvider.select().count() == 0


def test_twenty_who_make_the_same_provider_make_one(
    app: Flask, as_caller: Callable[[str], FlaskClient]
) -> None:
    form = {"name": "Den", "slug": "den", "baseUrl": "https://models.example/v1"}
    answers: list[int] = []

    def make() -> None:
        answers.append(as_caller("djb_admin").post(PROVIDERS, json=form).status_code)

    threads = [threading.Thread(target=make) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, *[409] * 19]


def test_people_bring_keys_of_their_own_that_nobody_else_sees(
    owner: FlaskClient, teammate: FlaskClient, admin: FlaskClient
) -> None:
    brought = put(owner, "openai", OWN, apiKey=KEY)

    assert brought.status_code == 200
    assert brought.json == {
        "providerId": "openai",
        "enabled": True,
        "configured": True,
        "maskedApiKey": "sk-...ghij",
        "maskedExtraConfig": None,
        "sharedByAdmin": False,
        "blocked": False,
        "blockedReason": None,
        "allowedModels": None,
        "callsLeft": None,
        "costLeftUsd": None,
    }
    assert owner.get(OWN).json == owner.get("/v1/users/me/providers").json == [brought.json]
    assert teammate.get(OWN).json == admin.get(OWN).json == []
    assert not listed(admin)["openai"]["configured"]

    put(owner, "openai", "/v1/users/me/providers", enabled=False, apiKey="")
    row = UserProvider.get()
    assert (row.enabled, row.reveal("api_key")) == (False, KEY)
    for _ in range(2):
        gone = owner.delete(f"{OWN}/openai")
        assert gone.json == {"status": "ok", "providerId": "openai"}
    assert owner.get(OWN).json == []


def test_a_key_that_was_moved_to_another_row_does_not_open(
    owner: FlaskClient, teammate: FlaskClient
) -> None:
    put(owner, "openai", OWN, apiKey=KEY)
    put(teammate, "openai", OWN, apiKey=OTHER)
    stolen = UserProvider.get(UserProvider.user == "usr_owner").api_key
    UserProvider.update(api_key=stolen).where(UserProvider.user == "usr_teammate").execute()

    (shown,) = teammate.get(OWN).json
    assert (shown["configured"], shown["maskedApiKey"]) == (False, None)


def test_only_admins_say_where_the_server_is_to_ask(owner: FlaskClient, admin: FlaskClient) -> None:
    azure = "azure-openai-responses"
    where = {"extraConfig": {"AZURE_OPENAI_BASE_URL": "https://attacker.example/v1"}}
    refused = put(owner, azure, OWN, apiKey=KEY, **where)
    allowed = put(owner, azure, OWN, apiKey=KEY, extraConfig={"AZURE_OPENAI_RESOURCE_NAME": "acme"})
    den = {"CUSTOM_MINE_BASE_URL": "https://mine.example/v1"}
    by_owner = put(owner, "custom-mine", OWN, extraConfig=den)
    by_admin = put(admin, "custom-mine", OWN, extraConfig=den)

    assert refused.status_code == 403
    assert (allowed.status_code, allowed.json["configured"]) == (200, True)
    assert by_owner.status_code == 404
    assert (by_admin.status_code, by_admin.json["configured"]) == (200, True)


def test_programs_have_no_keys_of_their_own(engine: FlaskClient) -> None:
    answers = [engine.get(OWN), put(engine, "openai", OWN, apiKey=KEY)]
    assert [answer.status_code for answer in answers] == [400, 400]


def test_the_engine_reads_the_servers_keys_and_it_is_written_down(
    admin: FlaskClient, engine: FlaskClient, owner: FlaskClient
) -> None:
    put(admin, "openai", apiKey=KEY)
    put(admin, "groq", apiKey=OTHER, enabled=False)
    azure = {"AZURE_OPENAI_RESOURCE_NAME": "acme"}
    put(admin, "azure-openai-responses", apiKey=OTHER, extraConfig=azure)

    answer = engine.get(f"{PROVIDERS}/keys/all")

    assert answer.json == {
        "keys": {"openai": KEY, "azure-openai-responses": OTHER},
        "extra": azure,
        "key_sources": {
            "openai": {"source": "instance", "masked_key": "sk-...ghij"},
            "azure-openai-responses": {"source": "instance", "masked_key": "sk-...jihg"},
        },
    }
    assert answer.headers["Cache-Control"] == "no-store"
    entry = audit.Entry.select().order_by(audit.Entry.seq.desc()).first()
    assert (entry.action, entry.subject) == ("provider_keys.read", "system")
    assert owner.get(f"{PROVIDERS}/keys/all").status_code == 403
    assert admin.get(f"{PROVIDERS}/keys/all?user_id=usr_owner").status_code == 403
    assert engine.get(f"{PROVIDERS}/keys/all?user_id=usr_nobody").status_code == 404


def test_a_persons_keys_are_their_own_and_what_is_shared_with_them(
    admin: FlaskClient, engine: FlaskClient, owner: FlaskClient
) -> None:
    put(admin, "openai", apiKey=OTHER)
    put(admin, "groq", apiKey=OTHER)
    put(admin, "xai", apiKey=OTHER)
    put(owner, "openai", OWN, apiKey=KEY)
    shares = "/v1/admin/shared-providers"
    only = ["groq/openai/gpt-oss-120b"]
    admin.post(shares, json={"providerId": "groq", "allowedModels": only, "dailyLimit": 9})
    admin.post(shares, json={"providerId": "xai", "dailyLimit": 0})
    admin.post(shares, json={"providerId": "mistral"})

    told = engine.get(f"{PROVIDERS}/keys/all?user_id=usr_owner").json
    mine = owner.get(f"{PROVIDERS}/keys/all?user_id=me").json

    assert told["keys"] == {"openai": KEY, "groq": OTHER}
    assert {name: each["source"] for name, each in told["key_sources"].items()} == {
        "openai": "personal",
        "groq": "admin_shared",
    }
    assert told["model_restrictions"] == {"groq": only}
    assert list(told["blocked_providers"]) == ["xai"]
    assert told["share_usage"]["groq"] == {
        "provider_id": "groq",
        "daily_limit": 9,
        "daily_cost_limit_usd": None,
        "allowed_models": only,
        "calls_today": 0,
        "cost_today_usd": 0.0,
        "limit_exceeded": False,
        "exceeded_reason": None,
    }
    assert mine == told | {"keys": {}, "extra": {}}
    admins = engine.get(f"{PROVIDERS}/keys/all?user_id=usr_admin").json
    assert admins["keys"] == {"groq": OTHER}  # by the strict rules, admins too


def test_no_key_in_the_clear_is_anywhere_in_the_database(
    admin: FlaskClient, owner: FlaskClient, engine: FlaskClient
) -> None:
    put(admin, "openai", apiKey=KEY)
    put(owner, "openai", OWN, apiKey=OTHER)
    secret = "https://canary.example/v1"
    admin.post(PROVIDERS, json={"name": "D", "slug": "den", "baseUrl": secret, "apiKey": KEY})
    engine.get(f"{PROVIDERS}/keys/all?user_id=usr_owner")

    names = base.db.get_tables()
    for name in names:
        rows = base.db.execute_sql(f'SELECT t::text FROM "{name}" AS t').fetchall()  # noqa: S608
        dump = "\n".join(row[0] for row in rows)
        assert not any(text in dump for text in (KEY, OTHER, "canary.example")), name


def test_a_key_that_does_not_open_for_now_is_not_lost_by_another_change(
    admin: FlaskClient, owner: FlaskClient, environment: Callable[..., None]
) -> None:
    put(admin, "openai", apiKey=KEY)
    put(owner, "openai", OWN, apiKey=OTHER)
    environment(SECRET_ENCRYPTION_KEYS=f"another:{'11' * 32}")

    assert not listed(admin)["openai"]["configured"]
    put(admin, "openai", enabled=False)
    put(owner, "openai", OWN, enabled=False)

    environment(SECRET_ENCRYPTION_KEYS=f"tests:{'5e' * 32}")
    assert ModelProvider.get().reveal("api_key") == KEY
    assert UserProvider.get().reveal("api_key") == OTHER
