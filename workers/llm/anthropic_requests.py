"""What is sent to a messages endpoint, and what is left out when it complains."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from models.base import is_deep
from workers.llm import pictures
from workers.llm.base import (
    Call,
    Image,
    Message,
    Options,
    Part,
    Result,
    Shape,
    Text,
    Thinking,
    ToolSpec,
)
from workers.llm.concessions import Concession, Request, lowered, without
from workers.llm.endpoint import Endpoint

CACHED = {"cache_control": {"type": "ephemeral"}}
BUDGETS: Mapping[str, int] = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16_384,
    "xhigh": 32_000,
}
ADAPTIVE = re.compile(r"claude-(opus|sonnet|haiku)-(4-[6-9]|[5-9])|claude-(fable|mythos)")


def compose(
    endpoint: Endpoint, messages: Sequence[Message], tools: Sequence[ToolSpec], options: Options
) -> Request:
    """The arguments of `messages.create`."""
    most = min(options.max_output_tokens, endpoint.window)
    request: Request = {
        "model": endpoint.model,
        "messages": _turns(messages),
        "max_tokens": most,
        "stream": True,
    }
    system = "\n\n".join(message.text for message in messages if message.role == "system")
    if system:
        request["system"] = [{"type": "text", "text": system, **CACHED}]
    if tools:
        request["tools"] = [_tool(tool) for tool in tools]
    if options.shape:
        return request | _submitting(options.shape) | _temperature(endpoint, options)
    thinking = _thinking(endpoint, options.thinking_level, most)
    # While a model thinks, no other temperature than its own is accepted.
    return request | (thinking or _temperature(endpoint, options))


def _turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    for message in messages:
        blocks = [block for part in _in_order(message) for block in _blocks(part)]
        if message.role == "system" or not blocks:
            continue
        role = "assistant" if message.role == "assistant" else "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(blocks)
        else:
            turns.append({"role": role, "content": blocks})
    _mark_for_caching(turns)
    return turns


def _in_order(message: Message) -> Sequence[Part]:
    """Tool results must come before any text of the same turn."""
    return sorted(message.parts, key=lambda part: not isinstance(part, Result))


def _blocks(part: Part) -> Iterator[dict[str, Any]]:
    if isinstance(part, Text) and part.text.strip():
        yield {"type": "text", "text": part.text}
    elif isinstance(part, Thinking) and part.redacted is not None:
        yield {"type": "redacted_thinking", "data": part.redacted}
    elif isinstance(part, Thinking) and part.signature is not None:
        yield {"type": "thinking", "thinking": part.text, "signature": part.signature}
    elif isinstance(part, Image):
        yield _picture(part)
    elif isinstance(part, Call):
        yield {"type": "tool_use", "id": part.id, "name": part.name, "input": _input(part)}
    elif isinstance(part, Result):
        yield {
            "type": "tool_result",
            "tool_use_id": part.call_id,
            "content": part.text or "(empty)",
            "is_error": part.is_error,
        }


def _picture(part: Image) -> dict[str, Any]:
    data = pictures.encoded(part)
    if data is None:
        return {"type": "text", "text": pictures.missing(part)}
    source = {"type": "base64", "media_type": part.media_type, "data": data}
    return {"type": "image", "source": source}


def _input(call: Call) -> dict[str, Any]:
    """The arguments as an object; what the model garbled goes back to it as it wrote it."""
    try:
        arguments = orjson.loads(call.arguments)  # strict: what it takes can be sent
    except ValueError:
        arguments = None
    if isinstance(arguments, dict) and not is_deep(arguments):
        return arguments
    return {"unreadable": call.arguments}


def _mark_for_caching(turns: list[dict[str, Any]]) -> None:
    """Everything up to the last block is kept by the provider until the next turn."""
    blocks = turns[-1]["content"] if turns else []
    if blocks and blocks[-1]["type"] not in {"thinking", "redacted_thinking"}:
        blocks[-1] |= CACHED


def _tool(tool: ToolSpec) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}


def _submitting(shape: Shape) -> Request:
    tool = ToolSpec(f"submit_{shape.name}", "Hand over the answer in its final form.", shape.schema)
    return {"tools": [_tool(tool)], "tool_choice": {"type": "tool", "name": tool.name}}


def _thinking(endpoint: Endpoint, level: str, most: int) -> Request:
    if level not in BUDGETS or not endpoint.reasons:
        return {}
    if ADAPTIVE.search(_plain(endpoint.model)):
        effort = "low" if level == "minimal" else level
        return {"thinking": {"type": "adaptive"}, "output_config": {"effort": effort}}
    budget = min(BUDGETS[level], most // 2)
    if budget < BUDGETS["minimal"]:
        return {}
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _temperature(endpoint: Endpoint, options: Options) -> Request:
    """Anthropic's API knows temperatures no more (version 2026-10-21); compatible ones do."""
    if options.temperature is None or "claude" in endpoint.model:
        return {}
    return {"extra_body": {"temperature": min(options.temperature, 1.0)}}


def _plain(model: str) -> str:
    return model.lower().replace(".", "-")


def _format_instead(request: Request, _complaint: str) -> Request | None:
    """Models that always think refuse a forced tool; they know JSON Schema instead."""
    if "tool_choice" not in request:
        return None
    schema = request["tools"][0]["input_schema"]
    rest = {key: request[key] for key in request if key not in {"tool_choice", "tools"}}
    return rest | {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


CONCESSIONS: Sequence[Concession] = (
    (re.compile("max_tokens", re.I), lowered("max_tokens")),
    (re.compile("temperature", re.I), without("extra_body")),
    (re.compile("image|vision|multimodal", re.I), pictures.blinded),
    (re.compile("tool_choice", re.I), _format_instead),
    (re.compile("effort|output_config", re.I), without("output_config", "thinking")),
    (re.compile("thinking", re.I), without("thinking", "output_config")),
)
