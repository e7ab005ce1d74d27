"""Who called which model, what it took and what it cost."""

from __future__ import annotations

from models import catalogue, keys, shares
from models.base import clean
from models.errors import Forbidden
from models.keys import Key
from models.llm_calls import LONGEST_REQUEST_ID, LlmCall
from models.runs import Run
from models.spending import Shared
from models.steps import Step
from workers.agents.events import Answer
from workers.llm.base import Denied, Model, Thinking, Usage
from workers.llm.prices import price


def paying(run: Run, name: str) -> Key | None:
    """The key that pays for the run's calls of the model with that name; Denied without one.

    None for models of our own, which take nothing, and for names that lead nowhere.
    """
    provider_id = name.strip().partition("/")[0]
    provider = catalogue.provider_of(provider_id)
    if provider is None or not provider.talks:
        return None
    try:
        return keys.for_run(run, provider_id, name)
    except Forbidden as refusal:
        raise Denied(f"{refusal}.") from refusal


def refuse_unless_good(shared: Shared, model: Model) -> None:
    """Raise Denied when a shared key may not be used for the model any more."""
    try:
        name = f"{model.provider}/{model.name}"
        shares.refuse_unless_good(shared.user_id, shared.provider_id, name)
    except Forbidden as refusal:
        raise Denied(str(refusal)) from refusal


def note_payer(run: Run, key: Key | None) -> None:
    """Write down which key paid for the run, once; the caller holds the run's lock."""
    if key is None:
        return
    resolution = keys.resolutions(run.key_resolution, key)
    if resolution != run.key_resolution:
        run.put(key_resolution=resolution)


def shared_by(key: Key | None) -> Shared | None:
    """Whose limits the calls have to keep to, if they are made with a shared key."""
    if key is None or key.source != keys.SHARED:
        return None
    return Shared(str(key.user_id), key.provider_id)


def call_row(
    run: Run, step: Step, model: Model, key: Key | None, turn: int, answer: Answer
) -> LlmCall:
    """The row for an answer of the step's session, which `key` paid for."""
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
        request_id=reply.request_id and clean(str(reply.request_id))[:LONGEST_REQUEST_ID],
        provider=model.provider,
        model=model.name,
        key_source=key and key.source,
        key_masked=key and key.masked,
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
