"""The paid model: an OpenAI-compatible server that writes down every call it was asked for."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.processes.chaos import mind
from tests.processes.chaos.mind import Scene
from tests.processes.chaos.sink import Sink
from tests.servers.provider import Answer, Provider, Received

NAME = "custom-chaos/paid"
TROUBLE = {
    "429": Answer(
        status=429,
        error={"type": "rate_limit_error", "message": "slow down"},
        headers={"Retry-After": "1"},
    ),
    "500": Answer(status=500, error={"type": "server_error", "message": "boom"}),
    "cut": Answer(text=("Half an ans",), cut=2),
    "malformed": Answer(raw=b'data: {"choices": [{"delta": {"content": "ha\n\n'),
    "silence": Answer(text=("And then", "nothing"), hang=2),
}
SLOWEST = 0.9  # seconds an answer takes


@dataclass(frozen=True)
class Asking:
    """A call under way: what is asked, and the port the caller asks from."""

    scene: Scene
    port: int


Occasion = Callable[[Asking], bool]  # whether this call was the one waited for


class PaidModel(Provider):
    """Answers by what it is asked, so that an answer asked for again is the same."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self.sink = sink
        self.asked: dict[Scene, list[float]] = defaultdict(list)  # when each call was to be paid
        self.unknown: set[str] = set()  # acts whose agents were told that nobody knows
        self.trouble: Answer | None = None
        self.troubled = 0
        self.poisons: Callable[[Asking], None] | None = None
        self._asked_lock = threading.Lock()
        self._during: list[Occasion] = []

    def reply_to(self, received: Received) -> Answer:
        scene = mind.scene_of(received.body)
        if scene is None:
            return Answer(status=400, error={"type": "invalid", "message": "no step asks this"})
        trouble = self.trouble
        if trouble is not None:
            self.troubled += 1
            return trouble
        with self._asked_lock:
            self.asked[scene].append(time.time())
        self._note_unknown(received)
        asking = Asking(scene, received.port)
        time.sleep(0.05 + SLOWEST * mind.chance(scene.key, 100) / 100)
        if scene.poison and self.poisons:
            self.poisons(asking)
        self._tell(asking)
        return mind.reply(scene, received.body, self.sink.port, self.sink.known)

    def during_a_call(self, occasion: Occasion) -> None:
        """Have `occasion` see the calls under way until it says that it has had its turn."""
        with self._asked_lock:
            self._during.append(occasion)

    def no_more(self, occasion: Occasion) -> None:
        """Stop waiting."""
        with self._asked_lock:
            self._during = [each for each in self._during if each is not occasion]

    def repeats(self) -> dict[Scene, dict[int, list[float]]]:
        """The sittings that asked for something more than once: when, by the turn."""
        found: dict[Scene, dict[int, list[float]]] = defaultdict(dict)
        with self._asked_lock:
            for scene, times in self.asked.items():
                if len(times) > 1:
                    found[replace(scene, turn=0)][scene.turn] = list(times)
        return found

    def calls_of_runs(self) -> dict[str, list[float]]:
        """When each run made the calls it was to pay for."""
        calls: dict[str, list[float]] = defaultdict(list)
        with self._asked_lock:
            for scene, times in self.asked.items():
                calls[scene.run] += times
        return calls

    def _tell(self, asking: Asking) -> None:
        """Offer this call to who waits for one, oldest first; only one looks at a time."""
        with self._asked_lock:
            waiting, self._during = self._during, []
        taken = next((each for each in waiting if each(asking)), None)
        with self._asked_lock:
            self._during = [each for each in waiting if each is not taken] + self._during

    def _note_unknown(self, received: Received) -> None:
        acts = mind.acts_so_far(received.body["messages"])
        if acts and "unknown" in acts[-1].answer.lower():
            self.unknown.add(acts[-1].key)
