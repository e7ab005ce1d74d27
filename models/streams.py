"""The live stream: one capped Redis stream that every web process reads and fans out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import orjson
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from models.base import encoded
from models.logs import log

KEY = "djinn:events"
TOLD = "djinn:told"  # what was published once: as many digests as there are entries
KEPT = 10_000  # entries, about
FIELD = b"e"
PROMPT = 0.2  # seconds a probe waits
PUBLISH_ONCE = """
local kept, field = tonumber(ARGV[1]), ARGV[2]
for place = 3, #ARGV do
    local digest = redis.sha1hex(ARGV[place])
    if not redis.call('zscore', KEYS[2], digest) then
        local entry = redis.call('xadd', KEYS[1], 'maxlen', '~', kept, '*', field, ARGV[place])
        local at, nth = string.match(entry, '(%d+)-(%d+)')
        redis.call('zadd', KEYS[2], at .. string.format('%03d', math.min(nth, 999)), digest)
    end
end
redis.call('zremrangebyrank', KEYS[2], 0, -kept - 1)
"""


@cache
def client(url: str) -> redis.Redis:
    """A client for short commands; one per process and URL.

    It tries twice, because a kept connection may be stale, but waits only once: by itself it would
    ask a Redis that does not answer for a minute.
    """
    once_more = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
    return redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=2, retry=once_more)


@cache
def _prober(url: str) -> redis.Redis:
    """A client that waits for little; it tries twice, because a kept connection may be stale."""
    once_more = Retry(NoBackoff(), 1)
    return redis.Redis.from_url(
        url, socket_timeout=PROMPT, socket_connect_timeout=PROMPT, retry=once_more
    )


def answers(url: str | None) -> bool:
    """Whether Redis answers a ping, and soon."""
    try:
        return bool(url) and bool(_prober(url or "").ping())
    except redis.RedisError as error:
        log.info("redis does not answer", error=str(error))
        return False


def publish(url: str, bodies: Iterable[Mapping[str, Any]]) -> None:
    """Append bodies to the stream in one round trip."""
    pipeline = client(url).pipeline(transaction=False)
    for body in bodies:
        append(pipeline, body)
    pipeline.execute()


def publish_once(url: str, bodies: Iterable[Mapping[str, Any]]) -> None:
    """Append those bodies that are not there yet: one that comes again has been sent again."""
    told: list[int | bytes] = [KEPT, FIELD, *map(encoded, bodies)]
    client(url).register_script(PUBLISH_ONCE)([KEY, TOLD], told)


def append(pipeline: Any, body: Mapping[str, Any]) -> None:
    """Have a pipeline append a body to the stream."""
    pipeline.xadd(KEY, {FIELD: encoded(body)}, maxlen=KEPT, approximate=True)


def decoded(entries: Iterable[tuple[bytes, Mapping[bytes, bytes]]]) -> list[dict[str, Any]]:
    """Stream entries as bodies, each with its `entry` id."""
    return [{**orjson.loads(fields[FIELD]), "entry": entry.decode()} for entry, fields in entries]
