"""A process of its own for a step that broke workers: if it breaks this one too, it is to blame.

The worker keeps the lease, its cell does the work under it. They speak over one pipe: the worker
tells what becomes of the lease, the cell that the step has come further. Whoever finds the other
end closed knows that the other one is gone. Cells are forked from a process that has imported what
they need and has no threads: a worker forks it before it has any, so that a cell begins at once
also where everybody is at the end of their strength.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from models.base import db, tag
from models.config import adopt, environment
from models.insisting import PATIENCE, insist
from models.logs import log
from workers import boot
from workers.halting import LOST, Halt
from workers.leases import DRAINING
from workers.local.tether import die_with_parent

LOOK_SECONDS = 0.1  # how late at most a cell hears what becomes of its lease
DRAINED_SECONDS = 5.0  # in which a cell must have ended whose worker goes away
STOPPED_SECONDS = PATIENCE + 5  # the same when the lease is gone: it may hold an answer to be kept
FURTHER = "further"
GONE = 1  # exit code of a cell whose worker is gone

Work = Callable[[str, str, Halt], None]  # does the work of an execution under a lease

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["workers.nursery", "workers.jobs.steps"])
_lock = threading.Lock()  # an exit code can be read once, and starting one looks for others


class NoCell(Exception):
    """This machine gives no process for a cell just now."""


def prepare() -> None:
    """Fork what cells are forked from; to be called by a process that has no threads yet.

    Where that is lost, the next cell has it started anew, which takes seconds.
    """
    resource_tracker.ensure_running()
    starting: Any = util  # what the fork server is usually started with: a new Python
    usual, starting.spawnv_passfds = starting.spawnv_passfds, _forked
    try:
        forkserver.ensure_running()
    except OSError as error:
        log.warning("cells will take long to begin", error=str(error))
    finally:
        starting.spawnv_passfds = usual


def _forked(path: object, arguments: Sequence[str], handles: Sequence[int]) -> int:
    """In place of a Python that would have to import everything: this one, with these handles."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    try:
        for handle in [int(link.name) for link in Path("/proc/self/fd").iterdir()]:
            if handle not in {0, 1, 2, *handles}:
                with suppress(OSError):  # the one that the list was read by
                    os.close(handle)
        exec(arguments[-1])  # noqa: S102
    finally:
        os._exit(1)


def confine(work: Work, execution_id: str, lease_id: str, halt: Halt) -> int | None:
    """Have the work done in a cell, which obeys `halt`; gives the cell's exit code once it ended.

    That is 0 for whoever came to an end of its own, -N for who was ended by signal N, and None for
    who had to end and did not, and so was killed. Raises NoCell before anything is done.
    """
    ours, theirs = _context.Pipe()
    told = (theirs, work, execution_id, lease_id, environment())
    cell = _context.Process(target=_live, args=told, name="cell", daemon=True)
    with closing(ours):
        with closing(theirs), _lock:
            try:
                cell.start()
            except (OSError, EOFError) as error:
                raise NoCell(str(error)) from error
        obeyed = _accompany(ours, cell, halt)
    with _lock:
        cell.join()
        return cell.exitcode if obeyed else None


def _accompany(pipe: Connection, cell: BaseProcess, halt: Halt) -> bool:
    """Pass on what either side has to say until the cell has ended; whether it did by itself."""
    said: object = None
    due = math.inf  # when it must have ended
    while True:
        if due == math.inf and halt.stopped:
            patience = DRAINED_SECONDS if halt.reason == DRAINING else STOPPED_SECONDS
            due = time.monotonic() + patience
        if time.monotonic() > min(due, (halt.deadline or math.inf) + STOPPED_SECONDS):
            cell.kill()
            return False
        if (news := halt.standing) != said and select.select([], [pipe], [], 0)[1]:
            said = news
            with suppress(OSError):  # it is gone, which the sentinel tells
                pipe.send(news)
        ready = wait([pipe, cell.sentinel], LOOK_SECONDS)
        if pipe in ready:
            try:
                pipe.recv()
            except (EOFError, OSError):
                return True
            halt.further()
        elif cell.sentinel in ready:
            return True


def _live(
    pipe: Connection, work: Work, execution_id: str, lease_id: str, told: Mapping[str, str]
) -> None:
    """The life of a cell, in its own process."""
    _end_with_worker()
    adopt(told)
    tag.cache_clear()  # this is another process than the worker
    boot.connect()
    halt = Halt()
    halt.on_further(lambda: pipe.send(FURTHER))
    _hear(pipe, halt)  # until when the lease is valid: nothing is begun without that
    threading.Thread(target=_obey, args=(pipe, halt), daemon=True, name="orders").start()
    insist(lambda: db.connect(reuse_if_open=True), math.inf)  # an outage is not the step's fault
    work(execution_id, lease_id, halt)


def _end_with_worker() -> None:
    """Also where it can hear nothing: what it was forked from ends with the worker, it with that.

    That one waits until nobody has the other end of a pipe, of which each cell has a copy.
    """
    die_with_parent(signal.SIGKILL)
    alive: int | None = getattr(forkserver._forkserver, "_forkserver_alive_fd", None)
    if alive is not None:
        os.close(alive)


def _obey(pipe: Connection, halt: Halt) -> None:
    """Hear what becomes of the lease; without a worker nobody would renew it."""
    while True:
        if pipe.poll(LOOK_SECONDS):
            _hear(pipe, halt)
        elif time.monotonic() > (halt.valid_until or math.inf):
            halt.stop(LOST)  # the worker stands still


def _hear(pipe: Connection, halt: Halt) -> None:
    try:
        halt.stand(pipe.recv())
    except (EOFError, OSError):
        os._exit(GONE)
