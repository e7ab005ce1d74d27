"""What our processes print: lines of JSON, whoever says it and whatever is told."""

from __future__ import annotations

import json
import subprocess
import sys

SAYING = """
import logging
import structlog
from models import logs
from models.logs import log

logs.configure("INFO")
structlog.contextvars.bind_contextvars(request="r1")
log.info("said", who="Zo\\xeb", huge=10**30, half="\\ud800", kind=int)
log.debug("kept back")
logging.getLogger("library").warning("from %s", "outside")
try:
    raise RuntimeError("broken")
except RuntimeError:
    log.exception("failed")
"""


def test_every_line_is_json_even_where_the_terminal_knows_but_ascii() -> None:
    poor = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    said = subprocess.run([sys.executable, "-c", SAYING], env=poor, capture_output=True, check=True)
    ours, library, failed = [json.loads(line) for line in said.stdout.splitlines()]
    named = {"request": "r1", "level": "info", "logger": "djinn", "event": "said", "who": "Zoë"}
    assert named.items() <= ours.items()
    assert (ours["huge"], ours["half"], ours["kind"]) == (10**30, "\ud800", "<class 'int'>")
    about = ("logger", "level", "event", "request")
    assert [library[name] for name in about] == ["library", "warning", "from outside", "r1"]
    assert (failed["level"], failed["logger"]) == ("error", "djinn")
    assert failed["exception"].endswith("RuntimeError: broken")
