"""The process that reads one file: `python -m workers.extraction.child <type> <path>`.

It prints one JSON object, `text` and `pages` or `error`, and nothing else whatever happens.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

from workers.extraction.documents import docx, pdf, xlsx
from workers.extraction.texts import plain

READERS = {
    "application/pdf": pdf,
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": docx,
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": xlsx,
}


def main(mime: str, path: str) -> None:
    """Read the file and say what is in it."""
    logging.disable()
    said, silence = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    try:
        read = READERS.get(mime)
        told = read(Path(path)) if read else {"text": plain(Path(path), mime)}
    except (Exception, RecursionError, MemoryError) as error:
        told = {"error": f"The file cannot be read: {type(error).__name__}"}
    os.write(said, json.dumps(told).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
