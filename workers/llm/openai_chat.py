"""Chat completions as OpenAI defined them, which most providers and local servers speak.

Source: https://platform.openai.com/docs/api-reference/chat (streaming).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import openai
import openai.resources.chat.completions.completions  # else with the first question
from openai.types.chat import ChatCompletionChunk

from workers.llm.base import (
    Call,
    Delta,
    Message,
    Options,
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
from workers.llm.openai_requests import CONCESSIONS, compose
from workers.llm.wire import Wire

STOPS = {"stop": "end", "length": "length", "tool_calls": "calls", "function_call": "calls"}


class OpenAIChat(Wire):
    """A model behind an OpenAI-compatible chat completions endpoint."""

    sdk, fault = openai, openai.OpenAIError
    concessions = CONCESSIONS

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self._client = openai.OpenAI(
            api_key=endpoint.api_key or "none",
            base_url=endpoint.base_url,
            default_headers=dict(endpoint.headers),
            max_retries=0,
            http_client=self._http,
        )

    def compose(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], options: Options
    ) -> Request:
        return compose(self._endpoint, messages, tools, options)

    def begin(self, request: Request) -> openai.Stream[ChatCompletionChunk]:
        create: Any = self._client.chat.completions.create  # its overloads know no dict
        stream: openai.Stream[ChatCompletionChunk] = create(**request)
        return stream

    def answer(self, request: Request) -> _Answer:
        return _Answer(self._endpoint, request)

    def told(self, error: openai.APIError) -> str:
        """What the provider said, with its code, whichever way it wrapped them."""
        body = error.body if isinstance(error.body, dict) else {}
        words = (error.type, error.code, body.get("message"))
        said = " ".join(str(word) for word in words if word)
        return said if body.get("message") else f"{said} {error.message}".strip()


@dataclass
class _GrowingCall:
    number: int | None
    id: str
    name: str = ""
    arguments: str = ""
    signature: str | None = None


class _Answer:
    """An answer in the making."""

    def __init__(self, endpoint: Endpoint, request: Request) -> None:
        self._endpoint = endpoint
        self._model = endpoint.model
        self._tools = request.get("tools", ())
        forced = request.get("tool_choice")
        self._submits = isinstance(forced, dict)  # a forced function carries the shaped answer
        self._request_id: str | None = None
        self._finish: str | None = None
        self._usage: Usage | None = None
        self._thinking: list[str] = []
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._calls: list[_GrowingCall] = []

    def absorb(self, chunk: ChatCompletionChunk) -> Iterator[Delta]:
        """Take one chunk in; yields what it adds."""
        told = chunk.model_dump(warnings=False) if isinstance(chunk, ChatCompletionChunk) else {}
        choices = told.get("choices") or []
        if not told or not all(isinstance(choice, dict) for choice in choices):
            raise Unavailable(f"{self._endpoint.provider} sent a chunk that cannot be read.")
        self._model = told.get("model") or self._model
        self._request_id = told.get("id") or self._request_id
        if told.get("usage"):
            self._usage = _usage(told["usage"])
        for choice in choices:
            self._finish = choice.get("finish_reason") or self._finish
            yield from self._absorb_delta(choice.get("delta") or {})

    def _absorb_delta(self, delta: Mapping[str, Any]) -> Iterator[Delta]:
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(thought, str) and thought:
            self._thinking.append(thought)
            yield Delta("thinking", thought)
        if delta.get("content"):
            self._text.append(delta["content"])
            yield Delta("text", delta["content"])
        if delta.get("refusal"):
            self._refusal.append(delta["refusal"])
        for piece in delta.get("tool_calls") or ():
            yield from self._absorb_call(piece)

    def _absorb_call(self, piece: Mapping[str, Any]) -> Iterator[Delta]:
        function = piece.get("function") or {}
        call = self._call(piece, bool(function.get("name")))
        call.name = call.name or function.get("name") or ""
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):  # some servers send the object itself
            arguments = json.dumps(arguments)
        call.arguments += arguments
        google = (piece.get("extra_content") or {}).get("google") or {}
        call.signature = google.get("thought_signature") or call.signature
        if arguments:
            yield Delta("text" if self._submits else "call", arguments)

    def _call(self, piece: Mapping[str, Any], named: bool) -> _GrowingCall:
        """The call a piece belongs to; servers differ in whether they number or name them."""
        number, call_id = piece.get("index"), piece.get("id")
        same_id = [call for call in self._calls if call_id and call.id == call_id]
        same_number = [call for call in self._calls if call.number == number]
        begins = named and (bool(call_id) or number is None or not same_number)
        known = same_id or ([] if begins else same_number)
        if known:
            return known[-1]
        self._calls.append(_GrowingCall(number, call_id or f"call_{secrets.token_hex(8)}"))
        return self._calls[-1]

    def reply(self, messages: Sequence[Message]) -> Reply:
        """The whole answer; raises Unavailable when it was cut, Refused when it is a refusal."""
        if self._finish is None:
            raise Unavailable(f"{self._endpoint.provider} cut its answer short.")
        if self._finish == "content_filter" or (self._refusal and not self._text):
            why = "".join(self._refusal) or "its content filter stopped the answer"
            raise Refused(f"{self._endpoint.provider}/{self._endpoint.model} declined: {why}")
        message = Message("assistant", tuple(self._parts()))
        stop = STOPS.get(self._finish, "end")
        if stop != "length":
            stop = "calls" if message.calls else "end"
        usage = self._usage
        if usage is None or not usage.told:
            usage = estimated(messages, message, self._tools)
        return Reply(message, usage, stop, self._model, self._request_id)  # type: ignore[arg-type]

    def _parts(self) -> Iterator[Part]:
        if self._thinking:
            yield Thinking("".join(self._thinking))
        if self._submits and self._calls:
            yield Text(self._calls[0].arguments)
            return
        if self._text:
            yield Text("".join(self._text))
        for call in self._calls:
            yield Call(call.id, call.name, call.arguments or "{}", call.signature)


def _usage(usage: Mapping[str, Any]) -> Usage:
    sent, written = (usage.get(f"{name}_tokens_details") or {} for name in ("prompt", "completion"))
    return Usage(
        input=counted(usage.get("prompt_tokens")),
        output=counted(usage.get("completion_tokens")),
        cache_read=counted(sent.get("cached_tokens") or usage.get("prompt_cache_hit_tokens")),
        cache_write=counted(sent.get("cache_write_tokens")),
        thinking=counted(written.get("reasoning_tokens")),
    )
