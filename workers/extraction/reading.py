"""Bringing a file to its end: ready with its text, or failed with the reason."""

from __future__ import annotations

import threading
from typing import Any

from models import attachments
from models.attachments import Attachment
from models.base import db
from models.errors import Conflict, NotFound, Unavailable
from workers.extraction import Unreadable, extract

AT_ONCE = threading.BoundedSemaphore(2)  # in a process, whose threads are more than its memory


def settle(attachment: Attachment) -> Attachment:
    """The attachment as it is once it has been read, by whomever; as it was when it is deleted."""
    if attachment.state not in attachments.UNREAD:
        return attachment
    with AT_ONCE:
        return _settled(_anew(attachment))


def _settled(attachment: Attachment) -> Attachment:
    """The try is counted before the work: what takes its worker down is not read for ever."""
    if attachment.state not in attachments.UNREAD:
        return attachment
    try:
        attachment.move(attachments.PROCESSING, tries=attachment.tries + 1)
        if attachment.tries > attachments.MOST_TRIES:
            raise Unreadable("Whoever tried to read the file died of it")
        found = extract(attachment)
    except (Unreadable, NotFound) as error:
        return _written(attachment, attachments.FAILED, error=str(error))
    except Unavailable:  # the store is away: that is not the file's fault
        attachment.put(tries=attachment.tries - 1)
        raise
    except Conflict:
        return _anew(attachment)
    tokens = attachment.tokens if found.text is None else max(1, len(found.text) // 4)
    told = {"text": found.text, "tokens": tokens, "pages": found.pages}
    return _written(attachment, attachments.READY, **told)


def _written(attachment: Attachment, state: str, **found: Any) -> Attachment:
    try:
        with db.atomic():
            return attachment.move(state, **found)
    except Conflict:
        return _anew(attachment)


def _anew(attachment: Attachment) -> Attachment:
    """The row as others have left it; its own copy where it is gone."""
    return Attachment.find(attachment.id) or attachment
