"""The relay: hands what committed to the broker and the streams, in order.

Rows are deleted in the transaction that saw them sent. A crash in between sends some twice, never
none; jobs are idempotent and stream readers know the numbers, so twice does no harm.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from models import outbox, streams
from models.base import db
from workers.broker import BellBroker

BATCH = 500


class Relay:
    """Sends batches of the outbox to one Redis."""

    def __init__(self, redis_url: str, broker: BellBroker) -> None:
        self.redis_url = redis_url
        self.broker = broker

    def pass_on(self) -> int:
        """Send one batch; gives how many requests it had."""
        with db.atomic():
            rows = outbox.take(BATCH)
            self._send(rows)
        return len(rows)

    def _send(self, rows: list[tuple[str, Any]]) -> None:
        for queue, group in groupby(rows, key=lambda row: row[0]):
            bodies = [body for _, body in group]
            if queue == outbox.EVENTS:
                streams.publish(self.redis_url, bodies)
            else:
                self.broker.send(queue, bodies)
