"""Logs: one JSON object a line on stdout, events with keys, never a secret."""

from __future__ import annotations

import logging
import sys

import structlog

log = structlog.get_logger("djinn")


def configure(level: str = "INFO") -> None:
    """Send everything that is logged, by us or by a library, to stdout as JSON lines."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
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
