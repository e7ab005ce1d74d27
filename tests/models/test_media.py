"""What a file is, its first bytes say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import media
from models.errors import Unrecognised

PNG = b"\x89PNG\r\n\x1a\n" + bytes(24)
KNOWN = [
    (b"\xff\xd8\xff\xe0" + bytes(12), "a.jpg", "image/jpeg"),
    (PNG, "a.png", "image/png"),
    (b"GIF89a" + bytes(9), "a.gif", "image/gif"),
    (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "a.webp", "image/webp"),
    (b"RIFF\x10\x00\x00\x00WAVEfmt ", "a.wav", "audio/wav"),
    (b"OggS\x00\x02" + bytes(20), "a.opus", "audio/ogg"),
    (b"\x1aE\xdf\xa3" + bytes(20), "a.webm", "audio/webm"),
    (b"\x00\x00\x00\x20ftypM4A \x00\x00", "a.m4a", "audio/mp4"),
    (b"fLaC\x00\x00", "a.flac", "audio/flac"),
    (b"#!AMR\n", "a.amr", "audio/amr"),
    (b"\xff\xf1\x50\x80", "a.aac", "audio/aac"),
    (b"\xff\xfb\x90\x00", "a.mp3", "audio/mpeg"),
    (b"ID3\x04\x00", "a.mp3", "audio/mpeg"),
    (b"%PDF-1.7\n%\xe2\xe3", "a.pdf", "application/pdf"),
    (b"PK\x03\x04" + bytes(22) + b"\x13\x00\x00\x00[Content_Types].xml", "a.docx", media.DOCX),
    (b"<svg onload=alert(1)>", "a.svg", "application/xml"),
    (b"<html>", "a.html", "text/html"),
    ("größer".encode("latin-1"), "a.txt", "text/plain"),
    ("größer".encode("utf-16"), "a.csv", "text/csv"),
    (b"package main", "main.go", "text/plain"),
    (b"{}", "no-suffix", "text/plain"),
]


@pytest.mark.parametrize(("head", "name", "found"), KNOWN, ids=[name for _, name, _ in KNOWN])
def test_every_kind_that_is_taken_is_known_by_its_bytes(head: bytes, name: str, found: str):
    head = head.replace(b"\x13\x00\x00\x00[", b"[")
    assert media.recognised(head, name) == found
    assert media.recognised(head, name, "application/octet-stream") == found


@pytest.mark.parametrize(
    ("head", "name", "declared"),
    [
        (b"<script>alert(1)</script>", "a.png", ""),
        (b"<script>alert(1)</script>", "a", "image/png"),
        (PNG, "a.html", ""),
        (PNG, "a.pdf", "image/png"),
        (b"%PDF-1.7", "a", "image/jpeg"),
        (b"MZ\x90\x00\x03", "a.txt", "text/plain"),
        (b"\x7fELF\x02\x01", "a", ""),
        (b"PK\x03\x04" + bytes(22) + b"evil.sh", "a.docx", ""),
        (b"PK\x03\x04" + bytes(22) + b"[Content_Types].xml", "a.zip", ""),
        (b"\x00\x00\x00\x18ftypheic", "a.heic", ""),
    ],
)
def test_what_is_not_what_it_says_is_refused(head: bytes, name: str, declared: str):
    with pytest.raises(Unrecognised):
        media.recognised(head, name, declared)


@given(st.binary(max_size=64), st.text(max_size=12), st.text(max_size=12))
def test_any_bytes_are_taken_for_something_or_refused(head: bytes, name: str, declared: str):
    try:
        found = media.recognised(head, name, declared)
    except Unrecognised:
        return
    assert media.family(found) in {"image", "audio", "pdf", "office", "text"}
