"""The product's processes, kept as a platform keeps them: whatever ends is started again."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from itertools import count, cycle
from pathlib import Path

import httpx2 as httpx

from tests.processes.product import DJINN
from workers.local.folder import free_port
from workers.local.tether import tethered

COMMANDS = {
    "web": ["web"],
    "agents": ["worker", "--queues", "agents"],
    "executors": ["worker", "--queues", "executors"],
    "short": ["worker", "--queues", "short,media"],
    "clock": ["clock"],
}
Span = tuple[float, float]  # epoch seconds
READY = ('"event":"worker ready"', '"event":"clock ready"')
NOTICED = 1.0  # seconds a platform takes to notice that a process is gone


class Member:
    """One process; `busy` while a fault has it in hand."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.name = name
        self.kind = name.split("-")[0]
        self.process = process
        self.port = port
        self.log = log
        self.busy = False
        self.frozen: list[Span] = []
        self.left = math.inf  # when it was killed, or told to go
        self._ready = math.inf
        self.answers = False  # a web process: whether it has come so far that it can be asked

    @property
    def ready(self) -> float:
        """When a worker or a clock said that it was ready (epoch seconds)."""
        if self._ready == math.inf:
            self._ready = _ready_at(self.log)
        return self._ready

    def serving(self) -> list[Span]:
        """When it took work: from when it was ready until it left, but for when it stood still."""
        spans, at = list[Span](), self.ready
        for start, end in [*self.frozen, (self.left, math.inf)]:
            spans.append((at, min(start, self.left)))
            at = end
        return [(start, end) for start, end in spans if start < end]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def signal(self, number: signal.Signals, alone: bool = False) -> None:
        """Send a signal to this process and, unless `alone`, what it started in its session."""
        if self.process.poll() is None:
            (os.kill if alone else os.killpg)(self.pid, number)


def _ready_at(log: Path) -> float:
    with log.open(errors="replace") as lines:
        for line in lines:
            if any(words in line for words in READY):
                return datetime.fromisoformat(json.loads(line)["timestamp"]).timestamp()
    return math.inf


