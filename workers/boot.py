"""How each kind of process begins: connect, import every performer, serve until told to stop."""

from __future__ import annotations

import importlib
import pkgutil
import signal
import threading
from pathlib import Path

from models import base, logs, processes
from models.config import Misconfigured, Settings, settings
from models.logs import log
from workers.broker import BellBroker, BellWorker, declare_actors
from workers.leases import keeper

DRAIN_MS = 18_000  # platforms kill after 30 s; we promise 20


def connect() -> Settings:
    """Point the models at the configured database and start logging."""
    chosen = settings()
    logs.configure(chosen.log_level)
    if not chosen.database_url:
        raise Misconfigured("DATABASE_URL is not set; `djinn up` starts a database of its own")
    base.connect(chosen.database_url, chosen.database_connections)
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

    chosen = connect()
    ticking = Clock(_required(chosen.database_url), _required(chosen.redis_url))
    stopping = _told_to_stop()
    load_performers()
    ticking.run(stopping)


def worker(queues: list[str], threads: int | None = None) -> None:
    """Perform the jobs of `queues` until SIGTERM, then hand unfinished work to others."""
    chosen = connect()
    load_performers()
    broker = BellBroker(_required(chosen.redis_url))
    serving = BellWorker(broker, queues, threads or chosen.worker_threads)
    stopping = _told_to_stop()
    with base.db.connection_context():
        me = processes.register("worker", queues)
    declare_actors(broker)
    serving.start()
    log.info("worker ready", queues=queues, threads=serving.worker_threads)
    if "agents" in queues and chosen.sandbox == "unsafe-local":
        log.warning("SANDBOX=unsafe-local: agents' commands run unconfined, with my rights")
    while not stopping.wait(processes.HEARTBEAT_MS / 1000):
        _beat(me)
    log.info("draining")
    keeper.drain()
    serving.stop(timeout=DRAIN_MS)
    with base.db.connection_context():
        processes.leave(me)


def load_performers() -> None:
    """Import every module of workers.jobs, so that each task has somebody who does it."""
    import workers.jobs

    for module in pkgutil.iter_modules(workers.jobs.__path__):
        importlib.import_module(f"workers.jobs.{module.name}")


def _beat(me: processes.Process) -> None:
    import peewee

    try:
        with base.db.connection_context():
            processes.heartbeat(me)
    except peewee.PeeweeException as error:
        log.warning("heartbeat missed", error=str(error).strip())


def _told_to_stop() -> threading.Event:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    return stopping


def _required(url: str | None) -> str:
    if not url:
        raise Misconfigured("REDIS_URL is not set; `djinn up` starts a Redis of its own")
    return url
