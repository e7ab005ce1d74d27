"""Asking what releases there are."""

from __future__ import annotations

from models import outbound, releases
from models.base import now_ms
from models.config import settings
from models.errors import Unreachable
from models.logs import log
from models.releases import Release
from tasks import updates
from workers.broker import performs

MOST_BYTES = 4 * 1024 * 1024  # thirty releases with long notes


@performs(updates.check)
def check() -> None:
    """Write down the newest release; where nobody answers, only that we asked."""
    url = settings().updates_url
    if not url:
        return
    try:
        found = releases.newest_of(outbound.fetch_json(url, most_bytes=MOST_BYTES))
    except Unreachable as error:
        log.warning("releases not known", error=str(error))
        before = Release.newest()
        found = before.__data__ if before else {}
    releases.note({**found, "checked_at": now_ms()})
