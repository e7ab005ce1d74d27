"""How a script answers: a line [question, ...] of JSON in, the answer as a line of JSON out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any


def answer(**questions: Callable[..., Any]) -> None:
    """Answer by these functions until nobody asks any more; what they print goes to stderr."""
    out, sys.stdout = sys.stdout, sys.stderr
    table: Mapping[str, Callable[..., Any]] = questions
    for line in sys.stdin:
        name, *about = json.loads(line)
        out.write(json.dumps(table[name](*about)) + "\n")
        out.flush()
