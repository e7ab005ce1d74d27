"""Handing letters to the mail server."""

from __future__ import annotations

from functools import partial

from models import mail as letters
from models import notifications, smtp, waitlist
from models.base import db
from models.errors import Conflict, DomainError
from models.insisting import insist
from models.logs import log
from models.mail import EmailSettings, Letter
from models.vault import Unreadable
from tasks import mail
from workers.broker import performs


@performs(mail.deliver)
def deliver() -> None:
    """Deliver the letter that is due, and ask for the next one."""
    letter = Letter.taken()
    if letter is None:  # or another is on its way: whoever sends it asks for the next one
        return
    try:
        _send(letter)
    except Conflict:
        log.warning("a letter was taken from us while we sent it", letter=letter.id)
    mail.ask_again()


def _send(letter: Letter) -> None:
    settings = EmailSettings.current()
    if letter.tries > letters.MOST_TRIES:
        return _give_up(letter, "Whoever tried to send it died of it")
    try:
        settings.required()
        words = letter.subject, letter.reveal("body") or ""
        smtp.send(settings, letters.composed(settings, letter.id, letter.recipient, words))
    except smtp.Refused as error:
        _give_up(letter, str(error))
    except (DomainError, Unreadable, ValueError) as error:  # settings, server, keys: mendable
        with db.atomic():
            if not letter.put_off(str(error)):
                _tell_admins(letter, str(error))
    else:
        insist(partial(_note_arrival, letter))  # else it would be sent once more


def _note_arrival(letter: Letter) -> None:
    with db.atomic():
        if letter.entry_id is not None:
            waitlist.invited(letter.entry_id)  # first: who deletes the entry locks in this order
        letter.arrived()


def _give_up(letter: Letter, error: str) -> None:
    with db.atomic():
        letter.give_up(error)
        _tell_admins(letter, error)


def _tell_admins(letter: Letter, error: str) -> None:
    told = f"Mail to {letter.recipient} was not delivered"
    notifications.notify(notifications.ERROR, told, f"{letter.subject}: {error}")
