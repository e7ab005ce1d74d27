"""Pictures in what a model is asked: fetched when sent, left out where nobody sees them."""

from __future__ import annotations

import base64
from typing import Any

from models.attachments import stored
from models.blobs import Damaged
from models.errors import NotFound
from workers.llm.base import Image
from workers.llm.concessions import Request

GONE = "[the picture {name} is not there any more]"
UNSEEN = "[a picture that this model cannot see]"


def encoded(image: Image) -> str | None:
    """The bytes in base64; None where they are gone. Raises Unavailable when the store is away."""
    try:
        return base64.b64encode(stored(image.attachment_id).get(image.digest)).decode()
    except (NotFound, Damaged):
        return None


def missing(image: Image) -> str:
    """What stands in place of a picture that is gone."""
    return GONE.format(name=image.name)


def blinded(request: Request, _complaint: str) -> Request | None:
    """A concession that leaves the pictures out; None where there are none."""
    messages = [_without(message) for message in request["messages"]]
    return None if messages == request["messages"] else {**request, "messages": messages}


def _without(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    blocks = [_text(block) if _pictures(block) else block for block in content]
    return {**message, "content": blocks}


def _pictures(block: dict[str, Any]) -> bool:
    return block.get("type") in {"image", "image_url"}


def _text(block: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in block.items() if key == "cache_control"}
    return {"type": "text", "text": UNSEEN, **kept}
