"""Reading files that somebody sent, hostile ones among them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfWriter
from pypdf.generic import DictionaryObject, NameObject, StreamObject

from models import attachments, media
from models.attachments import Attachment, stored
from models.base import db
from models.errors import NotFound
from workers import extraction
from workers.extraction import Unreadable, extract, texts
from workers.extraction.reading import settle

pytestmark = pytest.mark.slow  # real processes


@pytest.fixture
def file(database: str, session_settings: Any) -> Callable[..., Attachment]:
    """Stores a file as if somebody had sent it."""

    def make(content: bytes, mime: str = "text/plain") -> Attachment:
        key = Attachment.id.default()
        row = Attachment(
            id=key,
            owner_id="usr_owner",
            filename="file",
            mime_type=mime,
            size=len(content),
            digest=stored(key).put(content),
        )
        with db.atomic():
            return row.add()

    return make


def pdf(*pages: str) -> bytes:
    writer, out = PdfWriter(), io.BytesIO()
    font = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}
    named = DictionaryObject({NameObject(k): NameObject(v) for k, v in font.items()})
    for text in pages:
        page = writer.add_blank_page(300, 300)
        fonts = DictionaryObject({NameObject("/F1"): named})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        drawn = StreamObject()
        drawn.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode())
        page[NameObject("/Contents")] = writer._add_object(drawn)
    writer.write(out)
    return out.getvalue()


def zipped(**parts: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        for name, text in parts.items():
            archive.writestr(name, text)
    return out.getvalue()


WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
SHEET = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def test_texts_are_laid_out_for_whoever_reads_them(file: Callable[..., Attachment]):
    assert extract(file("Grüße".encode())).text == "Grüße"
    assert extract(file("Grüße".encode("utf-16"))).text == "Grüße"
    assert extract(file(b"\xffx")).text == "\ufffdx"
    assert extract(file(b'{"a":[1]}', "application/json")).text == '{\n  "a": [\n    1\n  ]\n}'
    assert extract(file(b"not json", "application/json")).text == "not json"
    table = extract(file(b'a,b\n1,"x|y"\n3\n', "text/csv")).text
    assert table == "| a | b |\n| --- | --- |\n| 1 | x\\|y |\n| 3 |  |"


def test_long_texts_are_cut_and_say_so(file: Callable[..., Attachment]):
    text = extract(file(b"x" * 5_000_000)).text or ""
    assert len(text) < 100_100
    assert text.endswith("[... cut after 100000 characters ...]")
    rows = extract(file(b"a,b\n" * 500, "text/csv")).text or ""
    assert rows.count("\n| a | b |") == 100
    assert rows.endswith("[... cut after 100 rows ...]")


def test_a_pdf_is_read_page_by_page(file: Callable[..., Attachment]):
    found = extract(file(pdf("first words", "second words"), "application/pdf"))
    assert found.pages == 2
    assert found.text == "[page 1]\nfirst words\n\n[page 2]\nsecond words"


def test_office_files_are_read(file: Callable[..., Attachment]):
    words = (
        f"<w:document {WORD}><w:p><w:pPr><w:pStyle w:val='Heading2'/></w:pPr>"
        "<w:r><w:t>Plan</w:t></w:r></w:p><w:p><w:r><w:t>one</w:t><w:tab/><w:t>two</w:t></w:r></w:p>"
        "</w:document>"
    )
    assert extract(file(zipped(**{"word/document.xml": words}), media.DOCX)).text == (
        "## Plan\n\none two"
    )
    cells = (
        f"<worksheet {SHEET}><row><c r='A1' t='s'><v>0</v></c><c r='C1'><v>7</v></c></row>"
        "<row><c r='B2' t='inlineStr'><is><t>x</t></is></c></row></worksheet>"
    )
    shared = f"<sst {SHEET}><si><t>name</t></si></sst>"
    book = zipped(**{"xl/worksheets/sheet1.xml": cells, "xl/sharedStrings.xml": shared})
    assert extract(file(book, media.XLSX)).text == (
        "[sheet 1]\n| name |  | 7 |\n| --- | --- | --- |\n|  | x |  |"
    )


BOMB = (
    "<!DOCTYPE x ["
    + '<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(12))
    + "]><x>&m;</x>"
)


@pytest.mark.parametrize(
    ("content", "mime"),
    [
        (b"%PDF-1.7\nnothing else", "application/pdf"),
        (pdf("x")[:-60], "application/pdf"),
        (zipped(**{"word/document.xml": BOMB}), media.DOCX),
        (zipped(**{"word/document.xml": "<x>" + "a" * (65 << 20) + "</x>"}), media.DOCX),
        (zipped(), media.DOCX),
        (b"PK\x03\x04junk", media.XLSX),
    ],
    ids=["empty", "cut", "entities", "large", "without", "junk"],
)
def test_broken_and_hostile_files_fail_and_say_so(
    file: Callable[..., Attachment], content: bytes, mime: str
):
    row = settle(file(content, mime))
    assert row.state in {"failed", "ready"}  # a PDF that was cut may still be read
    if row.state == "failed":
        assert row.error and "Traceback" not in row.error


HOSTILE = {
    "time": "while True: pass",
    "memory": "x = bytearray(3 << 30)",
    "output": "import os\nwhile True: os.write(1, b'x' * 65536)",
    "disk": "open('big', 'wb').write(b'x' * 100)",
    "death": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "orphans": "import subprocess; subprocess.Popen(['sleep', '60']); input()",
    "environment": "import os, sys; print(os.environ); sys.exit(1)",
}


@pytest.mark.parametrize("deed", HOSTILE, ids=list(HOSTILE))
def test_what_a_file_does_to_its_reader_it_does_to_nobody_else(
    file: Callable[..., Attachment],
    monkeypatch: pytest.MonkeyPatch,
    deed: str,
):
    """A reader that is taken over altogether: it has little of everything, and not for long."""
    whole = extraction.limited

    def taken(spec: Any, argv: list[str], count: bool) -> list[str]:
        return whole(spec, [argv[0], "-I", "-c", HOSTILE[deed]], count=count)

    monkeypatch.setattr(extraction, "limited", taken)
    with pytest.raises(Unreadable):
        extract(file(b"x"), seconds=2)


def test_deep_json_does_not_exhaust_the_reader(file: Callable[..., Attachment]):
    assert (extract(file(b"[" * 200_000, "application/json")).text or "").startswith("[[[")


def test_whoever_takes_its_readers_down_is_given_up(file: Callable[..., Attachment]):
    row = file(b"x")
    for _ in range(attachments.MOST_TRIES):  # each died after it had begun
        row.move(attachments.PROCESSING, tries=row.tries + 1)
    assert settle(Attachment.get_by_id(row.id)).state == "failed"
    assert "died" in (Attachment.get_by_id(row.id).error or "")


def test_two_who_read_the_same_file_come_to_the_same(file: Callable[..., Attachment]):
    row = file(b"hello")
    first, second = Attachment.get_by_id(row.id), Attachment.get_by_id(row.id)
    assert settle(first).text == "hello"
    assert settle(second).text == "hello"
    assert Attachment.get_by_id(row.id).state == "ready"


def test_a_file_that_is_deleted_meanwhile_leaves_nothing(file: Callable[..., Attachment]):
    row = file(b"hello")
    Attachment.delete().execute()
    assert settle(row).state == "uploaded"
    assert not Attachment.select().exists()


def test_a_file_whose_bytes_are_gone_fails(file: Callable[..., Attachment]):
    row = file(b"hello")
    stored(row.id).delete(row.digest)
    with pytest.raises(NotFound):
        stored(row.id).get(row.digest)
    assert settle(row).state == "failed"


@given(st.lists(st.lists(st.text(max_size=5), max_size=4), max_size=5))
def test_every_line_of_a_table_has_the_same_cells(rows: list[list[str]]):
    lines = texts.table(rows).splitlines()
    bars = {line.replace("\\|", "").count("|") for line in lines}
    assert len(bars) <= 1
    assert json.dumps(lines)
