"""Documents as text. What reads them trusts nothing: it runs in a process that may die of them.

Sources: ISO 32000 by way of pypdf; ECMA-376 parts 1 and 2 for the little that is read of DOCX and
XLSX here.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from workers.extraction.texts import LONGEST, cut, table

MOST_XML = 64 << 20  # bytes of one part, unpacked
SHEETS = 20
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_COLUMN = re.compile(r"[A-Z]{1,3}")


def pdf(path: Path) -> dict[str, Any]:
    """The text of a PDF's pages, as far as it is wanted, and how many pages there are."""
    from pypdf import PdfReader

    reader = PdfReader(path)
    if reader.is_encrypted and not reader.decrypt(""):
        return {"error": "The file is locked with a password"}
    pages, length = [], 0
    for number, page in enumerate(reader.pages, 1):
        text = page.extract_text().strip()
        if text:
            pages.append(f"[page {number}]\n{text}")
            length += len(text)
        if length > LONGEST:
            break
    return {"text": cut("\n\n".join(pages)), "pages": len(reader.pages)}


def docx(path: Path) -> dict[str, Any]:
    """The paragraphs of a DOCX, headings marked as such."""
    with zipfile.ZipFile(path) as archive:
        paragraphs = _paragraphs(_part(archive, "word/document.xml"))
        return {"text": cut("\n\n".join(filter(None, paragraphs)))}


def xlsx(path: Path) -> dict[str, Any]:
    """The sheets of an XLSX as tables."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        shared = _shared(archive) if "xl/sharedStrings.xml" in names else []
        sheets = sorted(
            (name for name in names if re.fullmatch(r"xl/worksheets/sheet\d+\.xml", name)),
            key=lambda name: (len(name), name),
        )
        tables = [
            f"[sheet {number}]\n{table(_rows(_part(archive, name), shared))}"
            for number, name in enumerate(sheets[:SHEETS], 1)
        ]
    return {"text": cut("\n\n".join(tables))}


def _part(archive: zipfile.ZipFile, name: str) -> ElementTree.Element:
    if archive.getinfo(name).file_size > MOST_XML:
        raise ValueError("a part is too large")
    with archive.open(name) as part:
        return ElementTree.fromstring(part.read(MOST_XML))  # noqa: S314  expat bounds what grows


def _paragraphs(document: ElementTree.Element) -> Iterator[str]:
    for paragraph in document.iter(f"{_WORD}p"):
        style = paragraph.find(f"{_WORD}pPr/{_WORD}pStyle")
        named = (style.get(f"{_WORD}val") or "") if style is not None else ""
        level = re.fullmatch(r"Heading(\d)", named)
        text = "".join(_words(paragraph)).strip()
        yield f"{'#' * int(level[1])} {text}" if level and text else text


def _words(paragraph: ElementTree.Element) -> Iterator[str]:
    for node in paragraph.iter():
        if node.tag == f"{_WORD}t":
            yield node.text or ""
        elif node.tag in {f"{_WORD}tab", f"{_WORD}br"}:
            yield " "


def _shared(archive: zipfile.ZipFile) -> list[str]:
    strings = _part(archive, "xl/sharedStrings.xml")
    return [_joined(entry) for entry in strings.iter(f"{_SHEET}si")]


def _rows(sheet: ElementTree.Element, shared: list[str]) -> Iterator[list[str]]:
    for row in sheet.iter(f"{_SHEET}row"):
        cells: list[str] = []
        for cell in row.iter(f"{_SHEET}c"):
            place = _place(cell.get("r") or "")
            cells += [""] * (min(place, 256) - len(cells)) if place is not None else []
            cells.append(_value(cell, shared))
        yield cells[:256]


def _place(reference: str) -> int | None:
    """The number of a cell's column, from 0."""
    letters = _COLUMN.match(reference)
    if letters is None:
        return None
    number = 0
    for letter in letters[0]:
        number = number * 26 + ord(letter) - 64
    return number - 1


def _value(cell: ElementTree.Element, shared: list[str]) -> str:
    kind = cell.get("t")
    if kind == "inlineStr":
        return _joined(cell)
    value = cell.findtext(f"{_SHEET}v") or ""
    if kind == "s":
        number = int(value)
        return shared[number] if 0 <= number < len(shared) else ""
    return value


def _joined(node: ElementTree.Element) -> str:
    return "".join(text.text or "" for text in node.iter(f"{_SHEET}t"))
