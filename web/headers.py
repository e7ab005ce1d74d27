"""What every answer carries (request id, CORS, safety), and one log line for each."""

from __future__ import annotations

import re
import secrets
import time
from urllib.parse import urlencode

import structlog
from flask import Flask, Response, g, request

from models.config import Settings
from models.logs import log

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
SECRET = re.compile(r"token|^code$|^state$", re.IGNORECASE)  # names in a query string
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
EXPOSED = "X-Request-ID, X-Total-Count, Link, Retry-After, ETag"
YEAR = 365 * 24 * 3_600  # seconds
SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


def register(app: Flask, settings: Settings) -> None:
    """Name, guard and log every request of `app`."""

    def begin() -> Response | None:
        offered = request.headers.get("X-Request-ID", "")
        g.request_id = offered if REQUEST_ID.fullmatch(offered) else secrets.token_hex(8)
        g.began = time.monotonic()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request=g.request_id)
        return Response(status=204) if request.method == "OPTIONS" else None

    def finish(response: Response) -> Response:
        response.headers["X-Request-ID"] = g.request_id
        for name, value in SAFE.items():
            response.headers.setdefault(name, value)
        if request.is_secure:
            response.headers.setdefault("Strict-Transport-Security", f"max-age={YEAR}")
        allow_origin(response, settings.cors_origins)
        log_access(response)
        return response

    app.before_request(begin)
    app.after_request(finish)


def allow_origin(response: Response, origins: tuple[str, ...]) -> None:
    """Answer the browser's question whether the calling page may read this."""
    origin = request.headers.get("Origin")
    if not origin:
        return
    if "*" in origins:
        response.headers["Access-Control-Allow-Origin"] = "*"
    elif origin in origins:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Credentials"] = "true"
    response.headers.add("Vary", "Origin")
    response.headers["Access-Control-Expose-Headers"] = EXPOSED
    if request.method == "OPTIONS":
        asked = request.headers.get("Access-Control-Request-Headers", "*")
        response.headers["Access-Control-Allow-Methods"] = METHODS
        response.headers["Access-Control-Allow-Headers"] = asked
        response.headers["Access-Control-Max-Age"] = "600"


def log_access(response: Response) -> None:
    """One line per request: who asked for what, how it ended, how long it took."""
    principal = g.get("principal")
    log.info(
        "request",
        method=request.method,
        path=request.path,
        query=redacted_query(),
        status=response.status_code,
        milliseconds=round((time.monotonic() - g.began) * 1000, 1),
        principal=principal.id if principal else None,
    )


def redacted_query() -> str:
    """The query string without the tokens and codes that an address may carry."""
    if not request.query_string:
        return ""
    pairs = [
        (name, "***" if SECRET.search(name) else value)
        for name, value in request.args.items(multi=True)
    ]
    return urlencode(pairs, safe="*")
