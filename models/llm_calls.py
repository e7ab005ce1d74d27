"""Model calls: what each answer took, cost and who paid."""

from __future__ import annotations

from typing import Any, Self

from peewee import BooleanField, CharField, DecimalField, IntegerField

from models import tallies
from models.base import IDENTIFIER, Model, Moment, id_field, now_ms
from models.principals import Principal
from models.projects import of_runs
from models.runs import Run

LONGEST_REQUEST_ID = 256  # of what a provider calls an answer


def dollars() -> DecimalField:
    """US dollars; null when no price is known."""
    return DecimalField(max_digits=16, decimal_places=8, null=True)


class LlmCall(Model):
    """One answer of a model; a session has at most one per turn."""

    label = "LLM call"

    id = id_field("llmcall")
    session_id = CharField(max_length=IDENTIFIER, null=True)
    turn = IntegerField(default=0)
    run_id = CharField(max_length=IDENTIFIER, null=True)
    step_id = CharField(max_length=IDENTIFIER, null=True)
    agent_id = CharField(max_length=IDENTIFIER)
    owner_id = CharField(max_length=IDENTIFIER, null=True)
    request_id = CharField(max_length=LONGEST_REQUEST_ID, null=True)
    provider = CharField(max_length=64)
    model = CharField(max_length=256)
    key_source = CharField(max_length=16, null=True)
    key_masked = CharField(max_length=64, null=True)
    input_tokens = IntegerField(default=0)
    output_tokens = IntegerField(default=0)
    cache_read_tokens = IntegerField(default=0)
    cache_write_tokens = IntegerField(default=0)
    total_tokens = IntegerField(default=0)
    cost_input = dollars()
    cost_output = dollars()
    cost_total = dollars()
    cost_approximate = BooleanField(default=False)
    duration_ms = IntegerField(null=True)
    tool_call_count = IntegerField(default=0)
    has_thinking = BooleanField(default=False)
    stop_reason = CharField(max_length=32, null=True)
    context_used_tokens = IntegerField(null=True)
    context_window_tokens = IntegerField(null=True)
    created_at = Moment(default=now_ms)

    class Meta:
        table_name = "llm_calls"
        indexes = (
            (("session_id", "turn"), True),
            (("run_id", "created_at", "id"), False),
            (("agent_id", "created_at", "id"), False),
            (("owner_id", "created_at", "id"), False),
            (("provider", "model", "created_at"), False),
            (("created_at", "id"), False),
        )

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Its owner, the members of its run's project, and admins."""
        return of_runs(cls, Run, principal)

    def add(self) -> Self:
        """Insert the call and count it."""
        super().add()
        tallies.count(self.id)
        return self

    @property
    def context_percent(self) -> int | None:
        """How full the model's window was, 0 to 100."""
        if not self.context_window_tokens or self.context_used_tokens is None:
            return None
        return round(100 * self.context_used_tokens / self.context_window_tokens)

    def wire(self) -> dict[str, Any]:
        """The call as clients read it, in lists and in the `llm_call` event."""
        row = {name: getattr(self, name) for name in _PLAIN}
        costs = {name: _float(getattr(self, name)) for name in _COSTS}
        return {**row, **costs, "user_id": self.owner_id, "context_percent": self.context_percent}


_COSTS = ("cost_input", "cost_output", "cost_total")
_PLAIN = tuple(
    name
    for name in LlmCall._meta.sorted_field_names
    if name not in {*_COSTS, "owner_id", "turn", "step_id"}
)


def _float(amount: Any) -> float | None:
    return None if amount is None else float(amount)
