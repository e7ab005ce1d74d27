"""What the database tells of the product from outside: states, recoveries, rows without an owner.

A recovery is measured so: when a worker has been killed (and waited for), all leases of running
steps are noted. One that is prolonged later belonged to somebody who lives. A step whose lease was
never prolonged again and which is then seen under another lease was the victim's; the seconds
from the kill to the first sight of the new lease are its recovery. The eyes open every 50 ms, and
a step whose worker died in an earlier kill is counted from that one, so the figure errs upwards.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg2
from psycopg2.extensions import connection as Connection

from tests.processes.chaos.mind import Scene

EVERY = 0.05
STATES_EVERY = 0.4
SETTLING = 0.05  # seconds a renewal that was on its way may take to arrive
GIVEN_UP = 120.0  # seconds after which a step counts as taken over that late

STATES = """
    SELECT id, state FROM runs WHERE updated_at > %(recent)s
    UNION ALL SELECT id, state FROM swarms WHERE updated_at > %(recent)s"""
LEASES = "SELECT id, queue, lease_id, leased_until FROM steps WHERE state = 'running'"
STORED = """
    SELECT turn, min(events.created_at) FROM llm_calls
        JOIN sessions ON sessions.id = llm_calls.session_id
        JOIN steps ON steps.id = sessions.execution_id
        JOIN events ON events.run_id = llm_calls.run_id AND events.data->>'callId' = llm_calls.id
    WHERE steps.run_id = %s AND steps.attempt = %s AND steps.step_id = %s AND visit = %s
      AND retry = %s AND execution = %s GROUP BY turn"""
STANDING = """
    SELECT steps.state, lease_id, runs.state FROM steps JOIN runs ON runs.id = run_id
    WHERE steps.id = %s"""
OWNERLESS = {
    "runs that should move and have nothing under way": """
        SELECT id FROM runs WHERE state IN ('pending', 'running') AND updated_at < %(old)s
          AND NOT EXISTS (SELECT 1 FROM steps WHERE run_id = runs.id AND attempt = runs.attempt
                          AND state IN ('queued', 'running', 'waiting'))
          AND NOT EXISTS (SELECT 1 FROM outbox WHERE body->'args'->>0 = runs.id)""",
    "steps under way without a lease that lasts": """
        SELECT id FROM steps WHERE state = 'running'
          AND (lease_id IS NULL OR leased_until IS NULL OR leased_until < %(old)s)""",
    "steps due that nobody takes": """
        SELECT steps.id FROM steps JOIN runs ON runs.id = run_id
        WHERE steps.state = 'queued' AND runs.state = 'running'
          AND greatest(due_at, steps.updated_at) < %(old)s""",
    "steps under way of runs that are over": """
        SELECT steps.id FROM steps JOIN runs ON runs.id = run_id
        WHERE steps.state IN ('queued', 'running') AND steps.updated_at < %(old)s
          AND runs.state IN ('completed', 'failed', 'cancelled')""",
    "sessions of steps that are not under way": """
        SELECT sessions.id FROM sessions JOIN steps ON steps.id = execution_id
        WHERE sessions.state IN ('starting', 'running')
          AND steps.state NOT IN ('queued', 'running', 'waiting')""",
    "swarms past their deadline": """
        SELECT id FROM swarms WHERE state NOT IN ('completed', 'failed', 'cancelled')
          AND deadline < %(old)s""",
    "steps that wait for what has ended": """
        SELECT steps.id FROM steps LEFT JOIN runs AS other ON other.id = waits_for
            LEFT JOIN swarms ON swarms.id = waits_for
        WHERE steps.state = 'waiting' AND steps.updated_at < %(old)s
          AND coalesce(other.state, swarms.state, 'completed')
              IN ('completed', 'failed', 'cancelled')""",
    "requests that nobody hands on": """
        SELECT id::text FROM outbox WHERE due_at > 0 AND due_at < %(old)s""",
}


@dataclass(frozen=True)
class Recovery:
    """A step's way from a dead worker to a living one, in seconds since the epoch."""

    step: str
    queue: str
    killed_at: float
    claimed_at: float

    @property
    def seconds(self) -> float:
        return self.claimed_at - self.killed_at


