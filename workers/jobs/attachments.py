"""Reading files that people sent, and deleting the bytes of those that are gone."""

from __future__ import annotations

from models.attachments import Attachment, stored
from tasks import attachments
from workers.broker import performs
from workers.extraction.reading import settle


@performs(attachments.extract)
def extract(attachment_id: str) -> None:
    """Read a file and write down its text; who reads it at the same time comes to the same."""
    attachment = Attachment.find(attachment_id)
    if attachment is not None:
        settle(attachment)


@performs(attachments.forget)
def forget(attachment_id: str, digest: str) -> None:
    """Delete the bytes, unless a row names them: its file was stored after all."""
    if Attachment.find(attachment_id) is None:
        stored(attachment_id).delete(digest)
