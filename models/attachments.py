"""Attachments: files that people show to agents.

The bytes lie in the blob store under a mark of their own, so that nobody else's file goes with
them; the text that was found in them lies in the row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any

from peewee import BigIntegerField, CharField, IntegerField

from models import media
from models.base import CLOCK, IDENTIFIER, LongText, Moment, Touched, db, id_field, now_ms
from models.blobs import Blobs
from models.config import settings
from models.lifecycle import StateField, Stateful
from models.principals import Principal

UPLOADED, PROCESSING, READY, FAILED = "uploaded", "processing", "ready", "failed"
UNREAD = (UPLOADED, PROCESSING)
CHAT, DOCUMENT = "chat", "document"  # what one was uploaded for
LARGEST = 30 << 20  # bytes of a file
MOST, MOST_BYTES = 2_000, 5 << 30  # files of one owner, and their bytes
LONGEST_NAME = 255
IMAGE_TOKENS = 1_600  # what an image takes of a window, whatever is in it
MOST_TRIES = 3
OVERDUE_MS = 60_000  # longer than reading a file may take
ORPHANED_MS = 3_600_000  # longer than storing one may take
UNUSED_MS = 7 * 24 * 3_600_000  # how long a file waits for the message that it belongs to
GATHERED = 100  # rows that are put away at a time


@dataclass(frozen=True)
class Received:
    """A file as somebody sent it: what they call it, what they say it is, and its bytes."""

    filename: str
    declared: str
    file: IO[bytes]

    @cached_property
    def size(self) -> int:
        return self.file.seek(0, 2)

    @cached_property
    def head(self) -> bytes:
        self.file.seek(0)
        return self.file.read(media.HEAD)

    @cached_property
    def digest(self) -> str:
        self.file.seek(0)
        hashed = hashlib.sha256()
        while chunk := self.file.read(1 << 20):
            hashed.update(chunk)
        return hashed.hexdigest()


class Attachment(Stateful):
    """A file, and what could be read in it."""

    label = "Attachment"

    id = id_field("att_")
    owner_id = CharField(max_length=IDENTIFIER)
    session_id = CharField(max_length=IDENTIFIER, null=True)  # the chat that it was used in
    agent_id = CharField(max_length=IDENTIFIER, null=True)
    purpose = CharField(max_length=16, default=CHAT)
    filename = CharField(max_length=LONGEST_NAME)
    mime_type = CharField(max_length=128)
    size = BigIntegerField()
    digest = CharField(max_length=64)
    state = StateField(
        {
            UPLOADED: {PROCESSING},
            PROCESSING: {PROCESSING, READY, FAILED},
            READY: set(),
            FAILED: set(),
        }
    )
    text = LongText(null=True)
    tokens = IntegerField(null=True)
    pages = IntegerField(null=True)
    error = LongText(null=True)
    tries = IntegerField(default=0)
    created_at = Moment(default=now_ms)
    updated_at = Touched()

    class Meta:
        table_name = "chat_attachments"
        indexes = (
            (("owner_id", "created_at", "id"), False),
            (("session_id", "created_at", "id"), False),
        )

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """One's own; admins see all."""
        query = cls.select()
        return query if principal.is_admin else query.where(cls.owner_id == principal.id)

    @property
    def family(self) -> str:
        return media.family(self.mime_type)

    @property
    def is_image(self) -> bool:
        return self.family == media.IMAGE

    @property
    def blobs(self) -> Blobs:
        """Where its bytes are."""
        return stored(self.id)


SHOWN = [field for name, field in Attachment._meta.fields.items() if name != "text"]


def stored(attachment_id: str) -> Blobs:
    """The store of one attachment's bytes."""
    return Blobs(settings().blob_url, attachment_id)


def held_by(owner_id: str) -> tuple[int, int]:
    """How many files somebody has, and how many bytes they are."""
    text = "SELECT count(*), coalesce(sum(size), 0) FROM chat_attachments WHERE owner_id = %s"
    number, size = db.now(text, (owner_id,)).fetchone()
    return int(number), int(size)


def overdue() -> list[str]:
    """The ids of files that should have been read by now."""
    text = f"""
        SELECT id FROM chat_attachments WHERE state IN ('uploaded', 'processing')
            AND updated_at < {CLOCK} - %s ORDER BY updated_at LIMIT {GATHERED}
    """  # noqa: S608
    return [key for (key,) in db.now(text, (OVERDUE_MS,)).fetchall()]


def bind(owner_id: str, session_id: str, agent_id: str, wanted: Sequence[str]) -> set[str]:
    """Make files that no chat has yet, and that are their owner's, part of this one.

    Gives the ids of those that belong to it now; the others are somebody else's, or nobody's.
    """
    text = """
        UPDATE chat_attachments SET session_id = %s, agent_id = %s
        WHERE id = ANY(%s) AND owner_id = %s AND (session_id IS NULL OR session_id = %s)
        RETURNING id
    """
    told = (session_id, agent_id, list(wanted), owner_id, session_id)
    return {key for (key,) in db.now(text, told).fetchall()}


def take_out(which: str, told: Sequence[Any]) -> list[tuple[str, str]]:
    """Delete some of the rows that `which` says; gives their ids and what names their bytes.

    They are looked at under their locks: a message may be taking one at this moment.
    """
    text = f"""
        DELETE FROM chat_attachments WHERE id = ANY(ARRAY(
            SELECT id FROM chat_attachments WHERE {which} LIMIT {GATHERED} FOR UPDATE))
        RETURNING id, digest
    """  # noqa: S608
    return [(key, digest) for key, digest in db.now(text, told).fetchall()]


# No message came that they belong to.
UNUSED = f"session_id IS NULL AND purpose = 'chat' AND created_at < {CLOCK} - %s"


def among(wanted: Sequence[str]) -> Sequence[Attachment]:
    """Those of these files that are there, with their texts."""
    return Attachment.read("SELECT * FROM chat_attachments WHERE id = ANY(%s)", list(wanted))
