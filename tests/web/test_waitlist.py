"""Asking for an account, being invited by mail, and coming."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import waitlist
from models.accounts import User
from models.audit import Entry as AuditEntry
from models.base import db, now_ms
from models.mail import EmailSettings, Letter
from models.waitlist import Entry
from tests.servers.mail import MailServer, mail_server
from workers.local.folder import free_port

Work = Callable[..., int]
ADA = "ada@example.org"
SETTINGS = {
    "smtpHost": "127.0.0.1",
    "smtpPort": 587,
    "smtpUsername": "",
    "smtpPassword": "",
    "smtpUseTls": False,
    "fromEmail": "djinn@example.org",
    "fromName": "Djinn",
}


@pytest.fixture
def post() -> Iterator[MailServer]:
    """A mail server that takes letters."""
    with mail_server() as server:
        yield server


@pytest.fixture
def configured(admin: FlaskClient, post: MailServer) -> None:
    save(admin, smtpPort=post.port)


def save(client: FlaskClient, **changes: Any) -> Any:
    return client.put("/v1/waitlist/email-settings", json=SETTINGS | changes)


def join(client: FlaskClient, email: str = ADA) -> Any:
    return client.post("/v1/waitlist", json={"email": email})


def entries(admin: FlaskClient) -> list[dict[str, Any]]:
    return admin.get("/v1/waitlist").json


@pytest.fixture
def ada(nobody: FlaskClient, admin: FlaskClient) -> str:
    """The id of somebody who waits."""
    join(nobody)
    return entries(admin)[0]["id"]


def test_anybody_may_ask_and_is_told_nothing_else(nobody: FlaskClient, admin: FlaskClient):
    first = join(nobody, " Ada@Example.org ")
    again = nobody.post("/v1/waitlist/join/", json={"email": ADA})
    assert first.json == again.json
    assert first.json["status"] == "ok"
    (entry,) = entries(admin)
    assert (entry["email"], entry["status"], entry["invitedAt"]) == (ADA, "waiting", None)


@pytest.mark.parametrize(
    "email",
    [
        "ada",
        "@",
        "a@",
        "@b",
        "a@b@c",
        "a b@c",
        "a@b\r\nBcc: x@y",
        "a@b\x00",
        "<a@b>",
        f"{320 * 'a'}@b",
    ],
)
def test_what_is_no_address_is_refused(nobody: FlaskClient, admin: FlaskClient, email: str):
    answer = join(nobody, email)
    assert answer.status_code == 400
    assert isinstance(answer.json["detail"], str)
    assert nobody.post("/v1/waitlist", json={}).status_code == 422
    assert entries(admin) == []


def at(app: Flask, number: int) -> FlaskClient:
    """Somebody at an address of their own."""
    client = app.test_client()
    client.environ_base["REMOTE_ADDR"] = f"192.0.2.{number}"
    return client


def test_twenty_at_once_are_on_the_list_once(app: Flask, admin: FlaskClient):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: join(at(app, number)).status_code, range(20)))
    assert answers == [200] * 20
    assert len(entries(admin)) == 1


def test_one_address_asks_five_times_an_hour(app: Flask, admin: FlaskClient):
    asked = [join(at(app, 1), f"{number}@example.org") for number in range(6)]
    assert [answer.status_code for answer in asked] == [*[200] * 5, 429]
    assert int(asked[5].headers["Retry-After"]) > 0
    other_path = at(app, 1).post("/v1/waitlist/join", json={"email": ADA})
    assert other_path.status_code == 429
    assert join(at(app, 2)).status_code == 200


def test_the_list_has_an_end_that_nobody_sees(
    nobody: FlaskClient, admin: FlaskClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(waitlist, "MOST", 2)
    told = {join(nobody, f"{number}@example.org").data for number in range(4)}
    assert len(told) == 1
    assert len(entries(admin)) == 2


def test_only_admins_see_and_change_the_list(owner: FlaskClient, nobody: FlaskClient, ada: str):
    for client, status in ((owner, 403), (nobody, 401)):
        assert client.get("/v1/waitlist").status_code == status
        assert client.post(f"/v1/waitlist/{ada}/invite").status_code == status
        assert client.delete(f"/v1/waitlist/{ada}").status_code == status
        assert client.get("/v1/waitlist/email-settings").status_code == status
        assert save(client).status_code == status
        assert client.post("/v1/waitlist/email-settings/test").status_code == status


def test_an_invitation_is_mailed_and_counts_once_it_has_left(
    admin: FlaskClient, configured: None, post: MailServer, ada: str, work: Work
):
    answer = admin.post(f"/v1/waitlist/{ada}/invite").json
    assert (answer["status"], answer["email"]) == ("invited", ADA)
    assert entries(admin)[0]["status"] == "waiting"
    assert admin.post(f"/v1/waitlist/{ada}/invite").json == answer  # it is on its way already
    work()
    (entry,) = entries(admin)
    assert entry["status"] == "invited"
    assert entry["invitedAt"] is not None
    (letter,) = post.letters
    assert (letter["To"], letter["From"]) == (ADA, "Djinn <djinn@example.org>")
    assert link(letter).startswith("http://localhost:3000/register#token=")
    assert Letter.select().first().body is None  # the link is in the mailbox and nowhere else


def link(letter: Any) -> str:
    text = letter.get_body(("plain",)).get_content()
    return next(line for line in text.splitlines() if line.startswith("http"))


def test_nobody_is_invited_without_a_mail_server(admin: FlaskClient, ada: str):
    answer = admin.post(f"/v1/waitlist/{ada}/invite")
    assert answer.status_code == 400
    assert "not configured" in answer.json["detail"]
    assert admin.post("/v1/waitlist/none/invite").status_code == 404


@pytest.fixture
def token(admin: FlaskClient, configured: None, post: MailServer, ada: str, work: Work) -> str:
    """What the link in Ada's letter ends with."""
    admin.post(f"/v1/waitlist/{ada}/invite")
    work()
    return link(post.letters[0]).partition("#token=")[2]


