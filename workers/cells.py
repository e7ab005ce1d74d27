"""A process of its own for a step that broke workers: if it breaks this one too, it is to blame.

The worker keeps the lease, its cell does the work under it. They speak over one pipe: the worker
tells what becomes of the lease, the cell that the step has come further. Whoever finds the other
end closed knows that the other one is gone. Cells are forked from a process that has imported what
they need and has no threads, which a worker starts when it first needs one.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from models.base import db
from models.config import adopt, environment
from models.insisting import insist
from workers import boot
from workers.halting import Halt

LOOK_SECONDS = 0.1  # how late at most a cell hears what becomes of its lease
PATIENCE_SECONDS = 5  # in which a cell that is called off must have ended
CONNECTIONS = 4  # to Postgres, of each cell
FURTHER = "further"
GONE = 1  # exit code of a cell whose worker is gone

Work = Callable[[str, str, Halt], None]  # does the work of an execution under a lease

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["workers.jobs.steps"])


def prepare() -> None:
    """Have cells begin quickly: start the process that they are forked from, without waiting."""
    forkserver.ensure_running()


def confine(work: Work, execution_id: str, lease_id: str, halt: Halt) -> int:
    """Have the work done in a cell, which obeys `halt`; gives the cell's exit code once it ended.

    That is 0 for whoever came to an end of its own, and -N for who was ended by signal N.
    """
    ours, theirs = _context.Pipe()
    told = (theirs, work, execution_id, lease_id, environment())
    cell = _context.Process(target=_live, args=told, name="cell", daemon=True)
    with ours:
        cell.start()
        theirs.close()
        _accompany(ours, cell, halt)
    cell.join()
    return cell.exitcode or 0


def _accompany(pipe: Connection, cell: BaseProcess, halt: Halt) -> None:
    """Pass on what either side has to say until the cell has ended; one that will not is killed."""
    said: object = None
    obeys_until = math.inf
    while True:
        if halt.stopped and obeys_until == math.inf:
            obeys_until = time.monotonic() + PATIENCE_SECONDS
        if time.monotonic() > obeys_until:
            cell.kill()
        if (news := halt.standing) != said:
            said = news
            with suppress(OSError):  # it is gone, which the sentinel tells
                pipe.send(news)
        ready = wait([pipe, cell.sentinel], LOOK_SECONDS)
        if pipe in ready:
            try:
                pipe.recv()
            except (EOFError, OSError):
                return
            halt.further()
        elif cell.sentinel in ready:
            return


def _live(
    pipe: Connection, work: Work, execution_id: str, lease_id: str, told: Mapping[str, str]
) -> None:
    """The life of a cell, in its own process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # its worker says when to go
    adopt(told)
    boot.connect(CONNECTIONS)
    halt = Halt()
    halt.on_further(lambda: pipe.send(FURTHER))
    _hear(pipe, halt)  # until when the lease is valid: nothing is begun without that
    threading.Thread(target=_obey, args=(pipe, halt), daemon=True, name="orders").start()
    insist(lambda: db.connect(reuse_if_open=True))  # the step is not to blame for an outage
    work(execution_id, lease_id, halt)


def _obey(pipe: Connection, halt: Halt) -> None:
    """Hear what becomes of the lease; without a worker nobody would renew it."""
    while True:
        _hear(pipe, halt)


def _hear(pipe: Connection, halt: Halt) -> None:
    try:
        halt.stand(pipe.recv())
    except (EOFError, OSError):
        os._exit(GONE)
