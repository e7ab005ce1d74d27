"""How often somebody may ask: counted in Redis, or in this process while Redis is away.

What guards a second factor is not counted here but in Postgres, see tasks.proofs.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import redis
from flask import Flask, Response, current_app, request
from flask_limiter import Limiter
from flask_limiter.errors import RateLimitExceeded
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import HTTPException

from models.accounts import digest, plain_email
from models.config import Settings
from models.errors import TooMany
from web.errors import domain_problem
from web.security import View, mark

REFUSED = 401
NETWORK = 64  # bits of an IPv6 address that one customer's addresses share
ACCOUNT = "account"
TIMEOUTS: dict[str, str | int] = {"socket_connect_timeout": 1, "socket_timeout": 1}


def address() -> str:
    """Where the request comes from: an IPv4 address, or the network of an IPv6 one."""
    try:
        found = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, NETWORK), strict=False))


@dataclass(frozen=True)
class Throttle:
    """How often each `who` may call the views of a scope."""

    limit: str
    scope: str
    who: Callable[[], str] = address
    counted: Callable[[Response], bool] | None = None  # None: every call, before it is answered


def at_most(limit: str, scope: str) -> Callable[[View], View]:
    """A view that one address may call so often, such as `60 per minute`."""
    return _throttled(Throttle(limit, scope))


def of_logins(view: View) -> View:
    """A view that logs in: ten tries in a quarter of an hour.

    Of one account every try counts until one succeeds, of one address those that fail: many
    people may sit behind it.
    """
    limit = "10 per 15 minutes"
    of_address = Throttle(limit, "login", counted=_refused)
    return _throttled(of_address, Throttle(limit, ACCOUNT, _account))(view)


def register(app: Flask, settings: Settings) -> None:
    """Count the requests of `app`; once it has its views, `finish`."""
    limiter = Limiter(
        address,
        app=app,
        key_prefix="djinn",
        storage_uri=settings.redis_url or "memory://",
        storage_options=TIMEOUTS,
        in_memory_fallback_enabled=True,
        swallow_errors=True,  # Redis may go away between two questions
    )
    limiter.logger.setLevel(logging.WARNING)  # it would name whom it throttles
    app.extensions["throttles"] = limiter
    app.register_error_handler(RateLimitExceeded, _exceeded)
    app.after_request(_forgive)


def finish(app: Flask) -> None:
    """Throttle the views of `app` that are marked."""
    limiter, views = _limiter(app), cast("dict[str, Any]", app.view_functions)
    throttled = set()
    for endpoint, view in list(views.items()):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            for throttle in mark(view, method, "throttles", ()):
                limited = limiter.shared_limit(
                    throttle.limit,
                    throttle.scope,
                    key_func=throttle.who,
                    methods=[method],
                    deduct_when=throttle.counted,
                )
                views[endpoint] = limited(views[endpoint])
                throttled.add(endpoint)
    limiter.request_filter(lambda: request.endpoint not in throttled)  # these cost nothing more


def _throttled(*throttles: Throttle) -> Callable[[View], View]:
    def marked(view: View) -> View:
        view.throttles = throttles  # type: ignore[attr-defined]
        return view

    return marked


def _limiter(app: Flask) -> Limiter:
    limiter: Limiter = app.extensions["throttles"]
    return limiter


def _account() -> str:
    """Whose login is tried, as a digest; an account that is not there counts like another."""
    try:
        body = request.get_json(force=True, silent=True)
    except (HTTPException, OSError, ParseException):  # the view will say what is wrong
        body = None
    email = body.get("email") if isinstance(body, dict) else None
    return digest(plain_email(email if isinstance(email, str) else ""))[:32]


def _refused(response: Response) -> bool:
    return response.status_code == REFUSED


def _forgive(response: Response) -> Response:
    """Whoever knew the password does not answer for those who did not."""
    if response.status_code == 200:
        for limit in _limiter(current_app).current_limits:
            if ACCOUNT in limit.request_args:
                with suppress(redis.RedisError):
                    limit.limiter.clear(limit.limit, *limit.request_args)
    return response


def _exceeded(error: RateLimitExceeded) -> Response:
    asked = _limiter(current_app).current_limit
    after = max(1, asked.reset_at - int(time.time())) if asked else 60
    return domain_problem(TooMany(f"Too many requests; try again in {after} s", after=after))
