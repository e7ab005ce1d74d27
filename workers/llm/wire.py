"""Models behind a wire: when to ask again, how to leave, and what a failure means."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Protocol

import httpx2

from workers.halting import Halt
from workers.llm.base import (
    Delta,
    Message,
    ModelError,
    Options,
    Refused,
    Reply,
    ToolSpec,
    Unavailable,
)
from workers.llm.concessions import Concession, Concessions, Request
from workers.llm.endpoint import Endpoint, patience
from workers.llm.failures import failure, unreachable
from workers.llm.lines import Lines
from workers.llm.streaming import Stream, interruptible

# What reading an answer raises that is not of the shape the protocol gives it.
MISSHAPEN = (ValueError, TypeError, AttributeError, LookupError)


class Answer(Protocol):
    """An answer in the making."""

    def absorb(self, piece: Any) -> Iterator[Delta]:
        """Take one piece of the stream in; yields what it adds."""

    def reply(self, messages: Sequence[Message]) -> Reply:
        """The whole answer; raises Unavailable when it was cut, Refused when it is a refusal."""


class Wire(ABC):
    """A model that is asked through a provider's SDK; a protocol says how to ask and to read.

    Both SDKs come from one generator, so their errors have the same names.
    """

    scripted = False
    sdk: Any
    fault: type[Exception]  # what all of its errors are
    concessions: Sequence[Concession]

    def __init__(self, endpoint: Endpoint) -> None:
        self.provider, self.name = endpoint.provider, endpoint.model
        self.window, self.small = endpoint.window, endpoint.small
        self._endpoint = endpoint
        self._learned = Concessions(self.concessions)
        self._lines = Lines()
        self._http = endpoint.client(self._lines)
        weakref.finalize(self, self._http.close)

    @abstractmethod
    def compose(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], options: Options
    ) -> Request:
        """What to ask, as the protocol wants it."""

    @abstractmethod
    def begin(self, request: Request) -> Stream[Any]:
        """Ask; blocks until the answer begins."""

    @abstractmethod
    def answer(self, request: Request) -> Answer:
        """What the answer to this request is put together in."""

    @abstractmethod
    def told(self, error: Any) -> str:
        """What the provider said, by one of the SDK's errors."""

    def reply(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        options: Options,
        halt: Halt,
    ) -> Generator[Delta, None, Reply]:
        """Stream one answer; raises ModelError, or Stopped when `halt` is raised meanwhile."""
        composed = self.compose(messages, tools, options)
        request = self._learned.applied(composed)
        while True:
            answer = self.answer(request)
            try:
                yield from self._stream(request, answer, options.silence, halt)
                return answer.reply(messages)
            except self.sdk.BadRequestError as error:
                request = self._conceded(request, error)
            except (self.fault, httpx2.HTTPError, *MISSHAPEN) as error:
                raise self._meaning(error) from error

    def _stream(
        self, request: Request, answer: Answer, silence: float, halt: Halt
    ) -> Iterator[Delta]:
        timed = {**request, "timeout": patience(silence)}
        for piece in interruptible(lambda: self.begin(timed), halt, silence, self._lines):
            yield from answer.absorb(piece)

    def _conceded(self, request: Request, error: Exception) -> Request:
        """The request as the server can take it; raises what the refusal means otherwise."""
        meaning = self._meaning(error)
        if type(meaning) is not Refused:
            raise meaning from error
        amended = self._learned.amended(request, self.told(error))
        if amended is None:
            raise meaning from error
        return amended

    def _meaning(self, error: Exception) -> ModelError:
        if isinstance(error, self.sdk.APIStatusError):
            status, headers = error.response.status_code, error.response.headers
            return failure(self._endpoint, status, self.told(error), headers)
        if isinstance(error, self.sdk.APITimeoutError):
            return Unavailable(f"{self.provider} did not answer in time.")
        if isinstance(error, self.sdk.APIConnectionError | httpx2.HTTPError):
            return unreachable(self._endpoint, error)
        if isinstance(error, self.sdk.APIError):
            return failure(self._endpoint, 200, self.told(error), {})
        why = self._endpoint.without_key(str(error))
        return Unavailable(f"{self.provider} sent what cannot be read: {why}")
