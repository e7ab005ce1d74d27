"""Live text and a Redis that does not take it: whoever works does not wait for that."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from models import streams
from models.runs import Run
from models.steps import Step
from tests.processes.chaos.proxy import Proxy
from tests.processes.product import until
from workers.agents import voice as voices
from workers.agents.events import Spoke
from workers.agents.recounting import Recounting
from workers.agents.voice import Voice

WAIT = 0.4  # seconds that a client waits for an answer here; in earnest it is five


@pytest.fixture
def cable(stream: str) -> Iterator[Proxy]:
    """What lies between the agent and Redis."""
    with Proxy(urlsplit(stream).port or 0) as proxy:
        yield proxy


@pytest.fixture(params=[Voice, Recounting])
def voice(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, stream: str, cable: Proxy
) -> Voice:
    monkeypatch.setattr(voices, "HUSHED_SECONDS", 1.0)
    url = f"{cable.through(stream)}?socket_timeout={WAIT}"
    made: Voice = request.param(Run(id="run_1", owner_id="usr_1"), Step(step_id="FIX"), url)
    made.asked(1, again=False)
    return made


def say(voice: Voice, *words: str) -> None:
    for word in words:
        voice.speak(Spoke("text", word))
        voice.flush()


def heard(url: str) -> str:
    return "".join(each["data"]["chunk"] for each in streams.decoded(entries(url)))


def entries(url: str) -> list:
    return streams.client(url).xrange(streams.KEY)


@pytest.mark.slow
def test_a_redis_that_is_silent_takes_an_agents_time_once_and_hears_the_rest_later(
    voice: Voice, stream: str, cable: Proxy
) -> None:
    say(voice, "one ")
    cable.fall_silent()
    began = time.monotonic()
    say(voice, *(f"{number} " for number in range(20)))
    assert time.monotonic() - began < 5 * WAIT
    cable.speak()
    time.sleep(voices.HUSHED_SECONDS)
    say(voice, "the end")
    until(lambda: heard(stream).endswith("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 the end"))


def test_what_was_not_told_of_a_reply_is_not_told_in_the_next_one(stream: str) -> None:
    voice = Voice(Run(id="run_1", owner_id="usr_1"), Step(step_id="FIX"), "redis://127.0.0.1:1/0")
    say(voice, "lost", "held back")
    voice.redis_url, voice._hushed_until = stream, time.monotonic()
    voice.asked(2, again=False)
    say(voice, "the next")
    assert heard(stream) == "the next"
