"""Identity providers: setting them up, and logging in by them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import psycopg2
import pytest
from flask.testing import FlaskClient

from models import oidc
from models.accounts import User
from models.audit import Entry
from models.base import db
from models.oidc import Identity, OidcLogin, OidcProvider
from tasks.logins import ADMINS
from tests.servers.issuer import CLIENT, Issuer
from tests.servers.mock_provider import mock_provider, register, visit
from tests.servers.outside import Answer
from tests.web.arriving import BROWSER, authorize, by_browser, come

SETUP = {
    "name": "Example",
    "slug": "example",
    "issuerUrl": "https://id.example.com/realms/a/",
    "clientId": "djinnbot",
    "clientSecret": "a-long-client-secret",
}


@pytest.fixture
def create(admin: FlaskClient) -> Callable[..., dict]:
    def created(**more: object) -> dict:
        answer = admin.post("/v1/auth/oidc", json=SETUP | more)
        assert answer.status_code == 200, answer.json
        return answer.json

    return created


def test_an_admin_adds_changes_and_deletes_a_provider(admin: FlaskClient, create: Callable):
    made = create(buttonText="", iconUrl="", authorizationEndpoint="", unknown="x")
    assert made["id"].startswith("oidc_")
    assert (made["slug"], made["status"]) == ("example", "created")
    assert made["issuerUrl"] == "https://id.example.com/realms/a"
    assert made["maskedClientSecret"] == "a-long...cret"
    assert made["scopes"] == "openid email profile"
    assert made["buttonText"] is made["iconUrl"] is made["authorizationEndpoint"] is None
    assert made["enabled"] and made["autoDiscovery"]
    path = f"/v1/auth/oidc/{made['id']}"
    changes = {"name": "Other", "slug": "other", "enabled": False, "scopes": None}
    changed = admin.put(path, json=changes).json
    assert (changed["id"], changed["status"]) == (made["id"], "updated")
    assert (changed["name"], changed["slug"]) == ("Other", "example")
    assert not changed["enabled"]
    assert changed["scopes"] == "openid email profile"
    (listed,) = admin.get("/v1/auth/oidc").json
    assert {name: changed[name] for name in listed} == listed
    assert admin.delete(path).json == {"status": "deleted", "id": made["id"]}
    assert admin.get("/v1/auth/oidc").json == []
    assert admin.delete(path).status_code == admin.put(path, json={}).status_code == 404


def test_every_change_is_in_the_audit_log_without_the_secret(admin: FlaskClient, create: Callable):
    made = create()
    admin.put(f"/v1/auth/oidc/{made['id']}", json={"clientSecret": "another-secret", "name": "N"})
    admin.delete(f"/v1/auth/providers/{made['id']}")
    with db.connection_context():
        told = [(entry.actor, entry.action, entry.subject) for entry in Entry.select()]
        text = str([entry.details for entry in Entry.select()])
    actions = ["oidc.created", "oidc.updated", "oidc.deleted"]
    assert told == [("usr_admin", action, made["id"]) for action in actions]
    assert "client_secret" in text and "another-secret" not in text


@pytest.mark.parametrize("path", ["/v1/auth/oidc", "/v1/auth/providers/"])
def test_the_alias_and_the_slug_lead_to_the_same_provider(admin: FlaskClient, path: str):
    made = admin.post(path, json=SETUP).json
    path = path.rstrip("/")
    assert admin.put(f"{path}/example", json={"name": "Slug"}).json["id"] == made["id"]
    assert admin.get(path).json[0]["name"] == "Slug"
    assert admin.delete(f"{path}/example").status_code == 200


def test_providers_are_the_admins_business(owner: FlaskClient, nobody: FlaskClient):
    for path in ("/v1/auth/oidc", "/v1/auth/providers"):
        for client, status in ((owner, 403), (nobody, 401)):
            assert client.get(path).status_code == status
            assert client.post(path, json=SETUP).status_code == status
            assert client.put(f"{path}/example", json={}).status_code == status
            assert client.delete(f"{path}/example").status_code == status
            assert client.post(f"{path}/example/test").status_code == status


def test_a_slug_is_taken_once(admin: FlaskClient, create: Callable):
    create()
    assert admin.post("/v1/auth/oidc", json=SETUP).status_code == 409
    assert len(admin.get("/v1/auth/oidc").json) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("slug", "-x"),
        ("slug", "x"),
        ("slug", "X1"),
        ("slug", "a" * 33),
        ("slug", "ab\n"),
        ("name", " "),
        ("name", "a" * 257),
        ("clientId", ""),
        ("clientSecret", ""),
        ("issuerUrl", "http://id.example.com"),
        ("issuerUrl", "https://localhost:9400"),
        ("issuerUrl", "https://169.254.169.254"),
        ("issuerUrl", "https://[::1]"),
        ("issuerUrl", "https://user:pass@id.example.com"),
        ("issuerUrl", "https://id.example.com?tenant=a"),
        ("issuerUrl", 5),
        ("issuerUrl", "https://id.example.com/" + "a" * 500),
        ("tokenEndpoint", "https://10.0.0.1/token"),
        ("authorizationEndpoint", "javascript:alert(1)"),
        ("iconUrl", "javascript:alert(1)"),
        ("buttonColor", "red;background:url(x)"),
        ("scopes", "openid  email"),
        ("autoDiscovery", "yes"),
        ("autoDiscovery", False),
    ],
)
def test_what_makes_no_sense_is_422_names_the_field_and_changes_nothing(
    admin: FlaskClient, create: Callable, field: str, value: object
):
    answer = admin.post("/v1/auth/oidc", json=SETUP | {field: value})
    assert answer.status_code == 422, answer.json
    named = {fault["loc"][-1] for fault in answer.json["errors"]}
    assert named == {"authorizationEndpoint" if field == "autoDiscovery" and not value else field}
    assert admin.get("/v1/auth/oidc").json == []
    made = create()
    if (field, value) in {("clientSecret", "")} or field == "slug":
        return
    answer = admin.put(f"/v1/auth/oidc/{made['id']}", json={field: value})
    assert answer.status_code == 422
    assert admin.get("/v1/auth/oidc").json[0]["updatedAt"] == made["updatedAt"]


def test_an_empty_or_masked_secret_keeps_the_one_that_is_there(
    admin: FlaskClient, create: Callable
):
    made = create()
    for secret in (None, "", made["maskedClientSecret"]):
        admin.put(f"/v1/auth/oidc/{made['id']}", json={"clientSecret": secret})
        with db.connection_context():
            assert OidcProvider.find(made["id"]).secret() == SETUP["clientSecret"]
    admin.put(f"/v1/auth/oidc/{made['id']}", json={"clientSecret": "short"})
    with db.connection_context():
        found = OidcProvider.find(made["id"])
        assert (found.secret(), found.masked_client_secret) == ("short", "***")
        assert "short" not in found.client_secret


def test_a_secret_that_does_not_open_spares_the_list_and_says_what_to_do(
    admin: FlaskClient, nobody: FlaskClient, issuer: Issuer
):
    made = admin.post("/v1/auth/oidc", json=issuer.provider()).json
    with db.connection_context():
        OidcProvider.update(client_secret="v1:tests:AAAA").execute()
    assert admin.get("/v1/auth/oidc").json[0]["id"] == made["id"]
    answer = nobody.get("/v1/auth/oidc/outside/authorize")
    assert (answer.status_code, "set anew" in answer.json["detail"]) == (503, True)


def test_the_test_asks_the_provider_now(admin: FlaskClient, outside: Issuer):
    assert admin.post("/v1/auth/oidc/outside/test").json == {
        "status": "ok",
        "issuer": outside.url,
        "authorizationEndpoint": f"{outside.url}/authorize",
        "tokenEndpoint": f"{outside.url}/token",
        "userinfoEndpoint": f"{outside.url}/userinfo",
        "jwksUri": f"{outside.url}/keys",
    }
    for metadata in ({"issuer": "https://other.example"}, {"token_endpoint": None}):
        outside.metadata = metadata
        answer = admin.post("/v1/auth/providers/outside/test")
        assert (answer.status_code, "Discovery failed" in answer.json["detail"]) == (400, True)


def test_who_wants_to_log_in_is_told_by_which_providers(
    admin: FlaskClient, nobody: FlaskClient, create: Callable
):
    create(name="B", buttonColor="#fff")
    create(name="A", slug="aa", buttonText="By A")
    create(name="C", slug="cc")
    admin.put("/v1/auth/oidc/cc", json={"enabled": False})
    first, second = nobody.get("/v1/auth/status").json["oidcProviders"]
    assert (first["slug"], first["buttonText"]) == ("aa", "By A")
    assert second.pop("id")
    assert second == {
        "slug": "example",
        "name": "B",
        "buttonText": "Sign in with B",
        "buttonColor": "#fff",
        "iconUrl": None,
    }
    with db.connection_context():
        User.delete().execute()
    assert nobody.get("/v1/auth/status").json["oidcProviders"] == []


def test_somebody_new_gets_an_account_and_tokens(nobody: FlaskClient, outside: Issuer):
    back = outside.visit(authorize(nobody))
    answer = nobody.post("/v1/auth/oidc/outside/callback", json=back)
    assert answer.status_code == 200, answer.json
    assert answer.json["tokenType"] == "Bearer"
    assert answer.json["user"]["email"] == "ada@outside.example"
    assert answer.json["user"]["displayName"] == "Ada Lovelace"
    assert not answer.json["user"]["isAdmin"]
    header = {"Authorization": f"Bearer {answer.json['accessToken']}"}
    assert nobody.get("/v1/runs", headers=header).status_code == 200
    with db.connection_context():
        user = User.named("ada@outside.example")
        assert user.password_hash is None
        last = Entry.select().order_by(Entry.seq.desc()).first()
        assert (last.action, last.subject, last.details) == (
            "user.created",
            user.id,
            {
                "email": "ada@outside.example",
                "is_admin": False,
                "provider": "outside",
                "identity": "248289761001",
            },
        )


def test_a_name_that_cannot_be_stored_is_made_so(nobody: FlaskClient, outside: Issuer):
    outside.person |= {"name": "A\x00\ud800", "preferred_username": 5}
    assert come(nobody, outside).json["user"]["displayName"] == "A\ufffd?"


def test_a_program_may_also_finish_with_get(nobody: FlaskClient, outside: Issuer):
    back = outside.visit(authorize(nobody))
    answer = nobody.get("/v1/auth/oidc/outside/callback/", query_string=back)
    assert answer.json["user"]["email"] == "ada@outside.example"


def test_who_comes_again_is_known_by_the_subject_whatever_the_address(
    nobody: FlaskClient, outside: Issuer
):
    first = come(nobody, outside).json["user"]
    outside.person |= {"email": "owner@cast.example", "email_verified": False}
    assert come(nobody, outside).json["user"] == first
    outside.person = {"sub": outside.person["sub"]}
    assert come(nobody, outside).json["user"] == first


def test_a_verified_address_finds_the_account_that_has_it(nobody: FlaskClient, outside: Issuer):
    outside.person |= {"email": " Owner@Cast.example"}
    assert come(nobody, outside).json["user"]["id"] == "usr_owner"
    with db.connection_context():
        last = Entry.select().order_by(Entry.seq.desc()).first()
        assert (last.action, last.subject) == ("oidc.linked", "usr_owner")
    assert come(nobody, outside).json["user"]["id"] == "usr_owner"


def test_the_first_of_all_is_an_admin(nobody: FlaskClient, outside: Issuer):
    with db.connection_context():
        User.delete().execute()
    assert come(nobody, outside).json["user"]["isAdmin"]
    outside.person = {"sub": "2", "email": "b@outside.example"}
    assert not come(nobody, outside).json["user"]["isAdmin"]


@pytest.mark.parametrize("verified", [True, None])
def test_many_who_come_at_once_for_the_first_time_get_one_account(
    as_caller: Callable, outside: Issuer, database: str, verified: bool | None
):
    outside.person["email_verified"] = verified
    backs = [outside.visit(authorize(as_caller(None))) for _ in range(6)]
    answers: list = []

    def back(brought: dict) -> None:
        client = as_caller(None)
        answers.append(client.post("/v1/auth/oidc/outside/callback", json=brought))

    threads = [threading.Thread(target=back, args=(brought,)) for brought in backs]
    with door_shut(database, len(threads)):
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200] * 6
    assert len({answer.json["user"]["id"] for answer in answers}) == 1


@contextmanager
def door_shut(database: str, many: int) -> Iterator[None]:
    """Nobody gets an account until so many stand at the door."""
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    keeper = psycopg2.connect(database)
    keeper.autocommit = True
    cursor = keeper.cursor()
    cursor.execute("SELECT pg_advisory_lock(%s)", (ADMINS,))
    yield
    while cursor.execute(waiting) or cursor.fetchone()[0] < many:
        time.sleep(0.02)
    keeper.close()


def test_where_there_is_a_second_factor_it_is_asked_for(nobody: FlaskClient, outside: Issuer):
    with db.connection_context():
        User.update(totp_enabled=True).where(User.id == "usr_owner").execute()
    outside.person |= {"email": "owner@cast.example"}
    answer = come(nobody, outside).json
    assert answer["requiresTOTP"] is True
    assert answer["pendingToken"]
    assert "accessToken" not in answer


def test_userinfo_tells_what_the_id_token_does_not(nobody: FlaskClient, outside: Issuer):
    outside.left_out = {"email", "email_verified", "name"}
    outside.person["preferred_username"] = "ada"
    user = come(nobody, outside).json["user"]
    assert (user["email"], user["displayName"]) == ("ada@outside.example", "Ada Lovelace")


def test_a_provider_that_takes_the_secret_only_in_a_header_gets_it_there(
    nobody: FlaskClient, outside: Issuer
):
    outside.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_basic"]}
    assert come(nobody, outside).status_code == 200
    (asked,) = (one for one in outside.requests if one.path == "/token")
    assert asked.headers["authorization"].startswith("Basic ")
    assert CLIENT[1].encode() not in asked.body


def test_a_provider_may_be_told_by_hand_where_it_is_asked(
    admin: FlaskClient, nobody: FlaskClient, issuer: Issuer
):
    by_hand = {
        "autoDiscovery": False,
        "authorizationEndpoint": f"{issuer.url}/authorize",
        "tokenEndpoint": f"{issuer.url}/token",
        "jwksUri": f"{issuer.url}/keys",
    }
    assert admin.post("/v1/auth/oidc", json=issuer.provider(**by_hand)).status_code == 200
    assert come(nobody, issuer).status_code == 200
    assert "/.well-known/openid-configuration" not in {one.path for one in issuer.requests}


def test_plain_oauth_without_an_id_token_asks_userinfo(
    admin: FlaskClient, nobody: FlaskClient, issuer: Issuer
):
    issuer.tokens = lambda tokens: (
        {**tokens, "id_token": None}
        and {name: value for name, value in tokens.items() if name != "id_token"}
    )
    admin.post("/v1/auth/oidc", json=issuer.provider(scopes="email profile"))
    assert come(nobody, issuer).json["user"]["email"] == "ada@outside.example"


def test_a_browser_is_led_there_and_back_and_on_to_the_dashboard(
    nobody: FlaskClient, outside: Issuer
):
    away = nobody.get("/v1/auth/oidc/outside/authorize?redirect=/runs", headers=BROWSER)
    assert away.status_code == 302
    cookie = away.headers["Set-Cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Lax", "Path=/v1/auth/oidc"))
    back = outside.visit(away.location)
    home = nobody.get("/v1/auth/oidc/outside/callback", query_string=back, headers=BROWSER)
    assert home.status_code == 302
    assert home.headers["Cache-Control"] == "no-store"
    assert home.headers["Referrer-Policy"] == "no-referrer"
    page, query = home.location.split("?")
    assert page == "http://localhost:3000/auth/callback"
    told = {name: value for name, (value,) in parse_qs(query).items()}
    assert set(told) == {"accessToken", "refreshToken", "redirect"}
    assert told["redirect"] == "/runs"
    refreshed = nobody.post("/v1/auth/refresh", json={"refreshToken": told["refreshToken"]})
    assert refreshed.status_code == 200


def test_a_browser_is_told_of_the_second_factor_and_of_errors(nobody: FlaskClient, outside: Issuer):
    with db.connection_context():
        User.update(totp_enabled=True).where(User.id == "usr_owner").execute()
    outside.person |= {"email": "owner@cast.example"}
    assert set(by_browser(nobody, outside)) == {"requiresTOTP", "pendingToken"}
    outside.claims = {"nonce": "another"}
    assert set(by_browser(nobody, outside)) == {"error"}
    away = nobody.get("/v1/auth/oidc/none/authorize", headers=BROWSER)
    assert away.location.startswith("http://localhost:3000/auth/callback?error=")


def test_who_was_not_let_in_by_the_provider_is_told_so(nobody: FlaskClient, outside: Issuer):
    away = nobody.get("/v1/auth/oidc/outside/authorize", headers=BROWSER)
    back = {"state": outside.visit(away.location)["state"], "error": "<script>"}
    home = nobody.get("/v1/auth/oidc/outside/callback", query_string=back, headers=BROWSER)
    assert "script" not in home.location
    assert parse_qs(urlsplit(home.location).query)["error"]
    again = nobody.get("/v1/auth/oidc/outside/callback", query_string=back)
    assert again.status_code == 400


def test_a_page_of_its_own_that_began_the_login_is_handed_the_code(
    nobody: FlaskClient, as_caller: Callable, outside: Issuer
):
    """A page asked for JSON; the provider sends the browser to us, we send it on to the page."""
    back = outside.visit(authorize(nobody))
    home = nobody.get("/v1/auth/oidc/outside/callback", query_string=back, headers=BROWSER)
    handed = {name: value for name, (value,) in parse_qs(urlsplit(home.location).query).items()}
    assert handed == back
    answer = nobody.post("/v1/auth/oidc/outside/callback", json=handed)
    assert answer.status_code == 200


def test_logins_from_which_nobody_came_back_are_forgotten(nobody: FlaskClient, outside: Issuer):
    authorize(nobody)
    with db.connection_context():
        assert oidc.forget_old() == 0
        (login,) = OidcLogin.select()
        assert login.verifier.startswith("v1:")
        OidcLogin.update(expires_at=0).execute()
        assert oidc.forget_old() == 1


def test_deleting_a_provider_leaves_the_accounts(
    admin: FlaskClient, nobody: FlaskClient, outside: Issuer
):
    user = come(nobody, outside).json["user"]["id"]
    admin.delete("/v1/auth/oidc/outside")
    with db.connection_context():
        assert User.find(user)
        assert not Identity.select().exists()
    assert nobody.get("/v1/auth/oidc/outside/authorize").status_code == 404


def test_an_identity_provider_that_is_away_is_502(nobody: FlaskClient, outside: Issuer):
    outside.answers["/.well-known/openid-configuration"] = lambda _: Answer(b"oops", 500)
    assert nobody.get("/v1/auth/oidc/outside/authorize").status_code == 502


def test_a_provider_that_others_wrote_lets_people_in(
    admin: FlaskClient, nobody: FlaskClient, issuer: Issuer
):
    with mock_provider() as url:
        setup = SETUP | {"slug": "outside", "issuerUrl": url}
        assert admin.post("/v1/auth/oidc", json=setup).status_code == 200
        assert admin.post("/v1/auth/oidc/outside/test").json["issuer"] == url
        register(url, "7", email="grace@outside.example", email_verified=True, name="Grace")
        back = visit(authorize(nobody), "7")
        user = nobody.post("/v1/auth/oidc/outside/callback", json=back).json["user"]
        assert (user["email"], user["displayName"]) == ("grace@outside.example", "Grace")
        away = nobody.get("/v1/auth/oidc/outside/authorize", headers=BROWSER)
        back = visit(away.location, "7")
        home = nobody.get("/v1/auth/oidc/outside/callback", query_string=back, headers=BROWSER)
        assert "accessToken=" in home.location
        back = visit(authorize(nobody), "nobody@outside.example")  # says nothing of the address
        user = nobody.post("/v1/auth/oidc/outside/callback", json=back).json["user"]
        assert user["email"] == "nobody@outside.example"