class Fleet:
    """So many processes of each kind, by `wanted`; a context manager.

    `hands` is one thread that outlasts it: children die with the thread that started them.
    """

    def __init__(self, folder: Path, wanted: dict[str, int], hands: ThreadPoolExecutor) -> None:
        self.folder = folder
        self.environment: dict[str, str] = {}
        self.wanted = wanted
        self.hands = hands
        self.members: dict[str, Member] = {}
        self.ever: list[Member] = []
        self.ended: list[str] = []  # who ended without being told to, and how
        self.on_loss: Callable[[float], None] = lambda at: None  # told when a worker was killed
        self._alone = cycle((False, True))  # platforms signal all of a process, or it alone
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._leaving = threading.Event()

    def __enter__(self) -> Fleet:
        for kind, number in self.wanted.items():
            for _ in range(number):
                self.add(kind)
        self._tending = threading.Thread(target=self._tend, name="platform")
        self._tending.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        self._tending.join()
        self._end_all()

    def add(self, kind: str, **environment: str) -> Member:
        """Start one more of a kind."""
        return self.hands.submit(self._start, kind, environment).result()

    def standing(self, kind: str) -> list[Member]:
        """Those of a kind that nobody has in hand."""
        with self._lock:
            members = list(self.members.values())
        return [m for m in members if m.kind == kind and not m.busy and m.process.poll() is None]

    def take(self, kind: str, dice: random.Random, spare: int = 1) -> Member | None:
        """Any one of a kind, for a fault alone; None when only `spare` are left standing."""
        with self._lock:
            free = [m for m in self.members.values() if m.kind == kind and not m.busy]
            free = [member for member in free if member.process.poll() is None]
            if kind == "web":
                free = [member for member in free if member.answers]
            if len(free) <= spare:
                return None
            chosen = dice.choice(sorted(free, key=lambda member: member.name))
            chosen.busy = True
            return chosen

    def take_this(self, member: Member) -> bool:
        """Have this one for a fault alone, if nobody has it in hand."""
        with self._lock:
            free = not member.busy
            member.busy = True
            return free

    def by_pid(self) -> dict[int, Member]:
        with self._lock:
            return {member.pid: member for member in self.members.values()}

    def kill(self, *members: Member, number: signal.Signals = signal.SIGKILL) -> None:
        """End processes at once; the platform starts them again a moment later."""
        for member in members:
            member.busy = True
            member.left = min(member.left, time.time())
            member.signal(number, next(self._alone))
        for member in members:
            member.process.wait()
        if any(member.kind in {"agents", "executors"} for member in members):
            self.on_loss(min(member.left for member in members))
        for member in members:
            self._forget(member)

    def retire(self, member: Member, patience: float) -> float:
        """SIGTERM, and after `patience` seconds SIGKILL; gives how long it took to go."""
        began = time.monotonic()
        member.busy = True
        member.left = min(member.left, time.time())
        member.signal(signal.SIGTERM, next(self._alone))
        try:
            member.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill(member)
        self._forget(member)
        return time.monotonic() - began

    def urls(self) -> list[str]:
        """Where the API can be asked."""
        return [member.url for member in self.standing("web") if member.answers]

    def freeze(self, member: Member, seconds: float, pause: Callable[[float], None]) -> None:
        """Have a process stand still for a while."""
        began = time.time()
        member.frozen.append((began, math.inf))
        member.process.send_signal(signal.SIGSTOP)
        pause(seconds)
        member.process.send_signal(signal.SIGCONT)
        member.frozen[-1] = (began, time.time())

    def gaps(self, kind: str, start: float) -> Iterator[Span]:
        """The stretches of time since `start` in which none of a kind took work."""
        ever = [member for member in list(self.ever) if member.kind == kind]
        at = start
        for begins, ends in sorted(span for member in ever for span in member.serving()):
            if begins > at:
                yield at, begins
            at = max(at, ends)
        if at < math.inf:
            yield at, math.inf

    def _start(self, kind: str, environment: dict[str, str]) -> Member:
        name, port = f"{kind}-{next(self._numbers)}", free_port()
        argv = tethered([DJINN, *COMMANDS[kind]], signal.SIGKILL)
        told = {**os.environ, **self.environment, "PORT": str(port), **environment}
        path = self.folder / f"{name}.log"
        with path.open("ab") as log:
            process = subprocess.Popen(
                argv, env=told, stdout=log, stderr=log, start_new_session=True
            )
        member = Member(name, process, port, path)
        with self._lock:
            self.members[name] = member
            self.ever.append(member)
        return member

    def _forget(self, member: Member) -> None:
        with self._lock:
            self.members.pop(member.name, None)

    def _tend(self) -> None:
        """Bring every kind back to its number."""
        missed: dict[str, float] = {}
        while not self._leaving.wait(0.2):
            self._bury()
            self._knock()
            for kind, number in self.wanted.items():
                if self._count(kind) >= number:
                    missed.pop(kind, None)
                elif time.monotonic() > missed.setdefault(kind, time.monotonic()) + NOTICED:
                    self.add(kind)

    def _count(self, kind: str) -> int:
        with self._lock:
            return sum(member.kind == kind for member in self.members.values())

    def _knock(self) -> None:
        """See which web processes answer by now; a platform sends nobody to the others."""
        for member in self.standing("web"):
            if not member.answers:
                with suppress(httpx.HTTPError):
                    httpx.get(f"{member.url}/healthz", timeout=NOTICED / 4)
                    member.answers = True

    def _bury(self) -> None:
        with self._lock:
            members = list(self.members.values())
        for member in members:
            if member.process.poll() is not None and not member.busy:
                member.left = min(member.left, time.time())
                self.ended.append(f"{member.name} ended by itself: {member.process.returncode}")
                self._forget(member)

    def _end_all(self) -> None:
        with self._lock:
            members = list(self.members.values())
        for member in members:
            member.signal(signal.SIGCONT)
            if member.process.poll() is None:
                member.process.terminate()
        deadline = time.monotonic() + 20
        for member in members:
            try:
                member.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                member.signal(signal.SIGKILL)
                member.process.wait()
