"""What somebody might try at a login by an identity provider, and what comes of it: nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from joserfc import jwk

from models import config
from models.accounts import User, UserSession
from models.base import db
from models.oidc import OidcLogin
from tests.servers.issuer import EC, RSA, STRANGERS, Issuer, confused, signed, spelled, unsigned
from tests.servers.outside import Answer
from tests.web.arriving import BROWSER, authorize, by_browser, come
from web import create_app

CALLBACK = "/v1/auth/oidc/outside/callback"


def refused(answer, status: int = 400) -> None:
    """Nobody has been logged in, and nobody made."""
    assert answer.status_code == status, answer.json
    assert "Token" not in str(answer.json)
    with db.connection_context():
        assert not UserSession.select().exists()
        assert User.select().count() == 4


def test_a_state_works_once(nobody: FlaskClient, outside: Issuer):
    back = outside.visit(authorize(nobody))
    assert nobody.post(CALLBACK, json=back).status_code == 200
    back["code"] = outside.visit(authorize(nobody))["code"]
    assert nobody.post(CALLBACK, json=back).status_code == 400


def test_of_many_who_bring_one_state_one_is_let_in(as_caller: Callable, outside: Issuer):
    back = outside.visit(authorize(as_caller(None)))
    statuses: list[int] = []

    def bring() -> None:
        statuses.append(as_caller(None).post(CALLBACK, json=back).status_code)

    threads = [threading.Thread(target=bring) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [400] * 7
    assert len([one for one in outside.requests if one.path == "/token"]) == 1


@pytest.mark.parametrize("state", ["", "x", "a" * 300, "\x00", None, 5])
def test_a_state_that_nobody_left_with_is_refused(nobody: FlaskClient, outside: Issuer, state):
    answer = nobody.post(CALLBACK, json={"code": "x", "state": state})
    refused(answer, 400 if state in {"x", "\x00"} else 422)
    assert not outside.requests


def test_a_state_that_is_too_old_is_refused(nobody: FlaskClient, outside: Issuer):
    back = outside.visit(authorize(nobody))
    with db.connection_context():
        OidcLogin.update(expires_at=int(time.time() * 1000) - 1).execute()
    refused(nobody.post(CALLBACK, json=back))


@pytest.fixture
def others(admin: FlaskClient, outside: Issuer):
    """A second provider, which the first one's people have no business at."""
    with Issuer() as issuer:
        assert admin.post("/v1/auth/oidc", json=issuer.provider("others")).status_code == 200
        yield issuer


def test_the_state_of_another_provider_is_refused_and_used_up(
    nobody: FlaskClient, outside: Issuer, others: Issuer
):
    back = outside.visit(authorize(nobody))
    refused(nobody.post("/v1/auth/oidc/others/callback", json=back))
    assert "/token" not in {one.path for one in others.requests + outside.requests}
    refused(nobody.post(CALLBACK, json=back))


def test_a_code_that_another_issuer_says_it_gave_is_refused(
    nobody: FlaskClient, outside: Issuer, others: Issuer
):
    """Mix-up: the victim believes to log in at one provider and is led to another (RFC 9207)."""
    back = outside.visit(authorize(nobody)) | {"iss": others.url}
    refused(nobody.post(CALLBACK, json=back))
    assert "/token" not in {one.path for one in outside.requests}
    back = outside.visit(authorize(nobody)) | {"iss": outside.url}
    assert nobody.post(CALLBACK, json=back).status_code == 200


def test_an_issuer_that_names_itself_always_does(nobody: FlaskClient, outside: Issuer):
    outside.metadata = {"authorization_response_iss_parameter_supported": True}
    refused(come(nobody, outside))


def test_a_provider_that_is_disabled_while_it_is_asked_lets_nobody_in(
    admin: FlaskClient, nobody: FlaskClient, outside: Issuer
):
    def disabled(tokens: dict) -> dict:
        assert admin.put("/v1/auth/oidc/outside", json={"enabled": False}).status_code == 200
        return tokens

    outside.tokens = disabled
    refused(come(nobody, outside), 404)


@pytest.mark.parametrize("enabled", [True, False])
def test_a_provider_that_was_disabled_meanwhile_lets_nobody_in(
    admin: FlaskClient, nobody: FlaskClient, outside: Issuer, enabled: bool
):
    back = outside.visit(authorize(nobody))
    admin.put("/v1/auth/oidc/outside", json={"enabled": enabled})
    answer = nobody.post(CALLBACK, json=back)
    if enabled:
        assert answer.status_code == 200
    else:
        refused(answer, 404)
        typo = nobody.get("/v1/auth/oidc/typo/authorize").json["detail"]
        disabled = nobody.get("/v1/auth/oidc/outside/authorize").json["detail"]
        assert disabled.replace("outside", "typo") == typo


