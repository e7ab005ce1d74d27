"""Letters on their way: put off, refused, left by the dead, and never twice without need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models import mail, smtp
from models.base import db, now_ms
from models.errors import Conflict
from models.mail import FAILED, SENDING, SENT, WAITING, EmailSettings, Letter
from models.notifications import Notification
from tasks import mail as commands
from tests.servers.mail import MailServer, certificate, mail_server
from workers import broker

Work = Callable[..., int]
LOGIN = ("djinn", "correct horse battery staple")
TEXT = "Dear <b>Ada</b> & co,\n\nhttps://example.org/?a=1&b=2\n\nSee you."


@pytest.fixture
def post(work: Work) -> Iterator[MailServer]:
    """A mail server that takes letters, in use."""
    with db.connection_context(), mail_server() as server:
        use(server)
        yield server


def use(server: MailServer, login: tuple[str, str] | None = None, **more: object) -> EmailSettings:
    row = {"smtp_host": "localhost", "smtp_port": server.port, "smtp_use_tls": False}
    settings = EmailSettings(**row | more, from_email="djinn@example.org")
    if login:
        settings.smtp_username = login[0]
        settings.lock_up(smtp_password=login[1])
    EmailSettings.upsert(settings.__data__)
    return settings


def send(recipient: str = "ada@example.org") -> str:
    with db.atomic():
        return commands.post(recipient, "Hello", TEXT).id


def later(work: Work, hours: int = 2) -> None:
    """Let time pass until whatever was put off is due, and work."""
    Letter.update(due_at=Letter.due_at - hours * 3_600_000).execute()
    commands.ask_again()
    work()


def test_a_letter_is_readable_with_and_without_html(post: MailServer, work: Work):
    send()
    work()
    (letter,) = post.letters
    plain, html = (letter.get_body((kind,)).get_content() for kind in ("plain", "html"))
    assert plain.split() == TEXT.split()
    assert "<p>Dear &lt;b&gt;Ada&lt;/b&gt; &amp; co,</p>" in html
    assert '<a href="https://example.org/?a=1&amp;b=2">' in html


def test_many_letters_leave_one_after_the_other(post: MailServer, work: Work):
    for number in range(5):
        send(f"{number}@example.org")
    assert work() == 5
    assert sorted(letter["To"][0] for letter in post.letters) == [*"01234"]


def test_a_slow_mail_server_keeps_one_worker_however_many_are_asked(post: MailServer, work: Work):
    post.pause = 0.5
    for number in range(3):
        send(f"{number}@example.org")
    with ThreadPoolExecutor() as threads:
        for _ in range(3):
            threads.submit(broker.perform, "short", "mail.deliver")
    work()
    assert len(post.letters) == 3
    assert post.most == 1


def test_what_is_refused_for_now_is_the_same_letter_later(post: MailServer, work: Work):
    key = send()
    post.answers += ["451 try again later", "452 not yet"]
    work()
    letter = Letter.get_by_id(key)
    assert (letter.state, letter.tries) == (WAITING, 1)
    assert "451" in letter.error
    commands.ask_again()
    assert work() == 0  # it waits
    later(work)
    later(work)
    assert Letter.get_by_id(key).state == SENT
    assert [taken["Message-ID"] for taken in post.letters] == [f"<{key}@example.org>"]


def test_whom_a_server_does_not_know_gets_nothing_and_admins_hear_of_it(
    post: MailServer, work: Work
):
    post.refuses_recipients = "550 no such user: mail for secret-list@example.org"
    key = send()
    work()
    letter = Letter.get_by_id(key)
    assert (letter.state, letter.tries, letter.body) == (FAILED, 1, None)
    (told,) = Notification.select()
    assert told.title == "Mail to ada@example.org was not delivered"
    assert "550" in told.detail
    assert "secret-list" not in told.detail


def test_it_is_given_up_in_the_end(post: MailServer, work: Work):
    post.answers += ["451 later"] * 100
    key = send()
    work()
    for _ in range(mail.MOST_TRIES):
        later(work)
    letter = Letter.get_by_id(key)
    assert (letter.state, letter.tries) == (FAILED, mail.MOST_TRIES)
    assert Notification.select().count() == 1


def test_a_worker_that_died_amid_sending_is_followed_by_another(post: MailServer, work: Work):
    key = send()
    Letter.due().claim()
    work()
    assert post.letters == []  # it may still be at it
    later(work)
    assert Letter.get_by_id(key).state == SENT
    assert len(post.letters) == 1


def test_a_worker_that_was_thought_dead_changes_nothing_any_more(post: MailServer, work: Work):
    key = send()
    slow = Letter.due().claim()
    Letter.update(due_at=0).execute()
    other = Letter.due().claim()
    for late in (slow.arrived, lambda: slow.put_off("x"), lambda: slow.give_up("x")):
        with pytest.raises(Conflict):
            late()
    other.arrived()
    assert Letter.get_by_id(key).state == SENT


def test_two_never_take_the_same_letter(post: MailServer):
    send()
    mine, theirs = Letter.due(), Letter.due()
    mine.claim()
    with pytest.raises(Conflict):
        theirs.claim()
    assert Letter.get_by_id(mine.id).state == SENDING


def test_nobody_waits_for_letters_of_last_month(post: MailServer, work: Work):
    send()
    work()
    assert mail.forget_old() == 0
    Letter.update(updated_at=now_ms() - mail.KEPT_MS - 1).execute()
    assert mail.forget_old() == 1


def test_settings_that_went_away_put_it_off(post: MailServer, work: Work):
    key = send()
    EmailSettings.delete().execute()
    work()
    assert Letter.get_by_id(key).state == WAITING
    use(post)
    later(work)
    assert len(post.letters) == 1


def test_a_password_that_does_not_open_is_said_and_can_be_mended(post: MailServer, work: Work):
    use(post, LOGIN)
    EmailSettings.update(smtp_password="v1:gone:AAAA").execute()
    key = send()
    work()
    assert "does not open" in Letter.get_by_id(key).error
    use(post)
    later(work)
    assert Letter.get_by_id(key).state == SENT


def test_whom_nobody_survives_is_not_tried_for_ever(post: MailServer, work: Work):
    key = send()
    Letter.update(tries=mail.MOST_TRIES).execute()
    work()
    assert Letter.get_by_id(key).state == FAILED
    assert post.letters == []


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """A mail server's TLS whose certificate this machine trusts."""
    public, holder = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(public))
    return holder


