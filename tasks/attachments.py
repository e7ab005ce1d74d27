"""Keeping files that people show to agents, and putting them away."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from models import attachments, media
from models.attachments import Attachment, Received
from models.base import clean, database_ms, db
from models.chats import ChatSession
from models.errors import Conflict, Malformed, TooLarge
from models.principals import Principal
from models.runs import Run
from tasks import task

UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")

LONGEST_ENDING = 16  # characters of a name that say what it is


@task(queue="media")
def extract(attachment_id: str) -> None:
    """Read what text is in a file."""


@task(queue="media")
def forget(attachment_id: str, digest: str) -> None:
    """Delete the bytes of a file that has no row (any more)."""


def keep(
    principal: Principal,
    received: Received,
    chat: ChatSession | None = None,
    purpose: str = attachments.CHAT,
) -> Attachment:
    """Store a file and have it read; raises TooLarge, Unrecognised, Conflict when there is no room.

    In a chat it belongs to the chat's user. Before the bytes are stored it is asked that they be
    forgotten if no row comes to name them.
    """
    owner_id = chat.user_id if chat else principal.id
    attachment = _described(owner_id, received, chat, purpose)
    with db.atomic():
        _refuse_too_many(owner_id, received.size)
        orphaned = database_ms() + attachments.ORPHANED_MS
        forget.enqueue_at(orphaned, attachment.id, attachment.digest)
    attachment.blobs.put_file(received.file, attachment.digest)
    with db.atomic():
        if chat is not None and Run.locked(chat.id) is None:
            raise ChatSession.missing(chat.id)
        attachment.add()
        extract.enqueue(attachment.id)
    return attachment


def bind(chat: ChatSession, wanted: Sequence[str]) -> None:
    """Make files part of a chat, in the transaction in which they are first used there.

    Malformed for one that is in another chat, or not its user's.
    """
    strange = set(wanted) - attachments.bind(chat.user_id, chat.id, chat.agent_id, wanted)
    if strange:
        raise Malformed(f"Attachment {min(strange)} does not belong to this chat")


def delete(attachment: Attachment) -> None:
    """Forget a file: its row now, its bytes soon."""
    with db.atomic():
        _put_away("id = %s", attachment.id)


def drop(session_ids: Sequence[str]) -> None:
    """Forget the files of chats, in the transaction that deletes these."""
    while _put_away("session_id = ANY(%s)", list(session_ids)):
        pass


def sweep() -> None:
    """Have read what should have been by now, and forget what nobody used."""
    with db.atomic():
        for attachment_id in attachments.overdue():
            extract.enqueue_once(attachment_id, attachment_id)
    with db.atomic():
        _put_away(attachments.UNUSED, attachments.UNUSED_MS)


def _put_away(which: str, *told: Any) -> int:
    """Delete rows and ask that their bytes be forgotten; gives how many there were."""
    gone = attachments.take_out(which, told)
    for attachment_id, digest in gone:
        forget.enqueue_twice(attachment_id, digest)
    return len(gone)


def _described(
    owner_id: str, received: Received, chat: ChatSession | None, purpose: str
) -> Attachment:
    name = named(received.filename)
    if received.size > attachments.LARGEST:
        raise TooLarge(f"A file may have {attachments.LARGEST >> 20} MiB")
    if not received.size:
        raise Malformed(f"{name} is empty")
    mime = media.recognised(received.head, name, received.declared)
    image = media.family(mime) == media.IMAGE
    return Attachment(
        id=Attachment.id.default(),
        owner_id=owner_id,
        session_id=chat.id if chat else None,
        agent_id=chat.agent_id if chat else None,
        purpose=purpose,
        filename=name,
        mime_type=mime,
        size=received.size,
        digest=received.digest,
        tokens=attachments.IMAGE_TOKENS if image else None,
    )


def named(filename: str) -> str:
    """What a file is called by those who see it; it is never the name of a file of ours."""
    told = UNSAFE.sub("", clean(filename)).replace("\\", "/").rpartition("/")[2].strip()
    if told in {"", ".", ".."}:
        raise Malformed("The file has no name")
    if len(told) <= attachments.LONGEST_NAME:
        return told
    stem, dot, suffix = told.rpartition(".")
    ending = f"{dot}{suffix}"[:LONGEST_ENDING] if stem else ""
    return told[: attachments.LONGEST_NAME - len(ending)] + ending


def _refuse_too_many(owner_id: str, size: int) -> None:
    number, held = attachments.held_by(owner_id)
    if number >= attachments.MOST or held + size > attachments.MOST_BYTES:
        raise Conflict(
            f"You keep {number} files of {held >> 20} MiB already: delete what is not needed"
        )
