"""What becomes of an onboarding when nobody waits for it any more."""

from __future__ import annotations

from models.base import database_ms, db
from models.chats import ChatMessage, ChatSession
from models.errors import NotFound
from tasks import chats, founding
from workers.broker import performs

LATER_MS = 2_000  # how soon is looked again whether an agent has said its last words


@performs(founding.retire)
def retire(chat_id: str) -> None:
    """End a chat that nobody follows any more, when no answer is under way in it."""
    chat = ChatSession.find(chat_id)
    if chat is None or not chat.active:
        return
    if not ChatMessage.open_in(chat_id):
        chats.end(chat)
        return
    with db.atomic():
        founding.retire.enqueue_at(database_ms() + LATER_MS, chat_id)


@performs(founding.plan)
def plan(session_id: str) -> None:
    """Begin with the plan, or look again later; of a session that was deleted there is none."""
    try:
        founding.planned(session_id)
    except NotFound:
        return
