"""Reading what text is in a file that somebody sent: in a process that may die of it."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from models.attachments import Attachment
from workers.halting import Halt
from workers.sandboxes.base import LOCALE, SEARCH_PATH, Output, Spec
from workers.sandboxes.capture import Capture
from workers.sandboxes.children import Command, finish, limited

SECONDS = 30.0
OUTPUT_BYTES = 2 << 20  # more than a text of the longest kind takes as JSON
LIMITS = {"memory_mb": 512, "seconds": 25, "file_mb": 0}


class Unreadable(Exception):
    """The file is not what it seems, or too much for us; the message says which."""


@dataclass(frozen=True)
class Extracted:
    """What was read: the text, None where there is none to read, and a PDF's pages."""

    text: str | None = None
    pages: int | None = None


def extract(attachment: Attachment, seconds: float = SECONDS) -> Extracted:
    """The text of a file; raises Unreadable, and NotFound or Unavailable when it cannot be had."""
    if attachment.family in {"image", "audio"}:
        return Extracted()
    with tempfile.TemporaryDirectory(prefix="djinn-file-") as folder:
        path = Path(folder) / "file"
        attachment.blobs.save(attachment.digest, path)
        return _answer(_run(path, attachment.mime_type, seconds))


def _run(path: Path, mime: str, seconds: float) -> Output:
    """Have a Python of its own read the file: nothing of our environment, little of the machine."""
    argv = [sys.executable, "-I", "-W", "ignore", "-m", "workers.extraction.child", mime, str(path)]
    spec = Spec(path.parent, **LIMITS)  # type: ignore[arg-type]
    env = {"PATH": SEARCH_PATH, "LANG": LOCALE}
    command = Command(limited(spec, argv, count=False), env, path.parent)
    return finish(command, seconds, Capture(OUTPUT_BYTES), Halt())


def _answer(output: Output) -> Extracted:
    if output.timed_out:
        raise Unreadable("Reading the file took too long")
    try:
        told = json.loads(output.text)
    except ValueError:
        raise Unreadable("Reading the file took more memory than it may") from None
    if "error" in told:
        raise Unreadable(told["error"])
    return Extracted(told["text"], told.get("pages"))
