"""Attachments: files that people show to agents."""

from __future__ import annotations

from typing import Any

from flask import g, request
from flask.views import MethodView

from models.attachments import LARGEST, SHOWN, Attachment
from models.chats import ChatSession
from models.errors import Malformed
from tasks import attachments
from web import downloads, uploads
from web.resources import Blueprint, PageForm, listed, newest_first, page, visible
from web.schemas import attachments as wire
from web.security import internal, streaming

BYTES = {"type": "string", "format": "binary"}
BINARY: dict[str, Any] = {"content_type": "application/octet-stream", "description": "The file"}
blueprint = Blueprint("attachments", "Files that people show to agents")


@blueprint.route("/attachments/upload")
class Uploads(MethodView):
    @blueprint.arguments(wire.AttachmentForm, location="files")
    @blueprint.response(200, wire.AttachmentView)
    def post(self, form: dict[str, Any]) -> Any:
        """Keep a file of at most 30 MiB; what text is in it is read soon after."""
        chat = chatting(form["session_id"], form["agent_id"]) if form["session_id"] else None
        return attachments.keep(g.principal, form["file"], chat, form["purpose"])


@blueprint.route("/agents/<agent_id>/chat/<chat_id>/upload")
class ChatUploads(MethodView):
    @blueprint.arguments(wire.AttachmentForm, location="files")
    @blueprint.response(200, wire.AttachmentView)
    def post(self, form: dict[str, Any], agent_id: str, chat_id: str) -> Any:
        """Keep a file for a chat."""
        chat = chatting(chat_id, agent_id)
        return attachments.keep(g.principal, form["file"], chat, form["purpose"])


@blueprint.route("/internal/chat/attachments/upload-bytes")
class Bytes(MethodView):
    @internal
    @blueprint.arguments(wire.BytesForm, location="query")
    @blueprint.response(200, wire.AttachmentView)
    def post(self, form: dict[str, Any]) -> Any:
        """Keep the body as a file of a chat, its user's."""
        chat = chatting(form["session_id"], None)
        received = uploads.raw(request, form["filename"], form["mime_type"], LARGEST)
        return attachments.keep(g.principal, received, chat)


@blueprint.route("/chat/sessions/<chat_id>/attachments")
class OfChat(MethodView):
    @blueprint.arguments(PageForm, location="query")
    @blueprint.response(200, wire.Attachments)
    def get(self, form: dict[str, Any], chat_id: str) -> Any:
        """The files of a chat, newest first."""
        chat = visible(ChatSession, chat_id)
        mine = listed(Attachment, wire.AttachmentView).where(Attachment.session_id == chat.id)
        return {"attachments": page(mine, form, newest_first(Attachment))}


@blueprint.route("/attachments/<attachment_id>", "/chat/attachments/<attachment_id>")
class OneAttachment(MethodView):
    @blueprint.response(200, wire.AttachmentView)
    def get(self, attachment_id: str) -> Any:
        """A file, and how far it has been read."""
        return visible(Attachment, attachment_id, *SHOWN)

    @blueprint.response(200, wire.Deleted)
    def delete(self, attachment_id: str) -> Any:
        """Forget a file; messages that it belonged to stay."""
        attachment = visible(Attachment, attachment_id, *SHOWN)
        attachments.delete(attachment)
        return wire.deleted(attachment)


@blueprint.route(
    "/attachments/<attachment_id>/content", "/chat/attachments/<attachment_id>/content"
)
class Content(MethodView):
    @streaming
    @blueprint.response(200, BYTES, **BINARY)
    def get(self, attachment_id: str) -> Any:
        """The bytes of a file, whole or in part (`Range`)."""
        return downloads.content(visible(Attachment, attachment_id, *SHOWN))


@blueprint.route("/attachments/<attachment_id>/text", "/chat/attachments/<attachment_id>/text")
class Text(MethodView):
    @blueprint.response(200, wire.AttachmentText)
    def get(self, attachment_id: str) -> Any:
        """What text was found in a file."""
        return visible(Attachment, attachment_id)


def chatting(chat_id: str, agent_id: str | None) -> ChatSession:
    """A chat that the caller may show a file in; Malformed when it is another agent's."""
    chat = visible(ChatSession, chat_id)
    if agent_id not in (None, chat.agent_id):
        raise Malformed(f"Chat session {chat.id} is with {chat.agent_id}, not with {agent_id}")
    return chat
