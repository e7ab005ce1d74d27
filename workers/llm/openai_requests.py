"""What is sent to a chat completions endpoint, and what is left out when it complains."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from workers.llm import pictures
from workers.llm.base import (
    Image,
    Message,
    Options,
    Result,
    Shape,
    Text,
    Thinking,
    ToolSpec,
)
from workers.llm.concessions import Concession, Request, lowered, renamed, without
from workers.llm.endpoint import Endpoint

# OpenAI's own models count their reasoning, so the old name of the limit is refused by new ones.
COUNTS_COMPLETION = frozenset({"openai", "azure-openai-responses"})
SMALL_TEMPERATURE = 0.2  # small models lose the thread when they are any warmer
EFFORTS = frozenset({"minimal", "low", "medium", "high", "xhigh"})


def compose(
    endpoint: Endpoint, messages: Sequence[Message], tools: Sequence[ToolSpec], options: Options
) -> Request:
    """The arguments of `chat.completions.create`."""
    request: Request = {
        "model": endpoint.model,
        "messages": [
            entry for message in messages for entry in _entries(message, endpoint.recalls_thinking)
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        **_limits(endpoint, options),
        **_effort(endpoint, options.thinking_level),
    }
    if tools:
        request["tools"] = [_function(tool) for tool in tools]
    if options.shape:
        request |= _shaped(options.shape)
    return request


def _entries(message: Message, recalls_thinking: bool) -> Iterator[dict[str, Any]]:
    for part in message.parts:
        if isinstance(part, Result):
            text = part.text if not part.is_error else f"Error: {part.text}"
            yield {"role": "tool", "tool_call_id": part.call_id, "content": text}
    if message.role == "assistant":
        yield from _assistant(message, recalls_thinking)
    elif message.role != "tool" or message.text:
        role = "system" if message.role == "system" else "user"
        yield {"role": role, "content": _content(message)}


def _content(message: Message) -> str | list[dict[str, Any]]:
    """What a person said: a text, or blocks where there are pictures in it."""
    if not any(isinstance(part, Image) for part in message.parts):
        return message.text
    blocks = (_block(part) for part in message.parts if isinstance(part, Text | Image))
    return [block for block in blocks if block.get("text") != ""]


def _block(part: Text | Image) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    data = pictures.encoded(part)
    if data is None:
        return {"type": "text", "text": pictures.missing(part)}
    return {"type": "image_url", "image_url": {"url": f"data:{part.media_type};base64,{data}"}}


def _assistant(message: Message, recalls_thinking: bool) -> Iterator[dict[str, Any]]:
    if not message.text and not message.calls:
        return  # it only thought, or was cut before its first word
    entry: dict[str, Any] = {"role": "assistant", "content": message.text or None}
    thoughts = "".join(part.text for part in message.parts if isinstance(part, Thinking))
    if thoughts and recalls_thinking:
        entry["reasoning_content"] = thoughts
    if message.calls:
        entry["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments or "{}"},
                # Gemini refuses its own calls without the mark it put on them.
                **_google(call.signature),
            }
            for call in message.calls
        ]
    yield entry


def _google(signature: str | None) -> dict[str, Any]:
    if signature is None:
        return {}
    return {"extra_content": {"google": {"thought_signature": signature}}}


def _function(tool: ToolSpec) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters,
        },
    }


def _limits(endpoint: Endpoint, options: Options) -> Request:
    name = "max_completion_tokens" if endpoint.provider in COUNTS_COMPLETION else "max_tokens"
    limits: Request = {name: min(options.max_output_tokens, endpoint.window)}
    fixed = endpoint.reasons and endpoint.provider in COUNTS_COMPLETION
    if options.temperature is not None and not fixed:
        warmest = SMALL_TEMPERATURE if endpoint.small else options.temperature
        limits["temperature"] = min(options.temperature, warmest)
    return limits


def _effort(endpoint: Endpoint, level: str) -> Request:
    if level not in EFFORTS or not endpoint.reasons:
        return {}
    if endpoint.effort == "effort":
        return {"reasoning_effort": level}
    if endpoint.effort == "nested":
        return {"extra_body": {"reasoning": {"effort": level}}}
    if endpoint.effort == "toggle":
        return {"extra_body": {"thinking": {"type": "enabled"}}}
    return {}


def _shaped(shape: Shape) -> Request:
    if shape.method == "tool_use":
        return _submitting(shape.name, shape.schema)
    described = {"name": shape.name, "strict": shape.strict, "schema": shape.schema}
    return {"response_format": {"type": "json_schema", "json_schema": described}}


def _submitting(name: str, schema: dict[str, Any]) -> Request:
    tool = ToolSpec(f"submit_{name}", "Hand over the answer in its final form.", schema)
    return {
        "tools": [_function(tool)],
        "tool_choice": {"type": "function", "function": {"name": tool.name}},
    }


def _submit_instead(request: Request, _complaint: str) -> Request | None:
    if "response_format" not in request:
        return None
    shape = request["response_format"]["json_schema"]
    rest = {key: value for key, value in request.items() if key != "response_format"}
    return rest | _submitting(shape["name"], shape["schema"])


CONCESSIONS: Sequence[Concession] = (
    (re.compile("max_completion_tokens"), renamed("max_tokens", "max_completion_tokens")),
    (re.compile("max_.*tokens|completion tokens", re.I), lowered("max_completion_tokens")),
    (re.compile("max_.*tokens|completion tokens", re.I), lowered("max_tokens")),
    (re.compile("temperature", re.I), without("temperature")),
    (re.compile("reasoning|thinking", re.I), without("reasoning_effort", "extra_body")),
    (re.compile("stream_options|include_usage", re.I), without("stream_options")),
    (re.compile("image|vision|multimodal", re.I), pictures.blinded),
    (re.compile("response_format|json_schema|structured|schema", re.I), _submit_instead),
)