def register(client: FlaskClient, token: str, **more: Any) -> Any:
    form = {"token": token, "password": "correct horse", **more}
    return client.post("/v1/waitlist/register", json=form)


def test_whoever_was_invited_registers_and_logs_in(
    nobody: FlaskClient, admin: FlaskClient, token: str
):
    answer = register(nobody, token, displayName="Ada")
    assert (answer.status_code, answer.json["status"]) == (200, "registered")
    (entry,) = entries(admin)
    assert (entry["status"], entry["registeredAt"] is not None) == ("registered", True)
    user = nobody.post("/v1/auth/login", json={"email": ADA, "password": "correct horse"}).json
    assert (user["user"]["displayName"], user["user"]["isAdmin"]) == ("Ada", False)
    again = register(nobody, token)
    assert (again.status_code, User.select().where(User.email == ADA).count()) == (400, 1)


def test_of_many_who_use_one_link_at_once_one_registers(app: Flask, token: str):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: register(at(app, n), token).status_code, range(8)))
    assert sorted(answers) == [200, *[400] * 7]


def test_a_link_is_worth_nothing_once_it_is_old_replaced_or_made_up(
    nobody: FlaskClient, admin: FlaskClient, post: MailServer, ada: str, token: str, work: Work
):
    assert register(nobody, "x" * 43).status_code == 400
    assert register(nobody, token, password="short").status_code == 422
    admin.post(f"/v1/waitlist/{ada}/invite")
    assert register(nobody, token).status_code == 400
    work()
    newer = link(post.letters[1]).partition("#token=")[2]
    Entry.update(token_ends_at=now_ms()).execute()
    assert register(nobody, newer).status_code == 400
    assert entries(admin)[0]["status"] == "invited"


def test_an_invitation_makes_no_second_account(nobody: FlaskClient, admin: FlaskClient, token: str):
    User.update(email=ADA).where(User.id == "usr_owner").execute()
    assert register(nobody, token).status_code == 409


def test_an_account_that_an_admin_makes_ends_the_wait(
    nobody: FlaskClient, admin: FlaskClient, token: str
):
    form = {"email": ADA.upper(), "password": "correct horse"}
    assert admin.post("/v1/users", json=form).status_code == 201
    assert entries(admin)[0]["status"] == "registered"
    assert register(nobody, token).status_code == 400


