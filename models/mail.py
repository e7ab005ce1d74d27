"""Mail: how it leaves this house, and the letters that are on their way.

A letter is sent at least once: it is claimed before and marked after, and whoever dies in between
leaves it to the next. Every try has the same text and the same Message-ID, by which a mailbox
knows it again.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from html import escape
from typing import Self

from peewee import BooleanField, CharField, ForeignKeyField, IntegerField

from models.accounts import LONGEST_EMAIL, LONGEST_NAME
from models.base import LongText, Moment, database_ms, db, id_field, now_ms
from models.errors import Malformed
from models.lifecycle import StateField, Stateful
from models.vault import Sealed, Vaulted
from models.waitlist import Entry

WAITING, SENDING, SENT, FAILED = "waiting", "sending", "sent", "failed"
OPEN = (WAITING, SENDING)
SENDER = 0x646A_6D61  # the advisory lock of whoever takes a letter
LEASE_MS = 120_000  # longer than any conversation with a mail server may take
FIRST_WAIT_MS, LONGEST_WAIT_MS, MOST_TRIES = 30_000, 3_600_000, 12  # about six hours
KEPT_MS = 30 * 24 * 3_600_000
LONGEST_SUBJECT = 256
_ATOM = r"[^\s@<>()\[\],;:\\\"\x00-\x20\x7f-\xa0\ufffd]+"
_ADDRESS = re.compile(rf"{_ATOM}@{_ATOM}")


class EmailSettings(Vaulted):
    """The mail server that takes our letters; there is one row at most."""

    label = "Email settings"

    id = CharField(max_length=16, primary_key=True, default="default")
    smtp_host = CharField(max_length=256, default="")
    smtp_port = IntegerField(default=587)  # 465 speaks TLS from the first byte
    smtp_username = CharField(max_length=LONGEST_EMAIL, default="")
    smtp_password = Sealed(null=True)
    smtp_use_tls = BooleanField(default=True)  # STARTTLS, and nothing is said without it
    from_email = CharField(max_length=LONGEST_EMAIL, default="")
    from_name = CharField(max_length=LONGEST_NAME, default="DjinnBot")
    updated_at = Moment(default=now_ms)

    class Meta:
        table_name = "email_settings"

    @classmethod
    def current(cls) -> Self:
        """What was saved, or what it is before anything was."""
        return cls.find("default") or cls()

    @property
    def configured(self) -> bool:
        return bool(self.smtp_host and self.from_email)

    def required(self) -> Self:
        """The same; Malformed where mail cannot be sent yet."""
        if not self.configured:
            raise Malformed("Mail is not configured: save a host and a sender first")
        return self


class Letter(Stateful, Vaulted):
    """A letter on its way; its text is gone once it has arrived, for there are links in it."""

    label = "Letter"
    entry_id: str | None

    id = id_field("mail_")
    state = StateField(
        {
            WAITING: {SENDING},
            SENDING: {SENDING, WAITING, SENT, FAILED},  # again, when whoever sent it went silent
            SENT: set(),
            FAILED: set(),
        }
    )
    recipient = CharField(max_length=LONGEST_EMAIL)
    subject = CharField(max_length=LONGEST_SUBJECT)
    body = Sealed(null=True)
    entry = ForeignKeyField(Entry, null=True, on_delete="CASCADE", index=True)  # whom it invites
    tries = IntegerField(default=0)
    due_at = Moment(default=0)  # when it may be claimed
    error = LongText(null=True)
    created_at = Moment(default=now_ms)
    updated_at = Moment(default=now_ms, index=True)

    class Meta:
        table_name = "letters"
        indexes = ((("state", "due_at"), False),)

    @classmethod
    def due(cls) -> Self | None:
        """The letter that has waited longest of those that may be claimed now.

        None while another one is being sent: a mail server that says nothing keeps one of us.
        """
        now = database_ms()
        if cls.select().where(cls.state == SENDING, cls.due_at > now).exists():
            return None
        found = cls.select().where(cls.state.in_(OPEN), cls.due_at <= now)
        letter: Self | None = found.order_by(cls.due_at, cls.created_at, cls.id).first()
        return letter

    @classmethod
    def taken(cls) -> Self | None:
        """The letter that is due, claimed; None where there is nothing to do now."""
        with db.atomic():
            db.execute_sql("SELECT pg_advisory_xact_lock(%s)", (SENDER,))
            letter = cls.due()
            return letter.claim() if letter is not None else None

    def claim(self) -> Self:
        """Take it, for a while; Conflict when somebody else has."""
        guard = {"tries": self.tries, "due_at": self.due_at}
        self.move(SENDING, guard, tries=self.tries + 1, due_at=database_ms() + LEASE_MS)
        return self

    def arrived(self) -> None:
        """The mail server has taken it; Conflict when it was taken from us meanwhile."""
        self.move(SENT, {"tries": self.tries}, body=None, error=None)

    def put_off(self, error: str) -> bool:
        """Wait, longer each time, and try again; False when that was the last time."""
        if self.tries >= MOST_TRIES:
            self.give_up(error)
            return False
        wait = min(FIRST_WAIT_MS * 2 ** (self.tries - 1), LONGEST_WAIT_MS)
        self.move(WAITING, {"tries": self.tries}, error=error, due_at=database_ms() + wait)
        return True

    def give_up(self, error: str) -> None:
        """It will not be tried again."""
        self.move(FAILED, {"tries": self.tries}, body=None, error=error)


def open_letter_to(entry_id: str) -> Letter | None:
    """The invitation to somebody that is still on its way."""
    mine = Letter.select().where(Letter.entry == entry_id, Letter.state.in_(OPEN))
    letter: Letter | None = mine.first()
    return letter


def forget_old() -> int:
    """Delete letters that have long been over."""
    over = Letter.state.in_([SENT, FAILED]) & (Letter.updated_at < now_ms() - KEPT_MS)
    return int(Letter.delete().where(over).execute())


def is_address(text: str) -> bool:
    """Whether this could be somebody's address: one @, nothing that headers read otherwise."""
    if len(text) > LONGEST_EMAIL or not _ADDRESS.fullmatch(text):
        return False
    try:
        return Address(addr_spec=text).addr_spec == text
    except (ValueError, MessageError):
        return False


def domain(address: str) -> str:
    return address.rpartition("@")[2]


def composed(
    settings: EmailSettings, key: str, recipient: str, words: tuple[str, str]
) -> EmailMessage:
    """The message with this subject and text; `key` makes it the same message each time.

    Paragraphs are parted by blank lines; one that is an address of the web becomes a link.
    """
    subject, text = words
    message = EmailMessage()
    message["From"] = Address(settings.from_name, addr_spec=settings.from_email)
    message["To"] = Address(addr_spec=recipient)
    message["Subject"] = subject
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = f"<{key}@{domain(settings.from_email)}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: holidays need not answer
    message.set_content(text)
    message.add_alternative("".join(map(_paragraph, text.split("\n\n"))), subtype="html")
    return message


def _paragraph(text: str) -> str:
    shown = escape(text.strip())
    is_link = shown.startswith(("http://", "https://")) and " " not in shown
    return f'<p><a href="{shown}">{shown}</a></p>\n' if is_link else f"<p>{shown}</p>\n"
