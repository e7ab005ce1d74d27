"""Who called which model, what it took and what it cost."""

from __future__ import annotations

from models.llm_calls import LlmCall
from models.runs import Run
from models.steps import Step
from workers.agents.events import Answer
from workers.llm.base import Model, Thinking, Usage
from workers.llm.prices import price

OURS = ("local", "scripted")  # models that need no key


def call_row(run: Run, step: Step, model: Model, turn: int, answer: Answer) -> LlmCall:
    """The row for an answer of the step's session."""
    reply = answer.reply
    cost = price(model.provider, model.name, reply.usage)
    return LlmCall(
        id=LlmCall.id.default(),
        session_id=step.session_id,
        turn=turn,
        run_id=run.id,
        step_id=step.step_id,
        agent_id=step.agent_id,
        owner_id=run.owner_id,
        request_id=reply.request_id,
        provider=model.provider,
        model=model.name,
        key_source=None if model.provider in OURS else "instance",
        **_tokens(reply.usage),
        cost_input=cost.input,
        cost_output=cost.output,
        cost_total=cost.total,
        cost_approximate=cost.approximate,
        duration_ms=round(answer.seconds * 1000),
        tool_call_count=len(reply.message.calls),
        has_thinking=any(isinstance(part, Thinking) for part in reply.message.parts),
        stop_reason=reply.stop,
        context_used_tokens=answer.context_used,
        context_window_tokens=model.window,
    )


def _tokens(usage: Usage) -> dict[str, int]:
    return {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cache_read_tokens": usage.cache_read,
        "cache_write_tokens": usage.cache_write,
        "total_tokens": usage.input + usage.output,
    }