def test_whoever_is_taken_off_the_list_is_not_written_to(
    admin: FlaskClient, configured: None, post: MailServer, ada: str, work: Work
):
    admin.post(f"/v1/waitlist/{ada}/invite")
    assert admin.delete(f"/v1/waitlist/{ada}").json == {"status": "deleted", "id": ada}
    assert admin.delete(f"/v1/waitlist/{ada}").status_code == 404
    work()
    assert post.letters == []
    assert entries(admin) == []


def test_whoever_gets_an_account_otherwise_is_registered(
    admin: FlaskClient, configured: None, ada: str
):
    with db.atomic():
        waitlist.registered(ADA)
    assert entries(admin)[0]["status"] == "registered"
    assert admin.post(f"/v1/waitlist/{ada}/invite").status_code == 409


def test_a_saved_password_is_shown_as_a_mask_that_keeps_it(admin: FlaskClient):
    assert admin.get("/v1/waitlist/email-settings").json["configured"] is False
    given = {"smtpUsername": "djinn", "smtpPassword": "correct horse"}
    assert save(admin, **given).json == {"status": "saved"}
    shown = admin.get("/v1/waitlist/email-settings").json
    assert (shown["smtpPassword"], shown["configured"]) == ("********", True)
    for password in (shown["smtpPassword"], ""):
        save(admin, **shown | {"smtpPassword": password, "fromName": "Other"})
        assert EmailSettings.current().reveal("smtp_password") == "correct horse"
    save(admin, **given | {"smtpPassword": "battery"})
    assert EmailSettings.current().reveal("smtp_password") == "battery"
    assert "battery" not in str([row.details for row in AuditEntry.select()])
    save(admin)  # nobody logs in: nothing to keep
    assert admin.get("/v1/waitlist/email-settings").json["smtpPassword"] == ""


def test_a_password_is_not_sent_to_another_host(admin: FlaskClient):
    given = {"smtpUsername": "djinn", "smtpPassword": "********"}
    save(admin, **given | {"smtpPassword": "correct horse"})
    answer = save(admin, **given, smtpHost="mail.evil.example")
    assert answer.status_code == 422
    assert answer.json["errors"][0]["loc"] == ["body", "smtpPassword"]
    assert admin.get("/v1/waitlist/email-settings").json["smtpHost"] == "127.0.0.1"


@pytest.mark.parametrize(
    "fault",
    [
        {"smtpPort": 0},
        {"smtpPort": 65536},
        {"smtpPort": "587"},
        {"smtpHost": "a b"},
        {"smtpHost": "a\r\nb"},
        {"fromEmail": "nobody"},
        {"fromEmail": "a@b\r\nBcc: c@d"},
        {"fromName": "Djinn\r\nBcc: c@d"},
        {"smtpUsername": "a\nb"},
        {"smtpUseTls": "yes"},
    ],
)
def test_settings_that_make_no_sense_are_refused(admin: FlaskClient, fault: dict[str, Any]):
    answer = save(admin, **fault)
    assert answer.status_code == 422
    assert answer.json["errors"][0]["loc"] == ["body", *fault]
    assert admin.get("/v1/waitlist/email-settings").json["configured"] is False


def test_the_settings_are_tried_out_at_once(admin: FlaskClient, configured: None, post: MailServer):
    def tried(recipient: str = ADA) -> Any:
        body = {"recipientEmail": recipient}
        return admin.post("/v1/waitlist/email-settings/test", json=body)

    assert tried().json == {"status": "sent", "recipient": ADA}
    assert post.letters[0]["Subject"] == "Mail works"
    assert tried("nobody").status_code == 422
    post.answers += ["554 you are on the list of the wicked, djinn"]
    refused = tried()
    assert (refused.status_code, "554" in refused.json["detail"]) == (502, True)
    assert "wicked" not in refused.json["detail"]
    save(admin, smtpPort=free_port())
    assert tried().status_code == 502


def test_without_settings_nothing_can_be_tried(admin: FlaskClient):
    body = {"recipientEmail": ADA}
    answer = admin.post("/v1/waitlist/email-settings/test", json=body)
    assert answer.status_code == 400


def test_the_list_comes_newest_first(nobody: FlaskClient, admin: FlaskClient):
    for number in range(3):
        join(nobody, f"{number}@example.org")
    Entry.update(created_at=Entry.created_at + 1).where(Entry.email == "1@example.org").execute()
    page = admin.get("/v1/waitlist?limit=1")
    assert page.headers["X-Total-Count"] == "3"
    assert len(page.json) == 1
