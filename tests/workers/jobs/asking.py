"""What a process imports in order to ask a model, told by itself."""

from __future__ import annotations

import sys

from models.credentials import Credential
from workers.halting import Halt
from workers.llm import open_model
from workers.llm.base import ModelError, Options

NOBODY = "http://127.0.0.1:9/v1"


def told(name: str) -> None:
    """Ask where nobody answers; writes how many modules that took."""
    before = len(sys.modules)
    provider = name.partition("/")[0]
    model = open_model(name, {provider: Credential("key", NOBODY)})
    try:
        list(model.reply([], [], Options(), Halt(10)))
    except ModelError:
        sys.stdout.write(f"{len(sys.modules) - before}\n")
