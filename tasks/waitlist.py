"""The waitlist: inviting people, and what an invitation is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models import audit, mail
from models.accounts import User
from models.base import db
from models.config import settings
from models.errors import Conflict
from models.mail import EmailSettings, Letter
from models.principals import Principal
from models.waitlist import REGISTERED, Entry
from tasks import accounts
from tasks import mail as letters

SUBJECT = "Your invitation to DjinnBot"
TEXT = """\
You asked for an account, and here it is: choose a password at

{link}

The link works once, and for seven days. If you did not ask for it, do nothing."""


def invite(principal: Principal, entry_id: str) -> Letter:
    """Send somebody the link by which they register; gives the letter.

    Asking while it is still on its way gives the same letter; asking later sends another, whose
    link is then the one that works. Malformed without a mail server, Conflict for who has come.
    """
    EmailSettings.current().required()
    with db.atomic():
        entry = Entry.locked(entry_id)
        if entry.state == REGISTERED:
            raise Conflict(f"{entry.email} has registered already")
        under_way = mail.open_letter_to(entry.id)
        if under_way is not None:
            return under_way
        link = f"{settings().frontend_url}/register#token={entry.draw_token()}"
        letter = letters.post(entry.email, SUBJECT, TEXT.format(link=link), entry.id)
        audit.record(principal, "waitlist.invited", entry.id, email=entry.email)
        return letter


def register(token: str, form: Mapping[str, Any]) -> User:
    """Make the account that an invitation is for, and use the invitation up.

    Malformed when it is worth nothing, or not any more; Conflict when its address has an account.
    """
    email = Entry.bearing(token).email
    user = accounts.prepared({**form, "email": email, "is_admin": False})
    with accounts.claiming(), db.atomic():
        Entry.bearing(token)  # of two who use it at once the second finds it used
        accounts.enter(user.principal(), user)
    return user


def remove(principal: Principal, entry: Entry) -> None:
    """Take somebody off the list; their invitation opens nothing any more."""
    with db.atomic():
        if entry.delete_instance():
            audit.record(principal, "waitlist.deleted", entry.id, email=entry.email)
