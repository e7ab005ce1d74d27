"""Logs: one JSON object a line on stdout, events with keys, never a secret."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any

import orjson
import structlog

log = structlog.get_logger("djinn")


def configure(level: str = "INFO") -> None:
    """Send everything that is logged, by us or by a library, to stdout as JSON lines.

    What we log ourselves goes there directly: a request would spend a tenth of its time on the
    way through the library's records.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _add_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=written)],
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # a failed job is logged where it fails, with its keys; dramatiq would say it again
    logging.getLogger("dramatiq.worker.WorkerThread").setLevel(logging.CRITICAL)
    for noisy in ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "anthropic", "peewee"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level)))


def written(event: Any, default: Callable[[Any], Any]) -> bytes:
    """A line of JSON; the standard library writes what orjson refuses, such as huge numbers."""
    try:
        return orjson.dumps(event, default=default)
    except TypeError:
        return json.dumps(event, default=default).encode()


def _add_name(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Who says it: the library's logger, or we."""
    record = event.get("_record")
    event["logger"] = record.name if record else "djinn"
    return event
