"""Messages as Anthropic defined them, which a few other providers speak as well.

Source: https://platform.claude.com/docs/en/api/messages (streaming).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anthropic
from anthropic.types import RawMessageStreamEvent

from workers.llm.anthropic_requests import CONCESSIONS, compose
from workers.llm.base import (
    Call,
    Delta,
    Message,
    Options,
    Overflow,
    Part,
    Refused,
    Reply,
    Text,
    Thinking,
    ToolSpec,
    Unavailable,
    Usage,
    counted,
)
from workers.llm.concessions import Request
from workers.llm.endpoint import Endpoint
from workers.llm.estimating import estimated
from workers.llm.wire import Wire


class AnthropicMessages(Wire):
    """A model behind a messages endpoint."""

    sdk, fault = anthropic, anthropic.AnthropicError
    concessions = CONCESSIONS

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self._client = anthropic.Anthropic(
            api_key=endpoint.api_key or "none",
            base_url=endpoint.base_url,
            default_headers={**endpoint.headers, **_older_key(endpoint)},
            max_retries=0,
            http_client=self._http,
        )

    def compose(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], options: Options
    ) -> Request:
        return compose(self._endpoint, messages, tools, options)

    def begin(self, request: Request) -> anthropic.Stream[RawMessageStreamEvent]:
        create: Any = self._client.messages.create  # its overloads know no dict
        stream: anthropic.Stream[RawMessageStreamEvent] = create(**request)
        return stream

    def answer(self, request: Request) -> _Answer:
        return _Answer(self._endpoint, request)

    def told(self, error: anthropic.APIError) -> str:
        """What the provider said, with the kind of error it named."""
        body = error.body if isinstance(error.body, dict) else {}
        told = body.get("error") if isinstance(body.get("error"), dict) else body
        said = " ".join(str(told[key]) for key in ("type", "message") if told and told.get(key))
        return said or error.message


@dataclass
class _Block:
    """A content block in the making; `text` is its text, thought or JSON."""

    kind: str
    id: str = ""
    name: str = ""
    text: str = ""
    signature: str = ""
    redacted: str | None = None


class _Answer:
    """An answer in the making."""

    def __init__(self, endpoint: Endpoint, request: Request) -> None:
        self._endpoint = endpoint
        self._model = endpoint.model
        self._tools = request.get("tools", ())
        self._submits = "tool_choice" in request  # a forced tool carries the shaped answer
        self._request_id: str | None = None
        self._stop: str | None = None
        self._why = ""
        self._usage: dict[str, Any] = {}
        self._blocks: dict[int, _Block] = {}

    def absorb(self, event: RawMessageStreamEvent) -> Iterator[Delta]:
        """Take one event in; yields what it adds."""
        told = event.model_dump(warnings=False) if hasattr(event, "model_dump") else {}
        kind = told.get("type")
        if kind is None:
            raise Unavailable(f"{self._endpoint.provider} sent an event that cannot be read.")
        if kind == "message_start":
            message = told.get("message") or {}
            self._model = message.get("model") or self._model
            self._request_id = message.get("id")
            self._count(message.get("usage"))
        elif kind == "content_block_start":
            yield from self._open(told["index"], told.get("content_block") or {})
        elif kind == "content_block_delta":
            yield from self._grow(told["index"], told.get("delta") or {})
        elif kind == "message_delta":
            self._end(told.get("delta") or {})
            self._count(told.get("usage"))

    def _count(self, usage: Mapping[str, Any] | None) -> None:
        # Later figures are running totals of the same counts; some servers leave them null.
        self._usage |= {key: value for key, value in (usage or {}).items() if value}

    def _end(self, delta: Mapping[str, Any]) -> None:
        self._stop = delta.get("stop_reason") or self._stop
        self._why = (delta.get("stop_details") or {}).get("explanation") or self._why

    def _open(self, index: int, block: Mapping[str, Any]) -> Iterator[Delta]:
        begun = _Block(
            block.get("type") or "",
            block.get("id") or "",
            block.get("name") or "",
            block.get("text") or block.get("thinking") or "",
            block.get("signature") or "",
            block.get("data"),
        )
        if begun.kind == "tool_use" and block.get("input"):
            begun.text = json.dumps(block["input"])  # some servers send it whole
        self._blocks[index] = begun
        if begun.text:
            yield Delta(self._delta_kind(begun), begun.text)

    def _grow(self, index: int, delta: Mapping[str, Any]) -> Iterator[Delta]:
        block = self._blocks.setdefault(index, _Block("text"))
        block.signature += delta.get("signature") or ""
        piece = delta.get("text") or delta.get("thinking") or delta.get("partial_json") or ""
        block.text += piece
        if piece:
            yield Delta(self._delta_kind(block), piece)

    def _delta_kind(self, block: _Block) -> Any:
        if block.kind == "tool_use":
            return "text" if self._submits else "call"
        return "thinking" if block.kind == "thinking" else "text"

    def reply(self, messages: Sequence[Message]) -> Reply:
        """The whole answer; raises Unavailable when it was cut, Refused when it is a refusal."""
        if self._stop is None:
            raise Unavailable(f"{self._endpoint.provider} cut its answer short.")
        if self._stop == "refusal":
            why = self._why or "it gave no reason"
            raise Refused(f"{self._endpoint.provider}/{self._endpoint.model} declined: {why}")
        if self._stop == "model_context_window_exceeded":
            raise Overflow(f"{self._endpoint.provider} reached the end of its context window.")
        message = Message("assistant", tuple(self._parts()))
        usage = self._tokens()
        usage = usage if usage.told else estimated(messages, message, self._tools)
        if self._stop == "max_tokens":
            return Reply(message, usage, "length", self._model, self._request_id)
        stop = "calls" if message.calls else "end"
        return Reply(message, usage, stop, self._model, self._request_id)  # type: ignore[arg-type]

    def _parts(self) -> Iterator[Part]:
        for _, block in sorted(self._blocks.items()):
            if block.kind == "thinking":
                yield Thinking(block.text, block.signature or None)
            elif block.kind == "redacted_thinking":
                yield Thinking("", redacted=block.redacted or "")
            elif block.kind == "tool_use" and not self._submits:
                yield Call(block.id, block.name, block.text or "{}")
            elif block.text:
                yield Text(block.text)

    def _tokens(self) -> Usage:
        told = self._usage.get
        read = counted(told("cache_read_input_tokens"))
        write = counted(told("cache_creation_input_tokens"))
        return Usage(
            input=counted(told("input_tokens")) + read + write,
            output=counted(told("output_tokens")),
            cache_read=read,
            cache_write=write,
            thinking=counted((told("output_tokens_details") or {}).get("thinking_tokens")),
        )


def _older_key(endpoint: Endpoint) -> dict[str, str]:
    """Compatible servers know the key by its older header, which the SDK no longer sends."""
    if not endpoint.api_key or endpoint.base_url.startswith("https://api.anthropic.com"):
        return {}
    return {"X-Api-Key": endpoint.api_key}
