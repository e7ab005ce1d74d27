"""Giving out files that people sent: never as a page of ours, whatever is in them."""

from __future__ import annotations

import itertools
import unicodedata
from urllib.parse import quote

from flask import Response, request
from werkzeug.http import dump_options_header

from models.attachments import Attachment

SHOWN = {"image", "audio"}  # what a page may show; everything else is saved
POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"
UNQUOTED = "!#$&+-.^_`|~"  # beside letters and digits
KEPT = "private, max-age=3600"


def content(attachment: Attachment) -> Response:
    """The bytes of a file, or the part of them that is asked for; their digest is proved.

    Raises NotFound and Unavailable before the answer begins.
    """
    chunks = attachment.blobs.stream(attachment.digest)
    whole = itertools.chain([next(chunks, b"")], chunks)
    response = Response(whole, content_type=attachment.mime_type)
    response.headers["Content-Disposition"] = disposition(attachment)
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Cache-Control"] = KEPT
    response.content_length = attachment.size
    response.set_etag(attachment.digest)
    response.make_conditional(request, accept_ranges=True, complete_length=attachment.size)
    return response


def disposition(attachment: Attachment) -> str:
    """Whether a browser may show the file, and what it is called (RFC 6266, RFC 8187)."""
    how = "inline" if attachment.family in SHOWN else "attachment"
    name = attachment.filename
    if name.isascii():
        return dump_options_header(how, {"filename": name})
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    encoded = f"UTF-8''{quote(name, safe=UNQUOTED)}"
    return dump_options_header(how, {"filename": plain, "filename*": encoded})
