"""Sending mail: what can be asked, and how mail leaves this house."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models import audit, mail, smtp
from models.base import db, now_ms
from models.errors import Invalid
from models.mail import EmailSettings, Letter
from models.principals import Principal
from tasks import task

MASK = "********"
TEST = ("Mail works", "This is a test.\n\nYour DjinnBot server can send mail.")


@task(queue="short")
def deliver() -> None:
    """Hand the next letter that is due to the mail server: one at a time, however many wait."""


def post(recipient: str, subject: str, text: str, entry_id: str | None = None) -> Letter:
    """Send a letter, in the current transaction; its text may hold what only the reader may see."""
    letter = Letter(recipient=recipient, subject=subject, entry_id=entry_id)
    letter.lock_up(body=text)
    letter.add()
    deliver.enqueue_once("next")
    return letter


def ask_again() -> None:
    """Ask for the delivery of what is due: put off, or left by a worker that died."""
    if Letter.due() is not None:
        with db.atomic():
            deliver.enqueue_once("next")


def save_settings(principal: Principal, form: Mapping[str, Any]) -> None:
    """Change how mail is sent; a password that is empty or the mask stays as it is.

    It stays only with the host it was given for: another one would be sent what it must not know.
    """
    password, kept = form["smtp_password"], {**form}
    del kept["smtp_password"]
    with db.atomic():
        current = EmailSettings.current()
        keeps = password in ("", MASK) and current.smtp_password is not None
        if keeps and form["smtp_username"] and current.smtp_host != form["smtp_host"]:
            raise Invalid("The password was for another host: enter it again", errors=[_AGAIN])
        changed = EmailSettings(**kept, updated_at=now_ms())
        changed.smtp_password = current.smtp_password
        if not form["smtp_username"]:
            changed.smtp_password = None
        elif password not in ("", MASK):
            changed.lock_up(smtp_password=password)
        EmailSettings.upsert(changed.__data__)
        audit.record(principal, "email_settings.changed", "default", host=form["smtp_host"])


def try_out(principal: Principal, recipient: str) -> None:
    """Send a test letter now: only the mail server can say whether the settings are right.

    Malformed when nothing is configured; Unreachable with what the server did not like.
    """
    settings = EmailSettings.current().required()
    smtp.send(settings, mail.composed(settings, Letter.id.default(), recipient, TEST))
    with db.atomic():
        audit.record(principal, "email_settings.tested", "default")


_AGAIN = {"loc": ["body", "smtpPassword"], "msg": "Enter it again.", "type": "invalid"}
