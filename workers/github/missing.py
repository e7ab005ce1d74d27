"""What GitHub could not deliver: found in its list, and asked for again until it has arrived.

GitHub sends nothing again by itself. It keeps its list for three days, and so do we.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from models import github_app
from models.base import db, now_ms
from models.errors import NotFound
from models.webhooks import DeliverySweep, MissedDelivery, WebhookEvent

LISTED_MS = 3 * 86_400_000  # how far back a delivery can be sent again
OVERLAP_MS = 600_000  # read again each time: the list may be late
WAIT_MS, LONGEST_WAIT_MS = 300_000, 4 * 3_600_000  # between two tries; it doubles
BATCH = 100  # deliveries asked for at a time
TOO_LARGE = 413  # whatever is done, this one will never be taken in


def catch_up() -> int:
    """Read on in GitHub's list, then ask for what is missing; gives how many were asked for.

    Dying in between costs nothing: what was found stays found, what was read is read again.
    """
    newest = _note_failures()
    if newest is not None:
        _seen_until(newest)
    return sum(_ask_again(miss) for miss in _due())


def _note_failures() -> int | None:
    """Write down failed deliveries that came since the last look; gives the newest one's time."""
    since = _since()
    newest: int | None = None
    for told in _until(github_app.deliveries(), since):
        newest = max(newest or 0, moment(told))
        if failed(told) and not stored(str(told["guid"])):
            _note(str(told["guid"]), int(told["id"]), moment(told))
    return newest


def _until(told: Iterable[Mapping[str, Any]], since: int) -> Iterator[Mapping[str, Any]]:
    for each in told:
        if moment(each) < since:
            return
        yield each


def failed(told: Mapping[str, Any]) -> bool:
    """Whether a delivery did not reach us and may yet."""
    code = int(told.get("status_code") or 0)
    return not 200 <= code < 300 and code != TOO_LARGE


def moment(told: Mapping[str, Any]) -> int:
    """When GitHub tried to deliver it (ms)."""
    return int(datetime.fromisoformat(told["delivered_at"]).timestamp() * 1000)


def stored(guid: str) -> bool:
    """Whether we have it, by this try or another."""
    return WebhookEvent.select().where(WebhookEvent.delivery_id == guid).exists()


def _note(guid: str, delivery: int, moment: int) -> None:
    db.now(
        """
        INSERT INTO webhook_misses (guid, delivery, tries, due_at, failed_at)
        VALUES (%s, %s, 0, %s, %s)
        ON CONFLICT (guid) DO UPDATE SET delivery = excluded.delivery
        WHERE webhook_misses.delivery < excluded.delivery
        """,
        (guid, delivery, now_ms(), moment),
    )


def _due() -> list[MissedDelivery]:
    waiting = MissedDelivery.select().where(MissedDelivery.due_at <= now_ms())
    return list(waiting.order_by(MissedDelivery.due_at).limit(BATCH))


def _ask_again(miss: MissedDelivery) -> bool:
    """Ask GitHub for one delivery, unless it came meanwhile or is too old."""
    if stored(miss.guid) or miss.failed_at < now_ms() - LISTED_MS:
        miss.delete_instance()
        return False
    wait = min(WAIT_MS * 2**miss.tries, LONGEST_WAIT_MS)
    mine = MissedDelivery.guid == miss.guid
    changes = {"tries": miss.tries + 1, "due_at": now_ms() + wait}
    MissedDelivery.update(changes).where(mine).execute()  # before: a refusal is not asked at once
    try:
        github_app.redeliver(miss.delivery)
    except NotFound:
        miss.delete_instance()
        return False
    return True


def _since() -> int:
    oldest = now_ms() - LISTED_MS
    known = DeliverySweep.get_or_none()
    return max(oldest, known.seen_until - OVERLAP_MS) if known else oldest


def _seen_until(newest: int) -> None:
    db.now(
        """
        INSERT INTO webhook_sweeps (id, seen_until) VALUES (1, %s)
        ON CONFLICT (id) DO UPDATE
        SET seen_until = greatest(webhook_sweeps.seen_until, excluded.seen_until)
        """,
        (newest,),
    )
