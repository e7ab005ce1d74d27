"""How gunicorn serves the application, as `djinn web` starts it:

`python -m gevent.monkey --module gunicorn -c python:web.gunicorn "web:create_app()"`.

gevent comes first: Peewee keeps each caller's connection in a thread-local, which greenlets share
when it was made before gevent took threads over. gunicorn's own patch would come too late.

gunicorn reads this module's names, so here, and only here, importing reads the settings.
One gevent process holds thousands of streams beside ordinary requests: web.handover takes their
sockets over.
"""

from __future__ import annotations

import gc
import os
import resource
import secrets
from typing import Any

from gevent import monkey
from gunicorn import glogging, util
from gunicorn.workers.ggevent import GeventWorker

from models import blobs, logs, passwords
from models.config import Misconfigured, settings
from models.logs import log
from web.errors import PROBLEM, problem_body
from web.security import refuse_unsafe

_chosen = settings()
BLOBS_AT_ONCE = 8  # how many callers may wait for the blob store


class JsonLogger(glogging.Logger):
    """gunicorn's own words as JSON lines among ours."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        logs.configure(_chosen.log_level)
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True


class HandingOver(GeventWorker):
    """Lets go of a request whose socket the application has taken over."""

    def is_already_handled(self, respiter: Any) -> bool:
        """gunicorn's base says to raise StopIteration here: it ends the connection's greenlet."""
        if super().is_already_handled(respiter):
            raise StopIteration
        return False


def write_problem(sock: Any, status: int, reason: str, message: str) -> None:
    """Refuse what is no request at all in the shape of every other error."""
    request_id = secrets.token_hex(8)
    body = problem_body(status, message or reason, "", request_id)
    head = f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: {PROBLEM}\r\n"
    head += f"Content-Length: {len(body)}\r\nX-Request-ID: {request_id}\r\n\r\n"
    util.write_nonblock(sock, head.encode("latin1") + body)


util.write_error = write_problem  # gunicorn has no setting for it

bind = f"{_chosen.host}:{_chosen.port}"
workers = _chosen.web_workers
worker_class = HandingOver
worker_connections = 500  # connections that ask; streams do not count
graceful_timeout = 15  # platforms kill after 30 s; we promise 20
timeout = 60
keepalive = 5
backlog = 4096
limit_request_line = 8190  # bytes; a cursor may be long
limit_request_fields = 100
limit_request_field_size = 8190
control_socket_disable = True  # every web process of a user would share one
accesslog = None  # web.headers writes one line for each request
logger_class = JsonLogger


def on_starting(server: Any) -> None:
    """Refuse to open an unlocked door."""
    refuse_unsafe(_chosen)
    if not monkey.is_module_patched("threading"):
        raise Misconfigured("start with `djinn web`: callers would share a database connection")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # a stream is a file
    if not _chosen.auth_enabled:
        log.warning("AUTH_ENABLED=false: every caller is an admin", bind=bind)


def post_fork(server: Any, worker: Any) -> None:
    """Let other greenlets run while Postgres or the blob store thinks and passwords are hashed."""
    from gevent.threadpool import ThreadPool
    from psycogreen.gevent import patch_psycopg

    patch_psycopg()
    pool = ThreadPool(os.cpu_count() or 1)
    passwords.hash_elsewhere(lambda work, *arguments: pool.apply(work, arguments))
    waiting = ThreadPool(BLOBS_AT_ONCE)
    blobs.wait_elsewhere(lambda work, *arguments: waiting.apply(work, arguments))


def post_worker_init(worker: Any) -> None:
    """Spare the collector what stays for ever: its full rounds would hold up every stream."""
    gc.collect()
    gc.freeze()


def worker_exit(server: Any, worker: Any) -> None:
    """Streams are told that they end; another process takes them up."""
    worker.wsgi.extensions["feed"].close()
