"""Kinds of files: what one is, its own first bytes say; names and headers may only agree.

Sources: the formats' own specifications; the kinds are those that chats take.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from models.errors import Unrecognised

HEAD = 8_192  # bytes that are looked at
IMAGE, AUDIO, PDF, OFFICE, TEXT = "image", "audio", "pdf", "office", "text"

SIGNATURES: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("image/jpeg", re.compile(rb"\xff\xd8\xff")),
    ("image/png", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("image/gif", re.compile(rb"GIF8[79]a")),
    ("image/webp", re.compile(rb"RIFF....WEBP", re.DOTALL)),
    ("audio/wav", re.compile(rb"RIFF....WAVE", re.DOTALL)),
    ("audio/ogg", re.compile(rb"OggS")),
    ("audio/webm", re.compile(rb"\x1aE\xdf\xa3")),
    ("audio/mp4", re.compile(rb"....ftyp(M4[ABV] |mp4|isom|iso[2-9]|avc1|dash|MSNV)", re.DOTALL)),
    ("audio/flac", re.compile(rb"fLaC")),
    ("audio/amr", re.compile(rb"#!AMR")),
    ("audio/aac", re.compile(rb"\xff[\xf0\xf1\xf8\xf9]")),  # ADTS
    ("audio/mpeg", re.compile(rb"ID3|\xff[\xe2-\xe7\xf2-\xf7\xfa\xfb]")),
    ("application/pdf", re.compile(rb"%PDF-")),
)
OFFICE_FILE = re.compile(rb"PK\x03\x04.{22}(\[Content_Types\]\.xml|_rels/|word/|xl/)", re.DOTALL)
WIDE = (b"\xff\xfe", b"\xfe\xff")  # the marks of UTF-16
UNPRINTABLE = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
OFFICES: Mapping[str, str] = {".docx": DOCX, ".xlsx": XLSX}
TEXTS: Mapping[str, str] = {
    ".md": "text/markdown",
    ".csv": "text/csv",
    ".json": "application/json",
    ".py": "text/x-python",
    ".js": "text/javascript",
    ".ts": "text/typescript",
    ".html": "text/html",
    ".htm": "text/html",
    ".css": "text/css",
    ".xml": "application/xml",
    ".svg": "application/xml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
_NAMED: Mapping[str, str] = {
    **dict.fromkeys((".jpg", ".jpeg", ".png", ".gif", ".webp"), IMAGE),
    **dict.fromkeys((".ogg", ".opus", ".mp3", ".m4a", ".wav", ".webm", ".aac", ".flac"), AUDIO),
    ".amr": AUDIO,
    ".pdf": PDF,
    ".txt": TEXT,
    **dict.fromkeys(OFFICES, OFFICE),
    **dict.fromkeys(TEXTS, TEXT),
}
_DECLARED: Mapping[str, str] = {
    **dict.fromkeys(("image/jpeg", "image/png", "image/gif", "image/webp"), IMAGE),
    "application/pdf": PDF,
    "text/plain": TEXT,
    DOCX: OFFICE,
    XLSX: OFFICE,
    **dict.fromkeys(TEXTS.values(), TEXT),
}


def recognised(head: bytes, filename: str, declared: str = "") -> str:
    """The MIME type of a file that begins so; Unrecognised for what is not taken.

    So is a file whose name or declared type speak of another kind than its bytes: somebody is
    mistaken, or wants somebody else to be.
    """
    suffix = PurePosixPath(filename).suffix.lower()
    found = _of(head, suffix)
    if found is None:
        raise Unrecognised(f"{filename} is of no kind that is taken: {TAKEN}")
    kind = family(found)
    for told, claimed in ((suffix, _NAMED.get(suffix)), (declared, _DECLARED.get(declared))):
        if claimed not in (None, kind):
            raise Unrecognised(f"{filename} is not what {told} says: its content is {found}")
    return found


def family(mime: str) -> str:
    """What can be done with files of a type: image, audio, pdf, office or text."""
    if mime == "application/pdf":
        return PDF
    if mime in OFFICES.values():
        return OFFICE
    kind = mime.partition("/")[0]
    return kind if kind in {IMAGE, AUDIO} else TEXT


def _of(head: bytes, suffix: str) -> str | None:
    if head.startswith(WIDE):
        return TEXTS.get(suffix, "text/plain")
    for mime, signature in SIGNATURES:
        if signature.match(head):
            return mime
    if OFFICE_FILE.match(head):
        return OFFICES.get(suffix)
    return None if UNPRINTABLE.search(head) else TEXTS.get(suffix, "text/plain")


TAKEN = "JPEG, PNG, GIF, WebP, PDF, DOCX, XLSX, audio, and text"
