"""What an agent is told when somebody talks to it: who it is, what was said, the message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from models import chats
from models.agents import Agent
from models.chats import ChatMessage
from workers.agents.asking import size
from workers.agents.compaction import EXCHANGES_KEPT, FULL, SHORT_CHARS, resumed
from workers.agents.prompts import AGENT_FILE, FILES, joined
from workers.agents.tools.base import bounded
from workers.llm.base import Call, Message, Part, Result, Text
from workers.llm.estimating import CHARACTERS_PER_TOKEN

SUPPLEMENT = 60_000  # characters
SMALL_SUPPLEMENT = 2_000
CROWDED = 0.6  # of the window: with that much said before, older messages are condensed first
SHARE = 8  # part of the window that one message may take
CALLS_SHOWN = 20  # of one turn
NOTHING = "(nothing)"  # providers refuse an empty message

TALK = """You talk with a person. What you say is shown to them as you say it, in Markdown; your \
turn is over when you have said it and call no more tools."""
FILES_HERE = """Your working directory belongs to this conversation and stays as you leave it; \
give paths relative to it. It is a git repository that the platform keeps: do not commit yourself. \
Commands run in a sandbox that ends with your turn."""


@dataclass(frozen=True)
class Talk:
    """Everything a turn is told; `past` are the messages since those that `summary` condenses."""

    agent: Agent
    past: Sequence[ChatMessage]
    message: ChatMessage
    shown: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)  # files, by the message
    summary: str = ""
    override: str = ""
    supplement: str = ""
    tools: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    skills: str = ""
    window: int = 128_000
    small: bool = False
    used: int = 0  # tokens of the conversation, as the model counted them last

    def opening(self) -> list[Message]:
        """The messages that the conversation opens with."""
        system = Message("system", (Text(self._system()),))
        return [system, *self._said(), self.asked(self.message)]

    def asked(self, message: ChatMessage, most: int | None = None) -> Message:
        """What a person has said, with the files that they have shown."""
        words = message.content.strip()
        files = self.shown.get(message.id, ())
        told = bounded(words, most) if most is not None else words
        return Message("user", (Text(told or ("" if files else NOTHING)), *files))

    def condensable(self) -> int:
        """How many of the messages after the system's are to be condensed first; mostly none."""
        said = self._said()
        turns = [place for place, message in enumerate(said) if message.role == "user"]
        turns = turns[1:] if self.summary else turns  # notes alone are not condensed once more
        full = size(said) > CROWDED * self.window or self.used > FULL * self.window
        if not full or len(turns) <= EXCHANGES_KEPT:
            return 0
        return turns[-EXCHANGES_KEPT]

    def condensed_up_to(self) -> int:
        """The number of the last message among those."""
        told = [message for message in self.past if message.role == chats.USER]
        return told[-EXCHANGES_KEPT].number - 1

    def _system(self) -> str:
        if self.small:
            who = f"You are {self.agent.name}. You answer a person, briefly and to the point."
            return "\n".join(filter(None, [who, bounded(self.supplement, SMALL_SUPPLEMENT)]))
        here = [TALK, *([FILES_HERE] if self.tools else []), *self.environment]
        return joined(
            [
                *self._persona(),
                ("ENVIRONMENT", "\n".join(here)),
                ("SKILLS", self.skills),
                ("THIS CONVERSATION", bounded(self.supplement, SUPPLEMENT)),
            ]
        )

    def _persona(self) -> Iterable[tuple[str, str]]:
        if self.override.strip():
            return [("YOUR PART", bounded(self.override, SUPPLEMENT))]
        files = self.agent.files or {}
        texts = {name: bounded(files.get(name, ""), AGENT_FILE) for name in FILES}
        texts["IDENTITY.md"] = texts["IDENTITY.md"] or f"You are {self.agent.name}."
        return [(title, texts[name]) for name, title in FILES.items()]

    def _said(self) -> list[Message]:
        before = [resumed(self.summary)] if self.summary else []
        most = self.window * CHARACTERS_PER_TOKEN // SHARE
        return [*before, *(part for each in self.past for part in self._heard(each, most))]

    def _heard(self, message: ChatMessage, most: int) -> Iterable[Message]:
        """A message as the model hears it again; an answer with what its tools came to."""
        if message.role == chats.USER:
            return [self.asked(message, most)]
        words = bounded(message.content.strip(), most) or NOTHING
        calls = (message.tool_calls or ()) if self.tools else ()
        return [*used(message, calls[-CALLS_SHOWN:]), Message("assistant", (Text(words),))]


def used(message: ChatMessage, calls: Sequence[Mapping[str, str]]) -> list[Message]:
    """The tools that were called for an answer, with their results cut short."""
    if not calls:
        return []
    asked: list[Part] = []
    told: list[Part] = []
    for place, call in enumerate(calls):
        name = f"m{message.number}_{place}"
        result = bounded(str(call.get("result") or "(stopped)"), SHORT_CHARS)
        asked.append(Call(name, call["toolName"], bounded_arguments(call["args"])))
        told.append(Result(name, result, bool(call.get("isError"))))
    return [Message("assistant", tuple(asked)), Message("tool", tuple(told))]


def bounded_arguments(arguments: str) -> str:
    """Arguments as they were, or nothing where they are too long to be told again."""
    return arguments if len(arguments) <= SHORT_CHARS else "{}"
