"""Attachments on the wire."""

from __future__ import annotations

from typing import Any

from flask_smorest.fields import Upload
from marshmallow import ValidationError, fields, validate

from models.attachments import CHAT, DOCUMENT, LARGEST, Attachment, Received
from models.base import IDENTIFIER
from web.bodies import Form, Text
from web.schemas.base import derived, made

NAME = {"example": "minutes.pdf"}
MIME = {"example": "application/pdf"}
_SHOWN = {
    **derived(Attachment, "id"),
    "filename": fields.String(metadata=NAME),
    "mimeType": fields.String(attribute="mime_type", metadata=MIME),
}
AttachmentView = made(
    "Attachment",
    {
        **_SHOWN,
        **derived(Attachment, sizeBytes="size", processingStatus="state"),
        **derived(Attachment, estimatedTokens="tokens", createdAt="created_at"),
        "isImage": fields.Boolean(attribute="is_image"),
        "vaultIngestStatus": fields.String(dump_default=None, allow_none=True),
        "vaultDocSlug": fields.String(dump_default=None, allow_none=True),
        "vaultChunkCount": fields.Integer(dump_default=None, allow_none=True),
        **derived(Attachment, pdfPageCount="pages", error="error"),
    },
)
AttachmentText = made(
    "AttachmentText",
    {**_SHOWN, **derived(Attachment, extractedText="text", estimatedTokens="tokens")},
)
Attachments = made("Attachments", {"attachments": fields.List(fields.Nested(AttachmentView))})
Deleted = made(
    "AttachmentDeleted",
    {"status": fields.String(metadata={"example": "deleted"}), "id": fields.String()},
)


class File(Upload):
    """A file as it was sent."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Received:
        if not isinstance(value, Received):
            raise ValidationError("Not a file.")
        return value


class AttachmentForm(Form):
    """A file, and where it belongs; without a chat it goes with the first message that names it."""

    largest = LARGEST
    spooled = True

    file = File(required=True)
    session_id = fields.String(load_default=None, validate=validate.Length(1, IDENTIFIER))
    agent_id = fields.String(load_default=None, validate=validate.Length(1, IDENTIFIER))
    purpose = fields.String(load_default=CHAT, validate=validate.OneOf([CHAT, DOCUMENT]))


class BytesForm(Form):
    """What the engine says of a body that is a file and nothing else."""

    session_id = Text(required=True, validate=validate.Length(1, IDENTIFIER))
    filename = Text(required=True)
    mime_type = fields.String(load_default="")


def deleted(attachment: Attachment) -> dict[str, Any]:
    """What a deletion is answered with."""
    return {"status": "deleted", "id": attachment.id}
