"""Reading an uploaded file: bounded while it streams, in memory, never on a disk.

What people upload here may be credentials, and the usual way of reading spools to /tmp. Only where
a schema says `spooled`, because its files are large and no secrets, the end of one waits there.
"""

from __future__ import annotations

import shutil
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from flask import Request, Response, after_this_request
from gunicorn.http.errors import ParseException
from marshmallow import Schema
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import UnsupportedMediaType
from werkzeug.formparser import FormDataParser

from models.attachments import Received
from models.errors import Malformed

MULTIPART = "multipart/form-data"
ENVELOPE = 64 * 1024  # bytes for the other parts and the lines between them
MOST_PARTS = 20
IN_MEMORY = 1 << 20  # bytes of a spooled file


def read(request: Request, schema: Schema) -> dict[str, Any]:
    """The texts and the contents of the files of a multipart body, by name.

    The schema says how large the body may be: `largest` is the bytes of its files.
    """
    if request.mimetype != MULTIPART:
        raise UnsupportedMediaType(f"Send {MULTIPART}, not {request.mimetype or 'an untyped body'}")
    request.max_content_length = getattr(schema, "largest", 0) + ENVELOPE
    spooled = getattr(schema, "spooled", False)
    parser = FormDataParser(
        lambda *_args, **_options: _spool() if spooled else BytesIO(),
        max_form_memory_size=ENVELOPE,
        max_form_parts=MOST_PARTS,
        silent=False,
    )
    try:
        _, texts, files = parser.parse(
            request.stream, MULTIPART, request.content_length, request.mimetype_params
        )
    except (OSError, ValueError, ParseException) as error:
        raise Malformed("The form did not arrive whole") from error
    return {
        **texts,
        **{name: _received(file) if spooled else file.read() for name, file in files.items()},
    }


def raw(request: Request, name: str, declared: str, largest: int) -> Received:
    """A body that is a file and nothing else, at most `largest` bytes of it."""
    request.max_content_length = largest
    spool = _spool()
    try:
        shutil.copyfileobj(request.stream, spool)
    except (OSError, ValueError, ParseException) as error:
        raise Malformed("The file did not arrive whole") from error
    return Received(name, declared, spool)


def _received(file: FileStorage) -> Received:
    return Received(file.filename or "", file.mimetype, file.stream)


def _spool() -> IO[bytes]:
    """A file that is gone with the request."""
    spool = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115

    @after_this_request
    def _close(response: Response) -> Response:
        spool.close()
        return response

    return spool