class Lease(NamedTuple):
    """Under which lease a step is, how long that lasts (epoch ms), and whose work it is."""

    id: str
    until: int
    queue: str


@dataclass
class _Kill:
    at: float
    settled: float  # when renewals that were on their way have arrived
    leases: dict[str, Lease] | None = None  # by step; None: not yet


class Watch:
    """Reads the database again and again; a context manager."""

    def __init__(
        self, connect: Callable[[], Connection], observe: Callable[[dict[str, str]], None]
    ) -> None:
        self.connect = connect
        self.observe = observe
        self.recoveries: list[Recovery] = []
        self.kills = 0
        self._kills: list[_Kill] = []
        self._recovered: set[tuple[str, str]] = set()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch")

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        self._thread.join()

    def worker_lost(self, at: float) -> None:
        """A worker was killed then, and is gone now."""
        self.kills += 1
        self._kills.append(_Kill(at, time.time() + SETTLING))

    def _watch(self) -> None:
        while not self._leaving.is_set():
            try:
                connection = self.connect()
                try:
                    self._look_again_and_again(connection)
                finally:
                    connection.close()
            except psycopg2.Error:
                self._leaving.wait(0.2)

    def _look_again_and_again(self, connection: Connection) -> None:
        states_due = 0.0
        with connection.cursor() as cursor:
            while not self._leaving.wait(EVERY):
                if self._kills:
                    cursor.execute(LEASES)
                    rows = {row[0]: Lease(row[2], row[3], row[1]) for row in cursor.fetchall()}
                    self.compare(rows, time.time(), cursor)
                if time.monotonic() >= states_due:
                    self._tell_states(cursor)
                    states_due = time.monotonic() + STATES_EVERY

    def _tell_states(self, cursor: Any) -> None:
        recent = int((time.time() - 60) * 1000)
        cursor.execute(STATES, {"recent": recent})
        self.observe(dict(cursor.fetchall()))

    def compare(self, rows: dict[str, Lease], now: float, cursor: Any) -> None:
        """Hear under which leases running steps are now, and see whose workers were the killed."""
        for kill in list(self._kills):
            if kill.leases is None:
                if now > kill.settled:
                    kill.leases = dict(rows)
                continue
            for step, lease in list(kill.leases.items()):
                if self._decided(kill, step, lease, rows.get(step), now, cursor):
                    del kill.leases[step]
            if not kill.leases or now > kill.at + GIVEN_UP:
                self._kills.remove(kill)
                for step, lease in kill.leases.items():
                    self._recover(kill, step, lease, now)

    def _decided(
        self,
        kill: _Kill,
        step: str,
        then: Lease,
        row: Lease | None,
        now: float,
        cursor: Any,
    ) -> bool:
        """Whether it is known by now if the step was the victim's; notes its recovery if so."""
        if row is None:
            cursor.execute(STANDING, (step,))
            state, lease, run_state = cursor.fetchone() or ("gone", then.id, "gone")
            if state == "queued" and run_state == "running":
                return False  # given back, not taken yet
            row = then._replace(id=lease or then.id)
            if lease in (None, then.id):
                return True  # it ended under its old lease, or was cancelled
        if row.id == then.id:
            return row.until > then.until
        self._recover(kill, step, then, now)
        return True

    def _recover(self, kill: _Kill, step: str, then: Lease, now: float) -> None:
        if (step, then.id) not in self._recovered:
            self._recovered.add((step, then.id))
            self.recoveries.append(Recovery(step, then.queue, kill.at, now))


def stored(cursor: Any, scene: Scene) -> dict[int, float]:
    """When (epoch seconds) each answer of a sitting was first written down, by its turn."""
    cursor.execute(STORED, scene.place)
    return {turn - 1: at / 1000 for turn, at in cursor.fetchall()}


def ownerless(cursor: Any, older_than: float = 15.0) -> dict[str, list[str]]:
    """The rows that are not final and that nothing will move, by what is wrong with them."""
    old = int((time.time() - older_than) * 1000)
    found = {}
    for what, query in OWNERLESS.items():
        cursor.execute(query, {"old": old})
        if rows := [row[0] for row in cursor.fetchall()]:
            found[what] = rows
    return found
