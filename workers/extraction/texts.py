"""Texts as agents read them: laid out, and cut where they would fill a window."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

LONGEST = 100_000  # characters
ROWS = 100
CELL = 1_000  # characters
READ_BYTES = 4 << 20  # of a plain text; the rest would be cut anyway
MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "utf-8-sig"}


def plain(path: Path, mime: str) -> str:
    """The text of a file that is text."""
    with path.open("rb") as file:
        text = decoded(file.read(READ_BYTES))
    if mime == "application/json":
        return cut(_json(text))
    if mime == "text/csv":
        return cut(_csv(text))
    return cut(text)


def decoded(data: bytes) -> str:
    """Bytes as text: UTF-8, or what their mark says; what is neither is replaced."""
    marks = (encoding for mark, encoding in MARKS.items() if data.startswith(mark))
    return data.decode(next(marks, "utf-8"), errors="replace")


def cut(text: str) -> str:
    """At most LONGEST characters, with a note where some are missing."""
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}\n\n[... cut after {LONGEST} characters ...]"


def table(rows: Iterable[Sequence[str]]) -> str:
    """Rows as a Markdown table, the first as its head; at most ROWS below it."""
    kept = list(itertools.islice(rows, ROWS + 2))
    if not kept:
        return ""
    width = max(1, *map(len, kept))
    lines = [_line([*row, *[""] * (width - len(row))]) for row in kept[: ROWS + 1]]
    lines.insert(1, "|" + " --- |" * width)
    if len(kept) > ROWS + 1:
        lines.append(f"\n[... cut after {ROWS} rows ...]")
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    tidy = (" ".join(cell[:CELL].split()).replace("|", "\\|") for cell in cells)
    return "| " + " | ".join(tidy) + " |"


def _json(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text  # what only says that it is JSON, or is too long, is shown as it is


def _csv(text: str) -> str:
    try:
        return table(csv.reader(io.StringIO(text, newline="")))
    except csv.Error:
        return text
