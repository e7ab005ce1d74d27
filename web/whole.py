"""Large answers: put together from lists that are JSON already, and not sent to who has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

import orjson
from flask import Response, request

from models.copies import Copy
from web.bodies import JSON

UNCHANGED = "What the caller named in If-None-Match still holds"
KEEPING = "private, no-cache"  # only for this caller, who asks each time whether it still holds


def whole(few: Mapping[str, Any], lists: Mapping[str, Copy]) -> Response:
    """One object of the fields in `few` and long lists; 304 to who has this very one."""
    beginning = orjson.dumps(few)
    tag = _tag(beginning, lists)
    if request.if_none_match.contains(tag):
        response = Response(status=304)
    else:
        response = Response(_pieces(beginning, lists), mimetype=JSON)
        response.content_length = _length(beginning, lists)
    response.set_etag(tag)
    response.headers["Cache-Control"] = KEEPING
    return response


def _tag(beginning: bytes, lists: Mapping[str, Copy]) -> str:
    told = blake2b(beginning, digest_size=16)
    for name, copy in lists.items():
        told.update(f" {name} {copy.version}".encode())
    return told.hexdigest()


def _pieces(beginning: bytes, lists: Mapping[str, Copy]) -> Iterator[bytes]:
    yield beginning.removesuffix(b"}")
    for name, copy in lists.items():
        yield b',"%b":' % name.encode()
        yield from copy.pieces()
    yield b"}"


def _length(beginning: bytes, lists: Mapping[str, Copy]) -> int:
    named = sum(len(b',"":') + len(name) + copy.length for name, copy in lists.items())
    return len(beginning) + named
