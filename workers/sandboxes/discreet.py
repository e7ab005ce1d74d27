"""A sandbox whose commands may know secrets: what they print of them is blotted out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from models.masking import beginning, without
from workers.halting import Halt
from workers.sandboxes.base import Hear, Output, Sandbox

MOST_HELD = 64 * 1024  # characters that may be the beginnings of secrets


@dataclass(frozen=True)
class Discreet:
    """Any sandbox, with `hidden` blotted out of every output before anybody shortens it.

    This is for accidents: a command that means to can print a secret in another spelling.
    """

    sandbox: Sandbox
    hidden: Collection[str] = field(repr=False)

    def run(
        self, argv: Sequence[str], timeout: float, halt: Halt, hear: Hear | None = None
    ) -> Output:
        if hear is None:
            output = self.sandbox.run(argv, timeout, halt)
        else:
            muffled = Muffled(hear, self.hidden)
            output = self.sandbox.run(argv, timeout, halt, muffled.hear)
            muffled.end()
        return replace(output, text=without(output.text, self.hidden))


class Muffled:
    """Passes on what it hears without the secrets in it, wherever the pieces divide them."""

    def __init__(self, hear: Hear, hidden: Collection[str]) -> None:
        self._hear: Hear | None = hear
        self._hidden = hidden
        self._held = ""

    def hear(self, piece: str) -> None:
        """Pass on what is certain, and hold back what may be the beginning of a secret."""
        if self._hear is None:
            return
        self._held += piece
        rest = beginning(self._held, self._hidden)
        shown = without(self._held, self._hidden)
        if shown.endswith(rest):
            self._held = rest
            self._pass_on(shown.removesuffix(rest))
        elif len(self._held) > MOST_HELD:  # whatever this is, nobody needs to see it live
            self._hear, self._held = None, ""

    def end(self) -> None:
        """Nothing more comes."""
        self._pass_on(without(self._held, self._hidden))
        self._held = ""

    def _pass_on(self, text: str) -> None:
        if text and self._hear is not None:
            self._hear(text)
