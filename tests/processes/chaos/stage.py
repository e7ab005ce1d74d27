"""Where it all happens: servers, proxy, processes, model and sink, and a library of agents."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2 as httpx
import psycopg2
import redis
from psycopg2.extensions import connection as Connection

from tasks import QUEUES
from tests.processes.chaos import library
from tests.processes.chaos.fleet import Fleet, Span
from tests.processes.chaos.model import PaidModel
from tests.processes.chaos.proxy import Proxy
from tests.processes.chaos.sink import Sink
from tests.processes.product import DJINN, until
from tests.processes.servers import Server, postmaster, redis_pid
from workers.local.postgres import postgres
from workers.local.valkey import valkey

WANTED = {"web": 2, "agents": 3, "executors": 2, "short": 2, "clock": 2}
DISK_MB = 512


@dataclass
class Outages:
    """When a store was away: no step is claimed without Postgres, none handed out without Redis."""

    spans: list[Span] = field(default_factory=list)

    @contextmanager
    def noted(self) -> Iterator[None]:
        began = time.time()
        place = len(self.spans)
        self.spans.append((began, float("inf")))
        try:
            yield
        finally:
            self.spans[place] = (began, time.time())

    def touch(self, start: float, end: float) -> bool:
        """Whether any outage overlaps this stretch."""
        return any(began < end and ended > start for began, ended in list(self.spans))


def settled(start: float, seconds: float, spans: Iterable[Span]) -> float:
    """From when on the `seconds` count that something may take after `start`.

    An outage that begins before they are over puts that off.
    """
    for began, ended in sorted(spans):
        if began < start + seconds:
            start = max(start, ended)
    return start


class Stage:
    """Everything faults are done to; made by `stage`."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.outages = Outages()
        self.hands = stack.enter_context(ThreadPoolExecutor(1))
        self.log_disk = folder / "servers" / "valkey" / "data"  # where Redis writes its file
        self.log_disk.mkdir(parents=True)
        self.disks = _mounted(self.log_disk, stack)
        self.postgres = Server(postgres, folder / "servers")
        self.redis = Server(valkey, folder / "servers")
        self.sink = stack.enter_context(Sink())
        self.model = stack.enter_context(PaidModel(self.sink))
        wanted = {kind: number for kind, number in WANTED.items() if _served(kind)}
        self.fleet = Fleet(folder, wanted, self.hands)
        stack.callback(self._stop_servers)
        self.on_hands(self.postgres.start)
        self.on_hands(self.redis.start)
        self.proxy = stack.enter_context(Proxy(urlsplit(self.redis.url).port or 0))
        self.fleet.environment = self._environment()
        self.workspaces = folder / "data" / "workspaces"
        self.workspaces.mkdir(parents=True)
        self.disks = self.disks and _mounted(self.workspaces, stack)
        self._prepare()
        stack.enter_context(self.fleet)
        until(self._ready, 60)

    def on_hands(self, act: Any) -> Any:
        """Do it in the thread that lasts: servers die with the thread that started them."""
        return self.hands.submit(act).result()

    def database(self) -> Connection:
        """A connection of ours, each statement by itself."""
        connection = psycopg2.connect(self.postgres.url, connect_timeout=5)
        connection.autocommit = True
        return connection

    def redis_client(self) -> redis.Redis:
        """Redis itself, past the proxy."""
        return redis.Redis.from_url(self.redis.url, socket_timeout=10)

    def crash_postgres(self, seconds: float) -> None:
        """An immediate stop, as `pg_ctl stop -m immediate`, and a restart after a while."""
        with self.outages.noted():
            pid = postmaster(self.folder / "servers")
            self.on_hands(lambda: self.postgres.crash(pid, signal.SIGQUIT))
            time.sleep(seconds)
            self.on_hands(self.postgres.start)

    def crash_redis(self, seconds: float) -> None:
        """SIGKILL, and a restart after a while."""
        with self.outages.noted():
            pid = redis_pid(self.redis.url)
            self.on_hands(lambda: self.redis.crash(pid, signal.SIGKILL))
            time.sleep(seconds)
            self.on_hands(self.redis.start)

    def _stop_servers(self) -> None:
        self.on_hands(self.redis.stop)
        self.on_hands(self.postgres.stop)

    def _environment(self) -> dict[str, str]:
        parts = urlsplit(self.redis.url)
        near = parts.netloc.replace(f":{parts.port}", f":{self.proxy.port}")
        return {
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": parts._replace(netloc=near).geturl(),
            "DJINN_DATA_PATH": str(self.folder / "data"),
            "AUTH_ENABLED": "false",
            "CUSTOM_CHAOS_BASE_URL": f"{self.model.url}/v1",
            "CUSTOM_CHAOS_API_KEY": "a-key",
            "MODEL_SILENCE_SEC": "4",
            "WORKER_THREADS": "16",
            "DEFAULT_STEP_TIMEOUT_SEC": "120",
        }

    def _prepare(self) -> None:
        """The schema, and the agents and pipelines of the load."""
        library.write(self.folder / "library")
        told = {**os.environ, **self.fleet.environment}
        for words in (["migrate"], ["library", "load", str(self.folder / "library")]):
            subprocess.run([DJINN, *words], env=told, check=True, capture_output=True)

    def _ready(self) -> bool:
        """Whether every web process answers and knows of every worker."""
        workers = sum(n for k, n in self.fleet.wanted.items() if k not in {"web", "clock"})
        urls = self.fleet.urls()
        return len(urls) == self.fleet.wanted["web"] and all(_knows(url, workers) for url in urls)


def _knows(url: str, workers: int) -> bool:
    try:
        status = httpx.get(f"{url}/v1/status", timeout=5).json()
    except httpx.HTTPError:
        return False
    return int(status.get("workers", 0)) >= workers


@contextmanager
def stage() -> Iterator[Stage]:
    """A stage in a folder of its own; nothing of it is left afterwards."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="djinn-chaos-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)  # run by root, Postgres itself is somebody else
        yield Stage(folder, stack)


def _served(kind: str) -> bool:
    """Whether the product has the queue that a kind of worker serves."""
    return kind in {"web", "clock"} or kind in QUEUES


def _mounted(folder: Path, stack: ExitStack) -> bool:
    """Put a small disk there where we may: root in most places, others nowhere."""
    options = f"size={DISK_MB}m,mode=755"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "djinn-chaos", str(folder)], capture_output=True
    )
    if done.returncode:
        return False
    stack.callback(subprocess.run, ["umount", "-l", str(folder)], check=False)
    return True