ANY = jwk.RSAKey.import_key(RSA.as_pem(private=True), {"kid": "rsa"})
HEADS = tuple(spelled({"typ": "JWT", "alg": alg, "kid": "ec"}) for alg in ("ES256", "RS256"))
SHARED = jwk.OctKey.import_key("a secret of 32 bytes that all share", {"kid": "rsa"})


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"iss": "https://other.example"},
        {"iss": None},
        {"aud": "another"},
        {"aud": ["another", "third"]},
        {"aud": ["djinnbot", "another"]},
        {"aud": ["djinnbot", "another"], "azp": "another"},
        {"azp": "another"},
        {"aud": None},
        {"exp": 1_000_000_000},
        {"exp": "soon"},
        {"iat": 4_000_000_000},
        {"nbf": 4_000_000_000},
        {"sub": ""},
        {"sub": "a" * 256},
        {"sub": 5},
        {"sub": "a\x00"},
        {"sub": "\ud800"},
        {"email": "a\x00@x"},
        {"at_hash": "bm90IHRoZSB0b2tlbg"},
        {"at_hash": 5},
        {"email": "owner at cast.example"},
        {"email": 5},
        {"email": "a@b@c"},
        {"email": "a" * 320 + "@x"},
    ],
    ids=str,
)
def test_an_id_token_that_says_something_else_is_refused(
    nobody: FlaskClient, outside: Issuer, claims: dict
):
    outside.claims = claims
    outside.metadata = {"userinfo_endpoint": None}
    refused(come(nobody, outside))


@pytest.mark.parametrize("claim", ["iss", "aud", "exp", "iat", "sub", "nonce", "email"])
def test_an_id_token_that_leaves_out_what_matters_is_refused(
    nobody: FlaskClient, outside: Issuer, claim: str
):
    outside.left_out = {claim}
    outside.metadata = {"userinfo_endpoint": None}
    refused(come(nobody, outside))


@pytest.mark.parametrize(
    "sign",
    [
        unsigned,
        lambda claims: unsigned(claims) + "e30",
        confused,
        lambda claims: signed(claims, STRANGERS),
        lambda claims: signed(claims, jwk.RSAKey.generate_key(2048, {"kid": "none"})),
        lambda claims: signed(claims, ANY, "PS256"),
        lambda claims: signed(claims)[:-8] + "AAAAAAAA",
        lambda claims: signed(claims, EC, "ES256").replace(*HEADS),
        lambda claims: "a.b.c",
        lambda claims: "é",
        lambda claims: 5,
        lambda claims: None,
        lambda claims: ["x"],
    ],
)
def test_an_id_token_that_the_provider_has_not_signed_is_refused(
    nobody: FlaskClient, outside: Issuer, sign: Callable
):
    outside.sign = sign
    refused(come(nobody, outside))


def test_an_elliptic_curve_signs_as_well(nobody: FlaskClient, outside: Issuer):
    outside.sign = lambda claims: signed(claims, EC, "ES256")
    assert come(nobody, outside).status_code == 200


@pytest.mark.parametrize(
    "keys",
    [
        [],
        {},
        {"keys": 5},
        {"keys": [5]},
        {"keys": [{"kty": "RSA"}]},
        {"keys": [SHARED.as_dict()]},
        {"keys": [RSA.as_dict(private=False) | {"use": "enc"}]},
    ],
)
def test_keys_that_are_none_open_nothing(nobody: FlaskClient, outside: Issuer, keys):
    outside.keys = keys
    outside.sign = lambda claims: signed(claims, SHARED, "HS256")
    refused(come(nobody, outside))
    outside.sign = signed
    refused(come(nobody, outside))


@pytest.mark.parametrize("tokens", [[], {}, {"id_token": "x"}, {"access_token": "x"}])
def test_without_tokens_nobody_is_let_in(nobody: FlaskClient, outside: Issuer, tokens):
    outside.tokens = lambda _: tokens
    answer = come(nobody, outside)
    refused(answer)


@pytest.mark.parametrize("userinfo", [{"sub": "another", "email": "owner@cast.example"}, {}, []])
def test_userinfo_of_somebody_else_is_refused(nobody: FlaskClient, outside: Issuer, userinfo):
    outside.left_out = {"email"}
    outside.userinfo = userinfo
    refused(come(nobody, outside))


@pytest.mark.parametrize("verified", [None, False, "false", 1, "yes", ["true"]])
def test_an_address_that_nobody_vouches_for_does_not_open_the_account_that_has_it(
    nobody: FlaskClient, outside: Issuer, verified
):
    outside.person = {"sub": "1", "email": "admin@cast.example", "email_verified": verified}
    refused(come(nobody, outside))


def test_an_account_made_without_proof_is_not_given_to_the_address_s_real_owner(
    nobody: FlaskClient, outside: Issuer, others: Issuer
):
    """Else whoever made it first would share what its owner puts there."""
    outside.person = {"sub": "1", "email": "victim@outside.example"}
    assert come(nobody, outside).status_code == 200
    others.person = {"sub": "2", "email": "victim@outside.example", "email_verified": True}
    assert come(nobody, others, "others").status_code == 400
    outside.person["email_verified"] = True
    assert come(nobody, outside).status_code == 200
    assert come(nobody, others, "others").status_code == 200


