"""How each kind of process begins: connect, import what it needs, serve until told to stop."""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from models import base, logs, processes
from models.config import Misconfigured, Settings, settings
from models.logs import log
from tasks import QUEUES
from workers.leases import keeper
from workers.serving import Pools, refuse_eviction

GRACE_SECONDS = 8.0  # in which acts under way may come to their end
DRAIN_MS = 15_000
LIMIT_SECONDS = 19.0  # platforms kill after 30 s; we promise 20
SPARE_CONNECTIONS = 4  # beside those of the threads: leases, heartbeats
TIDY_SECONDS = 60.0
CLOCK_LOCK_MS = 250  # what a lock keeps the clock from is done a moment later: all wait for it


def connect(least: int = 0, **session: int) -> Settings:
    """Point the models at the configured database and start logging.

    The process may open as many connections as the settings say, and at any rate `least`;
    `session` as for `base.connect`.
    """
    chosen = settings()
    logs.configure(chosen.log_level)
    connections = max(least, chosen.database_connections)
    base.connect(chosen.server("DATABASE_URL"), connections, **session)
    return chosen


def migrate() -> int:
    """Bring the schema up to date and load the shipped library; gives how many files ran."""
    from models import migrations, shelf

    connect()
    with base.db.connection_context():
        applied = migrations.migrate(base.db)
        shelf.load_shipped()
    return len(applied)


def load_library(path: Path) -> list[str]:
    """Load an operator's agents and pipelines; gives a line for each thing loaded."""
    from models import shelf

    connect()
    with base.db.connection_context():
        return shelf.load(path)


def clock() -> None:
    """Relay, sweep and periodic work, until SIGTERM."""
    from workers.clock import Clock

    chosen = connect(lock_timeout=CLOCK_LOCK_MS)
    redis_url = chosen.server("REDIS_URL")
    refuse_eviction(redis_url)
    ticking = Clock(chosen.server("DATABASE_URL"), redis_url)
    ticking.run(_told_to_stop())


def worker(queues: list[str], threads: int | None = None) -> int:
    """Perform the jobs of `queues`, `threads` of each at a time, until SIGTERM; then let go.

    Unfinished work goes to others. Gives the exit code: 1 for a process that has gone deaf, which
    its platform should start anew.
    """
    from workers import cells
    from workers.jobs.runs import tidy

    unknown = sorted(set(queues) - set(QUEUES))
    if unknown or not queues:
        raise Misconfigured(f"no such queue: {', '.join(unknown)}. There are {', '.join(QUEUES)}")
    threads = threads or settings().worker_threads
    chosen = connect(least=len(queues) * threads + SPARE_CONNECTIONS)
    redis_url = chosen.server("REDIS_URL")
    load_performers()
    at_steps = bool({"agents", "executors", "chats"} & set(queues))
    if at_steps:
        import_for_models(chosen)
    gc.freeze()  # what was imported stays: a look at all of it would hold everybody up
    if at_steps:
        cells.prepare()
    refuse_eviction(redis_url)
    pools = Pools(redis_url, queues, threads)
    stopping = _told_to_stop()
    with base.db.connection_context():
        me = processes.register("worker", queues)
    pools.start()
    log.info("worker ready", queues=queues, threads=threads)
    if at_steps:
        every(TIDY_SECONDS, stopping, tidy)
        if chosen.sandbox == "unsafe-local":
            log.warning("SANDBOX=unsafe-local: agents' commands run unconfined, with my rights")

    def heartbeat() -> None:
        processes.heartbeat(me)

    beating = every(processes.HEARTBEAT_MS / 1000, stopping, heartbeat)
    deaf: list[str] = []
    while not deaf and not stopping.wait(processes.HEARTBEAT_MS / 1000):
        deaf = pools.deaf()
    stopping.set()
    log.info("draining", deaf=deaf)
    draining = threading.Thread(target=keeper.drain, args=(GRACE_SECONDS,), name="draining")
    draining.start()
    pools.stop(DRAIN_MS)
    draining.join()
    beating.join()  # a late heartbeat would take our leave back
    with base.db.connection_context():
        processes.leave(me)
    return 1 if deaf else 0


def import_for_models(chosen: Settings) -> None:
    """Import what the models want that may be asked here.

    Leaves no connection open, which whoever is forked from this process would share.
    """
    from models import providers
    from workers import llm

    with base.db.connection_context():
        known = providers.known()
    base.db.close_all()
    llm.make_ready(known | ({"local"} if chosen.local_model_url else set()))


def load_performers() -> None:
    """Import every module of workers.jobs, so that each task has somebody who does it."""
    import workers.jobs

    for module in pkgutil.iter_modules(workers.jobs.__path__):
        importlib.import_module(f"workers.jobs.{module.name}")


def every(seconds: float, stopping: threading.Event, act: Callable[[], object]) -> threading.Thread:
    """Do it again and again until `stopping` rises, in a thread that nothing that it meets ends."""

    def go_on() -> None:
        while not stopping.wait(seconds):
            try:
                with base.db.connection_context():
                    act()
            except Exception as error:  # whatever it is, the next time may go well
                log.warning("not done", what=act.__name__, error=str(error).strip() or repr(error))

    thread = threading.Thread(target=go_on, name=act.__name__, daemon=True)
    thread.start()
    return thread


def _told_to_stop() -> threading.Event:
    """What rises with SIGTERM; a process that is still there `LIMIT_SECONDS` later ends as it is.

    The main thread may be waiting for a database that says nothing, and Python would have it hear
    of the signal only afterwards: another thread listens.
    """
    stopping = threading.Event()
    ear, mouth = socket.socketpair()
    mouth.setblocking(False)
    signal.set_wakeup_fd(mouth.detach())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    def listen() -> None:
        ear.recv(1)
        stopping.set()
        time.sleep(LIMIT_SECONDS)
        log.warning("not ended in time: what was under way goes on elsewhere")
        os._exit(1)

    threading.Thread(target=listen, name="told to stop", daemon=True).start()
    return stopping
