"""The clock: relay, sweep and periodic work. Two may run; the one with the lock leads."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import peewee
import psycopg2
import redis

from models import (
    github,
    idempotency,
    inbox,
    leases,
    mail,
    oidc,
    outbox,
    processes,
    routines,
    skill_imports,
    spending,
    streams,
    tallies,
    waiting,
    wakes,
    webhooks,
)
from models.base import LINK, db
from models.logs import log
from tasks import attachments as attachment_tasks
from tasks import chats as chat_tasks
from tasks import failures as failure_tasks
from tasks import logins
from tasks import mail as mail_tasks
from tasks import onboarding as onboarding_tasks
from tasks import projects as project_tasks
from tasks import pulses as pulse_tasks
from tasks import pushes as push_tasks
from tasks import runs as run_tasks
from tasks import steps as step_tasks
from tasks import swarms as swarm_tasks
from tasks import updates as update_tasks
from tasks import webhooks as webhook_tasks
from workers.broker import BellBroker
from workers.relay import BATCH, Relay

LEADER = 0x646A_696E  # the advisory lock of the leading clock
IDLE_SECONDS = 0.5  # how long a relay sleeps when no bell rings
STANDBY_SECONDS = 0.25  # between two looks of who stands by: meanwhile nobody hands work on
SILENT_SECONDS = 4  # after which a leader that keeps the lock is deposed
AGAIN_SECONDS = 1.0  # between two tries to reach a Redis that is away
SWEPT_SECONDS = 1.0  # how often what was lost is looked for, and the leader speaks
BEAT_SECONDS = 5.0
UNASKED_MS = 3_000  # work that waits this long without a request is asked for again
UNTAKEN_MS = 1_000  # the same for what workers take: requests also go to processes that stand still


@dataclass(frozen=True)
class Periodic:
    """Something to do every so many seconds."""

    seconds: float
    act: Callable[[], object]


class Clock:
    """One clock process, until it is told to stop."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self.database_url = database_url
        self.relay = Relay(redis_url, BellBroker(redis_url))
        self.stopping = threading.Event()
        self._away_until = 0.0  # Redis, by what we know

    def run(self, stopping: threading.Event) -> None:
        """Wait to lead, lead, and wait again whenever the database went away."""
        self.stopping = stopping
        with db.connection_context():
            me = processes.register("clock")
        log.info("clock ready")
        while not self.stopping.is_set():
            try:
                self._lead(me)
            except (psycopg2.Error, peewee.PeeweeException, redis.RedisError) as error:
                log.warning("clock interrupted", error=str(error).strip())
                self.stopping.wait(1)
        with db.connection_context():
            processes.leave(me)

    def _lead(self, me: processes.Process) -> None:
        connection = psycopg2.connect(self.database_url, **LINK)
        try:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(f"LISTEN {outbox.CHANNEL}")
            with db.connection_context():
                self._stand_by(cursor, me)
                self._work(connection, me)
        finally:
            connection.close()

    def _stand_by(self, cursor: psycopg2.extensions.cursor, me: processes.Process) -> None:
        beats = 0.0
        while not self.stopping.is_set() and not _leads(cursor):
            if time.monotonic() >= beats:
                processes.heartbeat(me)
                beats = time.monotonic() + 1
            _depose_silent(cursor, SILENT_SECONDS)
            self.stopping.wait(STANDBY_SECONDS)

    def _work(self, connection: psycopg2.extensions.connection, me: processes.Process) -> None:
        cursor = connection.cursor()
        table = [
            *PERIODIC,
            Periodic(SWEPT_SECONDS, lambda: sweep_requests(self._length)),
            Periodic(SWEPT_SECONDS, lambda: cursor.execute("SELECT 'leading'")),
            Periodic(BEAT_SECONDS, lambda: processes.heartbeat(me)),
        ]
        due = [0.0] * len(table)
        while not self.stopping.is_set():
            passed_on = self._pass_on()  # first: somebody may be waiting for it
            now = time.monotonic()
            for place, periodic in enumerate(table):
                if now >= due[place]:
                    attempt(periodic)
                    due[place] = now + periodic.seconds
            if passed_on < BATCH:  # what came since rings the bell
                _listen(connection, max(0.0, min(IDLE_SECONDS, min(due) - time.monotonic())))

    def _pass_on(self) -> int:
        """Hand on a batch, unless Redis is away: then it waits, and all else goes on."""
        if self._redis_is_away():
            return 0
        try:
            return self.relay.pass_on()
        except redis.RedisError as error:
            log.warning("requests wait for Redis", error=str(error).strip())
            self._away_until = time.monotonic() + AGAIN_SECONDS
            return 0

    def _length(self, queue: str) -> int:
        """How many requests wait in a queue; raises RedisError, at once while Redis is away."""
        if self._redis_is_away():
            raise redis.ConnectionError("Redis is away")
        return self.relay.broker.length(queue)

    def _redis_is_away(self) -> bool:
        """Whether it is; one that was is asked briefly, and not all the time."""
        if self._away_until and time.monotonic() >= self._away_until:
            back = streams.answers(self.relay.redis_url)
            self._away_until = 0.0 if back else time.monotonic() + AGAIN_SECONDS
        return self._away_until > 0


