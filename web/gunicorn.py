"""How gunicorn serves the application, as `djinn web` starts it:

`python -m gevent.monkey --module gunicorn -c python:web.gunicorn "web:create_app()"`.

gevent comes first: Peewee keeps each caller's connection in a thread-local, which greenlets share
when it was made before gevent took threads over. gunicorn's own patch would come too late.

gunicorn reads this module's names, so here, and only here, importing reads the settings.
One gevent process holds thousands of streams beside ordinary requests.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from gevent import monkey
from gunicorn import glogging

from models import logs
from models.config import Misconfigured, settings
from models.logs import log
from web.security import refuse_unsafe

_chosen = settings()


class JsonLogger(glogging.Logger):
    """gunicorn's own words as JSON lines among ours."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        logs.configure(_chosen.log_level)
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True


bind = f"{_chosen.host}:{_chosen.port}"
workers = _chosen.web_workers
worker_class = "gevent"
worker_connections = 10_000
graceful_timeout = 15  # platforms kill after 30 s; we promise 20
timeout = 60
keepalive = 5
backlog = 2048
accesslog = None  # web.headers writes one line for each request
logger_class = JsonLogger


def on_starting(server: Any) -> None:
    """Refuse to open an unlocked door."""
    refuse_unsafe(_chosen)
    if not monkey.is_module_patched("threading"):
        raise Misconfigured("start with `djinn web`: callers would share a database connection")
    if not _chosen.auth_enabled:
        log.warning("AUTH_ENABLED=false: every caller is an admin", bind=bind)


def post_fork(server: Any, worker: Any) -> None:
    """Let other greenlets run while Postgres thinks."""
    from psycogreen.gevent import patch_psycopg

    patch_psycopg()


def post_worker_init(worker: Any) -> None:
    """Streams would hold up a worker that is told to stop: watch for that and end them."""
    threading.Thread(target=_end_streams_of, args=(worker,), daemon=True, name="leaving").start()


def _end_streams_of(worker: Any) -> None:
    while worker.alive:
        time.sleep(0.25)
    worker.wsgi.extensions["feed"].close()
