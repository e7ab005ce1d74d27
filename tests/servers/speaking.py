"""Asking any model for any answer: over a wire the server is told, the script is directed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from models.credentials import Credential
from tests.servers.provider import Answer, Provider
from workers.halting import Halt
from workers.llm import open_model
from workers.llm.base import Delta, Message, Model, Options, Reply, Text, ToolSpec


@dataclass
class Speaker:
    """A model, and the way to tell it what to say next."""

    model: Model
    server: Provider | None = None

    def ask(
        self,
        answer: Answer,
        tools: Sequence[ToolSpec] = (),
        options: Options | None = None,
        halt: Halt | None = None,
    ) -> Iterator[Delta]:
        if self.server:
            self.server.answers(answer)
        user = "Run run_1 · step DO · visit 1 · retry 0 · execution 1\n\n# Your Task\nSay hello."
        if not self.server:
            user += f"\n```scripted\n{json.dumps({'default': _play(answer)})}\n```\n"
        messages = [Message("system", (Text("Be brief."),)), Message("user", (Text(user),))]
        return self.model.reply(messages, tools, options or Options(), halt or Halt())


def _play(answer: Answer) -> dict[str, object]:
    """The same answer in the words of the scripted model."""
    if answer.calls:
        return {"calls": [{"name": name, "arguments": text} for name, text in answer.calls]}
    if answer.status != 200:
        kinds = {429: "throttled", 503: "unavailable", 400: "overflow"}
        return {"error": kinds.get(answer.status, "refused")}
    if answer.hang is not None:
        return {"chunks": 3, "delay_ms": 20_000}
    return {"text": "".join(answer.text)}


def collected(stream: Iterator[Delta]) -> tuple[list[Delta], Reply]:
    deltas: list[Delta] = []
    while True:
        try:
            deltas.append(next(stream))
        except StopIteration as done:
            return deltas, done.value


def remote(protocol: str, server: Provider) -> Speaker:
    name, path = {"openai": ("gpt-5.2", "/v1"), "anthropic": ("claude-sonnet-4-6", "")}[protocol]
    credentials = {protocol: Credential("key", server.url + path)}
    return Speaker(open_model(f"{protocol}/{name}", credentials), server)