def attempt(periodic: Periodic) -> None:
    """Do it; what goes wrong with some row must not keep everybody's requests from going out.

    Raises only what says that the database is away.
    """
    try:
        periodic.act()
    except Exception as error:
        if _is_away(error):
            raise
        log.exception("periodic work failed")


def _is_away(error: Exception) -> bool:
    """Whether this says that the database is; a lock that is not to be had, for one, does not."""
    if isinstance(error, peewee.OperationalError):
        return bool(db.connection().closed)
    return isinstance(error, (psycopg2.Error, peewee.InterfaceError))


def _leads(cursor: psycopg2.extensions.cursor) -> bool:
    cursor.execute("SELECT pg_try_advisory_lock(%s)", (LEADER,))
    return cursor.fetchone() == (True,)


def _depose_silent(cursor: psycopg2.extensions.cursor, seconds: float) -> None:
    """Take the lock from a leader that keeps it but has said nothing: one that was stopped.

    It speaks every second on the connection that holds the lock. Once awake it finds that
    connection closed and stands by.
    """
    cursor.execute(
        """
        SELECT pg_terminate_backend(pid)
        FROM pg_locks JOIN pg_stat_activity AS leader USING (pid)
        WHERE locktype = 'advisory' AND classid = 0 AND objid = %s AND granted
          AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND greatest(state_change, backend_start) < clock_timestamp() - %s * interval '1 second'
        """,
        (LEADER, seconds),
    )
    if cursor.rowcount:
        log.warning("a silent clock was deposed")


def _listen(connection: psycopg2.extensions.connection, seconds: float) -> None:
    """Sleep until the bell rings; raises when the connection that holds the lock is gone."""
    if not connection.notifies:  # one may have come along with an answer
        select.select([connection], [], [], seconds)
        connection.poll()
    connection.notifies.clear()


def sweep_leases() -> None:
    """Have the steps of workers that went silent recovered."""
    for step in leases.expired():
        step_tasks.recover.enqueue_once(step.id, step.id)


def sweep_requests(length: Callable[[str], int] = lambda queue: 0) -> None:
    """Ask again for due work whose request was lost on the way.

    `length` says how many requests wait in a queue. Steps and new runs that wait for workers which
    are busy have theirs there, and more would help nobody: only what the queue is short of is asked
    for.
    """
    with db.atomic():
        for execution_id in waiting.overslept():
            step_tasks.awaken.enqueue_once(execution_id, execution_id)
        for delegate_id in waiting.forsaken():
            step_tasks.abandon.enqueue_once(delegate_id, delegate_id)
        for run in waiting.idle_runs(UNASKED_MS):
            run_tasks.advance.enqueue_once(run.id, run.id, run.attempt)
    with suppress(redis.RedisError):  # while it is away there is nothing to be had from it
        missed = [
            (queue, *each)
            for queue, late in waiting.forgotten(UNTAKEN_MS).items()
            for each in late.first[: max(0, late.number - length(queue))]
        ]
        with db.atomic():
            for queue, name, attempt in missed:
                if attempt is None:
                    step_tasks.execute.on(queue).enqueue_once(name, name)
                else:
                    run_tasks.proceed.on(queue).enqueue_once(name, name, attempt)


def sweep_swarms() -> None:
    """Ask again for what swarms wait for."""
    swarm_tasks.sweep(UNASKED_MS)


def sweep_pulses() -> None:
    """Have routines come up that are due, and ask again for those whose requests were lost."""
    pulse_tasks.fire_due()
    pulse_tasks.ask_again(UNASKED_MS)


PERIODIC = (
    Periodic(0.5, sweep_leases),
    Periodic(0.5, spending.lose_abandoned),
    Periodic(1, sweep_swarms),
    Periodic(1, tallies.fold),
    Periodic(1, failure_tasks.ask_again),
    Periodic(1, sweep_pulses),
    Periodic(3600, routines.forget_old),
    Periodic(3600, inbox.forget_old),
    Periodic(3600, wakes.forget_old),
    Periodic(5, mail_tasks.ask_again),
    Periodic(600, mail.forget_old),
    Periodic(3600, update_tasks.ask),
    Periodic(60, project_tasks.ask_again),
    Periodic(30, attachment_tasks.sweep),
    Periodic(30, onboarding_tasks.sweep),
    Periodic(10, push_tasks.ask_again),
    Periodic(600, idempotency.forget_old),
    Periodic(600, logins.forget_old),
    Periodic(60, oidc.forget_old),
    Periodic(10, webhook_tasks.sweep),
    Periodic(300, webhook_tasks.ask_for_missed),
    Periodic(600, github.forget_expired),
    Periodic(3600, webhooks.forget_old),
    Periodic(3600, skill_imports.forget_old),
    Periodic(10, chat_tasks.end_idle),
)
