"""The relay: hands what committed to the broker and the streams, in order.

Rows are deleted in the transaction that saw them sent. A crash in between sends some twice, never
none; jobs are idempotent and the streams know what they were told, so twice does no harm.
"""

from __future__ import annotations

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
        """Work first, because somebody may be waiting for it; each queue in its order."""
        bodies: dict[str, list[Any]] = {}
        for queue, body in rows:
            bodies.setdefault(queue, []).append(body)
        happened = bodies.pop(outbox.EVENTS, None)
        for queue, asked in bodies.items():
            self.broker.send(queue, asked)
        if happened:
            streams.publish_once(self.redis_url, happened)
