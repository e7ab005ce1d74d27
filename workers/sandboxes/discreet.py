"""A sandbox whose commands may know secrets: what they print of them is blotted out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from models.masking import without
from workers.halting import Halt
from workers.sandboxes.base import Output, Sandbox


@dataclass(frozen=True)
class Discreet:
    """Any sandbox, with `hidden` blotted out of every output before anybody shortens it.

    This is for accidents: a command that means to can print a secret in another spelling.
    """

    sandbox: Sandbox
    hidden: Collection[str] = field(repr=False)

    def run(self, argv: Sequence[str], timeout: float, halt: Halt) -> Output:
        output = self.sandbox.run(argv, timeout, halt)
        return replace(output, text=without(output.text, self.hidden))
