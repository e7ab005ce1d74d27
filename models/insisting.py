"""Transactions that outlast a lost connection: what was paid for must not be lost with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import peewee
from playhouse.pool import MaxConnectionsExceeded

from models.base import db
from models.logs import log

T = TypeVar("T")

PATIENCE = 20.0  # seconds; a Postgres that restarts is back sooner
PAUSE = 0.1
LOST = (
    peewee.OperationalError,
    peewee.InterfaceError,
    peewee.NotSupportedError,  # a migration has overtaken a prepared statement: it fails once
    MaxConnectionsExceeded,
)


def insist(transaction: Callable[[], T], seconds: float = PATIENCE) -> T:
    """Do a whole transaction, again and again while the database cannot be had.

    One whose commit was never answered may have been taken: `transaction` must find out. Raises
    what it raises, a lost connection after `seconds`. Not to be used within a transaction.
    """
    deadline = time.monotonic() + seconds
    lost = False
    while True:
        try:
            if lost:
                db.reconnect()
            return transaction()
        except LOST as error:
            if time.monotonic() > deadline:
                raise
            log.warning("the database was lost amid a transaction", error=str(error).strip())
            lost = True
            time.sleep(PAUSE)
