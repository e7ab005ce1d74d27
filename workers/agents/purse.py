"""What a step's calls may cost: the worst case of each is set aside before it is made.

The tokens of a question are bounded by its bytes, or, where the model has counted the beginning
of the same conversation before, by that count and the bytes of what was added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from models import spending
from models.runs import Run
from models.spending import Amount, Busy, Granted, Reached, Shared
from workers.agents.accounting import refuse_unless_good
from workers.agents.events import Answer, Asking
from workers.llm import estimating
from workers.llm.base import Message, Model, Options, Usage
from workers.llm.prices import price, rates, worst_case

LEAST_ANSWER = 1_000  # tokens; a budget that leaves room for fewer is reached


@dataclass(frozen=True)
class _Counted:
    """A conversation that the model has counted, and the rest of what it was asked with."""

    messages: Sequence[Message] = ()
    around: tuple[object, ...] = ()
    tokens: int = 0


@dataclass
class Purse:
    """The money of one step at work; whoever opens it holds the run's lock."""

    model: Model
    execution_id: str
    shared: Shared | None = None
    _counted: Sequence[_Counted] = field(default=())

    def open(self, run: Run, asking: Asking) -> Options | Busy | Reached:
        """Set the worst case of a call aside; the options may leave it fewer tokens to answer.

        Raises Denied where the key is lent, but no longer for this model.
        """
        if not spending.limited(run, self.shared):
            return asking.options
        if self.shared is not None:
            refuse_unless_good(self.shared, self.model)
        sent, wanted = self.bound(asking), asking.options.max_output_tokens
        answer = self._reserve(run, sent, wanted)
        if isinstance(answer, Reached):
            fitting = min(wanted, self._fitting(answer, sent))
            if fitting < min(wanted, LEAST_ANSWER):
                return answer
            wanted, answer = fitting, self._reserve(run, sent, fitting)
        if isinstance(answer, Granted):
            return replace(asking.options, max_output_tokens=wanted)
        return answer

    def pay(self, run: Run, usage: Usage) -> None:
        """Count what an answer took; at its worst where nobody has counted."""
        total = price(self.model.provider, self.model.name, usage).total
        usd = None if total is None else Decimal(str(total))
        spent = Amount(usd, usage.input + usage.output, guessed=usage.approximate)
        spending.settle(run, self.execution_id, spent, self.shared)

    def keep(self, run: Run) -> None:
        """A call was refused before it cost anything."""
        spending.settle(run, self.execution_id, spending.NOTHING, self.shared)

    def heard(self, asking: Asking, answer: Answer) -> None:
        """Remember how many tokens the model counted, for the bounds of what comes next."""
        usage, reply = answer.reply.usage, answer.reply.message
        if usage.approximate or not usage.input:
            return
        sent = tuple(asking.messages)
        around = _around(asking)
        self._counted = (
            _Counted((*sent, reply), around, usage.input + usage.output),
            _Counted(sent, around, usage.input),
        )

    def bound(self, asking: Asking) -> int:
        """As many tokens as the question can take at most."""
        for counted in self._counted:
            known = len(counted.messages)
            begins = tuple(asking.messages[:known]) == tuple(counted.messages)
            if begins and counted.around == _around(asking):
                return counted.tokens + estimating.bound(asking.messages[known:])
        return estimating.most(asking.messages, asking.tools, asking.options.shape)

    def _reserve(self, run: Run, sent: int, wanted: int) -> Granted | Busy | Reached:
        usd = worst_case(self.model.provider, self.model.name, sent, wanted)
        return spending.reserve(run, self.execution_id, Amount(usd, sent + wanted), self.shared)

    def _fitting(self, reached: Reached, sent: int) -> int:
        """How many tokens an answer may have so that its call fits what is left."""
        limits = [] if reached.left_tokens is None else [reached.left_tokens - sent]
        if reached.left_usd is not None:
            known = rates(self.model.provider, self.model.name, sent)
            affordable = known.affordable(reached.left_usd, sent) if known else 0
            limits += [] if affordable is None else [affordable]
        return max(0, min(limits, default=0))


def _around(asking: Asking) -> tuple[object, ...]:
    return tuple(asking.tools), asking.options.shape