def test_over_tls_it_logs_in_and_sends(trusted: object, work: Work):
    with db.connection_context(), mail_server(LOGIN, tls=trusted) as server:
        use(server, LOGIN, smtp_use_tls=True)
        send()
        work()
        assert len(server.letters) == 1
        assert server.logins == [LOGIN]


def test_a_wrong_password_is_said_without_it(trusted: object, work: Work):
    with db.connection_context(), mail_server(LOGIN, tls=trusted) as server:
        settings = use(server, ("djinn", "wrong secret"), smtp_use_tls=True)
        message = mail.composed(settings, "mail_1", "ada@example.org", ("Hello", TEXT))
        with pytest.raises(smtp.Deferred, match="refused the login") as refusal:
            smtp.send(settings, message)
        assert "wrong secret" not in str(refusal.value)


def test_a_certificate_that_cannot_be_verified_is_told_nothing(tmp_path: Path, work: Work):
    _, holder = certificate(tmp_path)
    with db.connection_context(), mail_server(LOGIN, tls=holder) as server:
        use(server, LOGIN, smtp_use_tls=True)
        key = send()
        work()
        assert "certificate that cannot be verified" in Letter.get_by_id(key).error
        assert (server.logins, server.letters) == ([], [])


def test_a_certificate_of_another_host_is_none(tmp_path: Path, monkeypatch, work: Work):
    public, holder = certificate(tmp_path, ["mail.example.org"])
    monkeypatch.setenv("SSL_CERT_FILE", str(public))
    with db.connection_context(), mail_server(LOGIN, tls=holder) as server:
        use(server, LOGIN, smtp_use_tls=True)
        key = send()
        work()
        assert "certificate" in Letter.get_by_id(key).error
        assert server.logins == []


def test_who_asks_for_tls_says_nothing_without_it(work: Work):
    with db.connection_context(), mail_server(LOGIN) as server:
        use(server, LOGIN, smtp_use_tls=True)
        key = send()
        work()
        assert "does not offer" in Letter.get_by_id(key).error
        assert server.logins == []


def test_on_port_465_tls_is_spoken_from_the_first_byte(trusted: object, work: Work):
    try:
        with db.connection_context(), mail_server(LOGIN, implicit=trusted, port=465) as server:
            use(server, LOGIN)
            send()
            work()
            assert len(server.letters) == 1
    except PermissionError:
        pytest.skip("this user may not listen on port 465")
