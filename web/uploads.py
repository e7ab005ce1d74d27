"""Reading an uploaded file: bounded while it streams, in memory, never on a disk.

What people upload here may be credentials, and the usual way of reading spools to /tmp.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

from flask import Request
from gunicorn.http.errors import ParseException
from marshmallow import Schema
from werkzeug.exceptions import UnsupportedMediaType
from werkzeug.formparser import FormDataParser

from models.errors import Malformed

MULTIPART = "multipart/form-data"
ENVELOPE = 64 * 1024  # bytes for the other parts and the lines between them
MOST_PARTS = 20


def read(request: Request, schema: Schema) -> dict[str, Any]:
    """The texts and the contents of the files of a multipart body, by name.

    The schema says how large the body may be: `largest` is the bytes of its files.
    """
    if request.mimetype != MULTIPART:
        raise UnsupportedMediaType(f"Send {MULTIPART}, not {request.mimetype or 'an untyped body'}")
    request.max_content_length = getattr(schema, "largest", 0) + ENVELOPE
    parser = FormDataParser(
        lambda *_args, **_options: BytesIO(),
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
    return {**texts, **{name: file.read() for name, file in files.items()}}