def test_the_subject_of_another_issuer_is_somebody_else(
    admin: FlaskClient, nobody: FlaskClient, outside: Issuer
):
    first = come(nobody, outside).json["user"]["id"]
    with Issuer() as moved:
        admin.put("/v1/auth/oidc/outside", json={"issuerUrl": moved.url})
        moved.person |= {"email": "other@outside.example"}
        assert come(nobody, moved).json["user"]["id"] != first


def test_a_disabled_account_stays_shut(nobody: FlaskClient, outside: Issuer):
    user = come(nobody, outside).json["user"]["id"]
    with db.connection_context():
        User.update(is_active=False).where(User.id == user).execute()
        UserSession.delete().execute()
    answer = come(nobody, outside)
    assert answer.status_code == 403
    with db.connection_context():
        assert not UserSession.select().exists()


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io"])
def test_a_forged_host_does_not_lead_back_to_it(
    nobody: FlaskClient, app: Flask, outside: Issuer, host: str
):
    answer = nobody.get("/v1/auth/oidc/outside/authorize", headers={"Host": host})
    assert answer.status_code == 503
    assert "PUBLIC_API_URL" in answer.json["detail"]
    known = replace(app.extensions["settings"], public_url="https://api.example")
    told = create_app(known).test_client()
    url = told.get("/v1/auth/oidc/outside/authorize", headers={"Host": host}).json
    (back,) = parse_qs(urlsplit(url["authorizationUrl"]).query)["redirect_uri"]
    assert back == "https://api.example/v1/auth/oidc/outside/callback"


@pytest.mark.parametrize(
    "there",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "///evil.example",
        "javascript:alert(1)",
        "http://localhost:3000.evil.example/",
        "http://localhost:3000@evil.example/",
        "http://localhost:3000//evil.example/",
        "/\t/evil.example",
        "/ /evil.example",
        "evil",
        "",
    ],
)
def test_nobody_is_sent_on_to_somewhere_else(nobody: FlaskClient, outside: Issuer, there: str):
    query = {"redirect": there}
    answer = nobody.get("/v1/auth/oidc/outside/authorize", query_string=query)
    assert answer.status_code == 422
    assert answer.json["errors"][0]["loc"] == ["query", "redirect"]
    authorize(nobody, redirect="/")
    authorize(nobody, redirect="/runs?x=1")
    authorize(nobody, redirect="http://localhost:3000/runs")


def test_a_login_that_one_browser_began_does_not_end_in_another(
    as_caller: Callable, outside: Issuer
):
    """Else whoever follows a link would work in the account of who made the link."""
    begun, victim = as_caller(None), as_caller(None)
    away = begun.get("/v1/auth/oidc/outside/authorize", headers=BROWSER)
    back = outside.visit(away.location)
    home = victim.get(CALLBACK, query_string=back, headers=BROWSER)
    assert "accessToken" not in home.location
    refused(victim.post(CALLBACK, json=back))
    assert "accessToken" in by_browser(begun, outside)


def test_a_token_endpoint_that_leads_into_the_network_behind_us_is_not_followed(
    nobody: FlaskClient, outside: Issuer
):
    asked: list[str] = []
    with Issuer() as inside:
        inside.answers["/token"] = lambda received: asked.append(received.path) or Answer({})
        there = {"Location": f"{inside.url}/token"}
        outside.answers["/token"] = lambda _: Answer({}, 307, there)
        refused(come(nobody, outside))
    assert not asked


def test_metadata_that_leads_into_the_network_behind_us_is_not_followed(
    nobody: FlaskClient, outside: Issuer
):
    for name in ("token_endpoint", "jwks_uri", "userinfo_endpoint", "authorization_endpoint"):
        for url in ("http://169.254.169.254/x", "file:///etc/passwd", "javascript:alert(1)", 5):
            outside.metadata = {name: url}
            answer = nobody.get("/v1/auth/oidc/outside/authorize")
            assert answer.status_code == 502, (name, url)


def test_private_networks_are_refused_unless_they_are_allowed(
    nobody: FlaskClient, outside: Issuer, monkeypatch: pytest.MonkeyPatch
):
    back = outside.visit(authorize(nobody))
    before = outside.connections
    monkeypatch.setenv("ALLOW_PRIVATE_NETWORKS", "false")
    config.settings.cache_clear()
    refused(nobody.post(CALLBACK, json=back), 502)
    assert outside.connections == before


def test_neither_codes_nor_states_are_logged(
    nobody: FlaskClient, outside: Issuer, capsys: pytest.CaptureFixture[str]
):
    back = outside.visit(authorize(nobody))
    answer = nobody.get(CALLBACK, query_string=back).json
    told = capsys.readouterr()
    secrets = (*back.values(), answer["accessToken"], answer["refreshToken"])
    assert not [secret for secret in secrets if secret in told.out + told.err]
