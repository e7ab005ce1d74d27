"""The model `scripted/demo`: plays an agent without any intelligence, the same way every time.

It reads in the prompt what a step declares, drives every tool it is offered and hands over
outputs of the right form, so that every pipeline can be shown and tested without a provider. A
fenced block marked `scripted` in the task changes what it does (see `plays`).
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from workers.halting import Halt
from workers.llm.base import (
    Call,
    Delta,
    Message,
    ModelError,
    Options,
    Overflow,
    Refused,
    Reply,
    Shape,
    Text,
    Thinking,
    Throttled,
    ToolSpec,
    Unavailable,
    Usage,
)
from workers.llm.estimating import tokens, weight
from workers.llm.scripted.plays import Play, play_for
from workers.llm.scripted.scenes import Scene, scene_of
from workers.llm.scripted.shapes import instance
from workers.llm.scripted.tours import Turn, finale, tour
from workers.llm.scripted.words import Theme

PIECE = 24  # characters a delta has, about


class Scripted:
    """The scripted model; remembers only which executions it has already failed once."""

    provider = "scripted"
    name = "demo"
    window = 128_000
    small = False
    scripted = True

    def __init__(self) -> None:
        self._failed: set[tuple[str, str, int]] = set()

    def reply(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        options: Options,
        halt: Halt,
    ) -> Generator[Delta, None, Reply]:
        """Stream one answer; raises ModelError when told to, Stopped when `halt` is raised."""
        halt.check()
        scene = scene_of(messages)
        play = play_for(scene)
        self._fail_once(scene, play)
        turn = _turn(scene, play, tools, options)
        if turn.first and play.chunks:
            turn = turn.saying(play.chunk * play.chunks)
        yield from _spoken(turn, play, halt)
        return _replied(messages, turn)

    def _fail_once(self, scene: Scene, play: Play) -> None:
        execution = (scene.run, scene.step, scene.execution)
        if play.error and execution not in self._failed:
            self._failed.add(execution)
            raise _error(play.error)


def _error(kind: str) -> ModelError:
    told = f"scripted/demo was told to be {kind}"
    if kind == "throttled":
        error: ModelError = Throttled(told, after=0.1)
    else:
        error = {"unavailable": Unavailable, "overflow": Overflow}.get(kind, Refused)(told)
    error.unpaid = True
    return error


def _turn(scene: Scene, play: Play, tools: Sequence[ToolSpec], options: Options) -> Turn:
    """What to say and call now."""
    theme = Theme(scene)
    if options.shape:
        if play.fail is not None:
            raise Refused(f"scripted/demo: {play.fail}")
        value = (
            instance(options.shape.schema, theme) if play.structured is None else play.structured
        )
        return Turn(json.dumps(value, ensure_ascii=False), first=not scene.turns)
    if play.text is not None:
        return Turn(play.text, first=not scene.turns)
    if not scene.step:
        return _chat(scene, play)
    turns = tour(theme, play, tools)
    if scene.turns < len(turns):
        return turns[scene.turns]
    return finale(theme, play, tools)


def _shaped(theme: Theme, play: Play, shape: Shape) -> Any:
    """The answer to a shape: as told, or the least that is valid."""
    if play.structured is not None:
        return play.structured
    value = instance(shape.schema, theme)
    return {**value, **play.outputs} if isinstance(value, dict) else value


def _chat(scene: Scene, play: Play) -> Turn:
    """An answer outside any step: the calls of the play, or an echo."""
    if play.calls and not scene.answered:
        return Turn("One moment.", calls=play.calls, first=True)
    said = " ".join(scene.said.split())[:400]
    return Turn(f"This is the scripted demo model. You said: {said}", first=True)


def _spoken(turn: Turn, play: Play, halt: Halt) -> Iterator[Delta]:
    if turn.thought:
        yield Delta("thinking", turn.thought)
    size = len(play.chunk) if turn.first and play.chunks else PIECE
    for start in range(0, len(turn.words), size):
        if play.delay:
            halt.wait(play.delay)
        halt.check()
        yield Delta("text", turn.words[start : start + size])
    for _, arguments in turn.calls:
        halt.check()
        yield Delta("call", arguments)


def _replied(messages: Sequence[Message], turn: Turn) -> Reply:
    position = sum(message.role == "assistant" for message in messages)
    calls = tuple(
        Call(f"call_{position}_{index}", name, arguments)
        for index, (name, arguments) in enumerate(turn.calls)
    )
    thoughts = (Thinking(turn.thought),) if turn.thought else ()
    words = (Text(turn.words),) if turn.words else ()
    message = Message("assistant", (*thoughts, *words, *calls))
    thinking = tokens(turn.thought)
    sent = sum(weight(earlier) for earlier in messages)
    usage = Usage(input=sent, output=weight(message), thinking=thinking)
    return Reply(message, usage, "calls" if calls else "end", Scripted.name, f"script_{position}")
