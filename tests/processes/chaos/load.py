"""The load: runs that are always under way, what is done to them, and how each must end."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx2 as httpx

from tests.processes.chaos.library import DO, LONGEST, PLAY, SHAPES, SWARM, THINK, swarm
from tests.processes.chaos.mind import KILLS_ITS_WORKER
from tests.processes.product import scripted

LET_BE, CANCEL, PAUSE, PAUSE_NOW, RESTART = "let be", "cancel", "pause", "pause now", "restart"
FATES = (LET_BE,) * 14 + (CANCEL, PAUSE, PAUSE_NOW, RESTART)
OVER = {"completed", "failed", "cancelled"}
LIMITS = (None,) * 3 + (2_000, 40_000)  # tokens; the low one is reached by the first call
KINDS = (THINK,) * 9 + (DO,) * 6 + (PLAY,) * 5 + (SWARM,) * 2
PATIENCE = 60.0  # seconds in which a request must have got an answer
AWAY = (503, True)  # how an outage is told: the status, and whether it says when to ask again
CREATORS, MENDERS = 4, 3  # threads


@dataclass
class Asked:
    """One run that was asked for, and what has become of it so far."""

    key: str
    form: dict[str, Any]
    fate: str  # what is still to be done to it
    id: str = ""
    expected: set[str] = field(default_factory=lambda: {"completed"})
    reason: str = ""  # what its error must say
    cancelled_at: float | None = None  # when a cancel was acknowledged
    restarted: bool = False
    raising: bool = False  # its limit is being raised

    @property
    def kind(self) -> str:
        return str(self.form.get("pipeline_id", SWARM)).partition("-")[0]

    @property
    def path(self) -> str:
        """Where to ask for it."""
        return "/v1/swarm/execute" if self.kind == SWARM else "/v1/runs"


def draw(seed: int, number: int) -> Asked:
    """The run of that number: the same for the same seed."""
    dice = random.Random(f"run {seed} {number}")
    kind = dice.choice(KINDS)
    marker = f"chaos-{number:06d}-{seed}"
    if kind == SWARM:
        fate = dice.choice([LET_BE] * 9 + [CANCEL])
        return Asked(f"key-{marker}", swarm(dice.choice(sorted(SHAPES)), marker), fate)
    play = [{"chunks": dice.randint(5, 40), "chunk": "word ", "delay_ms": 25, "tools": False}]
    steps = {f"S{place + 1}": play for place in range(LONGEST[kind])}
    form = {
        "pipeline_id": f"{kind}-{dice.randint(1, LONGEST[kind])}",
        "task_description": scripted(marker, **steps) if kind == PLAY else marker,
    }
    fate, limit = dice.choice(FATES), dice.choice(LIMITS)
    if kind != PLAY and fate == LET_BE and limit:
        form["budget_tokens"] = limit
    return Asked(f"key-{marker}", form, fate)


class Load:
    """Keeps so many runs under way until it is told to stop asking; a context manager."""

    def __init__(self, seed: int, in_flight: int, urls: Callable[[], list[str]]) -> None:
        self.seed = seed
        self.in_flight = in_flight
        self.urls = urls
        self.asked: list[Asked] = []
        self.open: dict[str, Asked] = {}  # those not known to be over, by id
        self.fresh: deque[Asked] = deque(maxlen=500)  # for whoever wants to follow one
        self.complaints: Counter[str] = Counter()
        self._client = httpx.Client(timeout=20, limits=httpx.Limits(max_connections=None))
        self._next = 0
        self._dice = random.Random(f"load {seed}")
        self._lock = threading.Lock()
        self._due: list[tuple[float, Callable[[], None]]] = []
        self._leaving = threading.Event()
        self._full = threading.Event()

    def __enter__(self) -> Load:
        tasks = [self._create_runs] * CREATORS + [self._mend] * MENDERS
        self._threads = [threading.Thread(target=task, name="load") for task in tasks]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        for thread in self._threads:
            thread.join()
        self._client.close()

    @property
    def quiet(self) -> bool:
        """Whether nothing remains to be done to any run."""
        with self._lock:
            return not (self._due or self.open)

    def stop_asking(self) -> None:
        """No new runs; what was promised to the others is still done."""
        self._full.set()

    def take(self, **more: Any) -> Asked:
        """The next run, for a fault that asks for it in its own way."""
        asked = self._draw()
        while asked.kind == SWARM:
            asked = self._draw()
        asked.fate = LET_BE
        asked.form |= more
        return asked

    def poison(self) -> Asked:
        """Ask for a run whose model call kills the worker that makes it."""
        asked = self.take(pipeline_id=f"{THINK}-1")
        asked.form["task_description"] += f" {KILLS_ITS_WORKER}"
        asked.expected, asked.reason = {"failed"}, "quarantined"
        self.create(asked)
        return asked

    def create(self, asked: Asked) -> None:
        """Ask for the run until it is answered, always with the same key."""
        if asked.kind == SWARM:
            self._put_on_a_board(asked.form["tasks"])
        headers = {"Idempotency-Key": asked.key}
        answer = self._insist("POST", asked.path, json=asked.form, headers=headers)
        if answer is None or answer.status_code != 200:
            self._complain("create", answer)
            return
        told = answer.json()
        asked.id = told.get("swarm_id") or told["id"]
        with self._lock:
            self.asked.append(asked)
            self.open[asked.id] = asked
            self.fresh.append(asked)
        self._plan(asked)

    def _put_on_a_board(self, orders: list[dict[str, Any]]) -> None:
        """Make a project with the tasks that the orders of a swarm are for, and name them there."""
        project = self._made("/v1/projects", name=orders[0]["title"])
        tasks: dict[str, str] = {}
        for order in orders:
            title = order["task_id"]
            if title not in tasks:
                tasks[title] = self._made(f"/v1/projects/{project}/tasks", title=title)
            order |= {"project_id": project, "task_id": tasks[title]}

    def _made(self, path: str, **form: str) -> str:
        """The id of what was made for the form; empty when there was no answer in time."""
        answer = self._insist("POST", path, json=form)
        return str(answer.json().get("id", "")) if answer is not None else ""

    def observe(self, states: dict[str, str]) -> None:
        """Hear how the runs stand: ended ones make room for others."""
        for run_id, state in states.items():
            asked = self.open.get(run_id)
            if asked is not None and state == "paused" and "budget_tokens" in asked.form:
                self._raise_limit(asked)
            if asked is None or state not in OVER:
                continue
            if asked.fate == RESTART:
                asked.fate = "restarting"
                self._later(0.2, partial(self._restart, asked))
            elif asked.fate == LET_BE:
                with self._lock:
                    del self.open[run_id]

    def _raise_limit(self, asked: Asked) -> None:
        """Let a run go on that has reached its limit; one at a time, for each run."""
        if not asked.raising:
            asked.raising = True
            self._later(0.2, partial(self._resume_higher, asked))

    def _resume_higher(self, asked: Asked) -> None:
        asked.form["budget_tokens"] *= 4
        higher = {"budget_tokens": asked.form["budget_tokens"]}
        answer = self._insist("POST", f"/v1/runs/{asked.id}/resume", json=higher)
        if answer is None or answer.status_code not in {200, 409}:
            self._complain("resume higher", answer)
        asked.raising = False

    def _create_runs(self) -> None:
        while not (self._leaving.is_set() or self._full.is_set()):
            if len(self.open) >= self.in_flight:
                self._leaving.wait(0.05)
                continue
            self.create(self._draw())

    def _draw(self) -> Asked:
        with self._lock:
            self._next += 1
            return draw(self.seed, self._next)

    def _plan(self, asked: Asked) -> None:
        wait = self._dice.uniform(0.1, 4.0)
        if asked.fate == CANCEL:
            self._later(wait, partial(self._cancel, asked))
        elif asked.fate in {PAUSE, PAUSE_NOW}:
            self._later(wait, partial(self._pause, asked))

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        with self._lock:
            self._due.append((time.monotonic() + seconds, act))

    def _mend(self) -> None:
        while not self._leaving.wait(0.05):
            with self._lock:
                now = time.monotonic()
                ready = next((item for item in self._due if item[0] <= now), None)
                if ready:
                    self._due.remove(ready)
            if ready:
                ready[1]()

    def _cancel(self, asked: Asked) -> None:
        where = "swarm" if asked.kind == SWARM else "runs"
        answer = self._insist("POST", f"/v1/{where}/{asked.id}/cancel")
        if answer is not None and answer.status_code == 200:
            asked.expected, asked.cancelled_at = {"cancelled"}, time.time()
        elif answer is None or answer.status_code != 409:
            self._complain("cancel", answer)
        asked.fate = LET_BE

    def _pause(self, asked: Asked) -> None:
        how = {"mode": "now"} if asked.fate == PAUSE_NOW else {}
        answer = self._insist("POST", f"/v1/runs/{asked.id}/pause", params=how)
        if answer is None or answer.status_code not in {200, 409}:
            self._complain("pause", answer)
        self._later(self._dice.uniform(0.5, 3.0), partial(self._resume, asked))

    def _resume(self, asked: Asked) -> None:
        answer = self._insist("POST", f"/v1/runs/{asked.id}/resume")
        if answer is None or answer.status_code not in {200, 409}:
            self._complain("resume", answer)
        asked.fate = LET_BE

    def _restart(self, asked: Asked) -> None:
        note, asked.restarted = {"context": "chaos-attempt=2"}, True
        answer = self._insist("POST", f"/v1/runs/{asked.id}/restart", json=note)
        if answer is None or answer.status_code not in {200, 409}:
            self._complain("restart", answer)
        asked.fate = LET_BE

    def _insist(self, method: str, path: str, **more: Any) -> httpx.Response | None:
        """Ask, of any web process, until there is an answer other than an outage."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not self._leaving.is_set():
            answer = self._once(method, path, **more)
            if answer is not None and answer.status_code < 500:
                return answer
            if answer is not None and (answer.status_code, "Retry-After" in answer.headers) != AWAY:
                self._complain(method, answer)
            time.sleep(0.2)
        return None

    def _once(self, method: str, path: str, **more: Any) -> httpx.Response | None:
        """One try at any web process; None when there was no answer."""
        urls = self.urls()
        if not urls:
            return None
        try:
            return self._client.request(method, random.choice(urls) + path, **more)
        except httpx.HTTPError:
            return None

    def _complain(self, what: str, answer: httpx.Response | None) -> None:
        told = "no answer" if answer is None else f"{answer.status_code} {answer.text[:200]}"
        if not self._leaving.is_set():
            self.complaints[f"{what}: {told}"] += 1
