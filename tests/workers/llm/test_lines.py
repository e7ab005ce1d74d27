"""The last look before a request leaves."""

from __future__ import annotations

import time

import httpx2
import pytest

from tests.servers.provider import Answer, Provider
from workers.halting import Halt, Stopped
from workers.llm.lines import Lines


def test_a_request_whose_work_was_taken_over_while_it_was_made_never_leaves() -> None:
    """As in a process that was stopped meanwhile: its call would be paid for a second time."""
    lines, halt = Lines(), Halt()
    lines.may_send = halt.check
    with Provider() as server, httpx2.Client(event_hooks={"request": [lines.watch]}) as client:
        server.answers(Answer(text=("a",)))
        halt.valid_until = time.monotonic() - 1
        with pytest.raises(Stopped):
            client.post(f"{server.url}/v1/chat/completions", json={"messages": []})
        assert server.requests == []


def test_nor_does_the_second_half_of_one_that_was_stopped_between_the_two() -> None:
    """A provider that has read only the head of a request answers nothing, and asks no money."""
    lines, halt = Lines(), Halt()

    def stopped_after_this_look() -> None:
        halt.check()
        halt.valid_until = time.monotonic() - 1

    lines.may_send = stopped_after_this_look
    with Provider() as server, httpx2.Client(event_hooks={"request": [lines.watch]}) as client:
        server.answers(Answer(text=("a",)))
        with pytest.raises(Stopped):
            client.post(f"{server.url}/v1/chat/completions", json={"messages": []})
        assert server.requests == []
