"""The database: pooled Postgres whose transactions take few round trips."""

from __future__ import annotations

import select
import threading
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import peewee
from playhouse.pool import PooledPostgresqlDatabase

from models.prepared import Params

Statement = bytes | tuple[str, Params]  # as it is, or to be prepared
MOMENT = "REPEATABLE READ, READ ONLY"
BEGINNINGS = {None: b"BEGIN", MOMENT: f"BEGIN ISOLATION LEVEL {MOMENT}".encode()}


class _Held(threading.local):
    """What this thread's transaction has not sent yet, and whom to wake once it has committed."""

    def __init__(self) -> None:
        self.statements: list[Statement] = []
        self.channels: set[str] = set()


class Database(PooledPostgresqlDatabase):
    """Postgres, where a statement that needs no answer travels with the next one that does.

    Waiting for answers that nobody reads was half of what a transaction took. Their order is
    kept; a statement that is refused raises where it is sent, still inside its transaction.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._held = _Held()
        super().__init__(*args, **kwargs)

    def later(self, sql: str, params: Params = ()) -> None:
        """Execute at the latest when the current transaction commits; at once outside of one.

        The statement is prepared: one text with changing parameters, whose types Postgres can
        tell from where they stand (or from a cast), and whose plan does not depend on them.
        """
        if self.in_transaction():
            self._held.statements.append((sql, params))
        else:
            self.now(sql, params)

    def now(self, sql: str, params: Params = ()) -> Any:
        """Execute a statement prepared like those of `later`; gives its cursor."""
        return self._send((sql, params))

    def notify(self, channel: str) -> None:
        """Wake who listens to `channel` once the current transaction has committed.

        After the commit on purpose: a NOTIFY inside the transaction takes a lock that makes
        commits queue up one behind the other.
        """
        if self.in_transaction():
            self._held.channels.add(channel)
        else:
            self.execute_sql(f"NOTIFY {channel}")

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        if not self._held.statements:
            return super().execute_sql(sql, params)
        return self._send(self.cursor().mogrify(sql, params))

    def moment(self) -> AbstractContextManager[Any]:
        """A transaction that changes nothing and sees all as it was when it first looked.

        Inside of another transaction it sees what that one sees.
        """
        return nullcontext() if self.in_transaction() else self.atomic(MOMENT)

    def begin(self, isolation_level: str | None = None) -> None:
        self.connection()  # opens one where there is none: peewee counts transactions on it
        self._held.statements.append(BEGINNINGS[isolation_level])

    def commit(self) -> None:
        bells = [f"NOTIFY {channel}".encode() for channel in sorted(self._held.channels)]
        if bells:  # a transaction of their own, for whose commit nobody need wait for the disk
            bells = [b"BEGIN", b"SET LOCAL synchronous_commit TO off", *bells, b"COMMIT"]
        self._held.channels.clear()
        if self._has_begun() or len(self._held.statements) > 1:
            self._send(b"COMMIT", *bells)
        self._held.statements.clear()

    def rollback(self) -> None:
        begun = self._has_begun()
        self._held.statements.clear()
        self._held.channels.clear()
        if begun:
            super().rollback()

    def _has_begun(self) -> bool:
        """Whether the database knows of the current transaction: the beginning was sent."""
        return not any(each in self._held.statements for each in BEGINNINGS.values())

    def _send(self, *statements: Statement) -> Any:
        """Send what was held and `statements` in one round trip; gives the last one's cursor."""
        sent = [*self._held.statements, *statements]
        self._held.statements.clear()
        connection = self.connection()
        with peewee.__exception_wrapper__, ExitStack() as failing:  # type: ignore[attr-defined]
            failing.callback(connection.forget)
            texts = [each if isinstance(each, bytes) else connection.told(*each) for each in sent]
            cursor = connection.cursor()
            cursor.execute(b";\n".join(texts))
            failing.pop_all()
        return cursor

    def reconnect(self) -> None:
        """Give this thread a connection in place of one that was lost, amid its contexts."""
        contexts = self._state.ctx  # closing and connecting forget them
        try:
            self.close()
            self.connect()
        finally:
            self._state.ctx = contexts

    def _is_closed(self, connection: Any) -> bool:
        """Whether an idle connection is of no more use: the server hung up or said something."""
        idle = self._adapter.txn_status(connection) == self._adapter.txn_idle
        return connection.closed or not idle or _readable(connection)


def _readable(connection: Any) -> bool:
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return bool(waiting.poll(0))
