"""Who is calling, and may they: closed by default, one check before every view.

A view is open to any caller that can be named. `@public` opens it to everybody, `@admin` and
`@internal` narrow it; `@streaming` also takes the token from the query, because a browser's
EventSource cannot send headers.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from flask import Flask, g, request

from models.accounts import ANONYMOUS, SERVICE, Principal
from models.config import Misconfigured, Settings
from models.errors import Forbidden, Unauthenticated

Access = Literal["public", "user", "admin", "service"]
Identify = Callable[[str], Principal | None]
View = TypeVar("View", bound=Callable[..., Any])


def public(view: View) -> View:
    """Open the view to callers without credentials."""
    return _marked(view, access="public")


def admin(view: View) -> View:
    """Only admins may call the view."""
    return _marked(view, access="admin")


def internal(view: View) -> View:
    """Only our own processes may call the view."""
    return _marked(view, access="service")


def streaming(view: View) -> View:
    """The view streams: its token may also stand in `?token=` (never the service token)."""
    return _marked(view, streams=True)


def _marked(view: View, **marks: object) -> View:
    for name, value in marks.items():
        setattr(view, name, value)
    return view


def mark(view: Any, method: str, name: str, default: Any) -> Any:
    """What a view function, its class or its method for `method` is marked with."""
    owner = getattr(view, "view_class", view)
    spoken = getattr(owner, "get" if method == "HEAD" else method.lower(), None)
    return getattr(spoken, name, getattr(owner, name, default))


def register(app: Flask, settings: Settings, identify: Sequence[Identify]) -> None:
    """Check every request of `app`; `identify` resolve tokens of accounts, asked in order."""

    def check() -> None:
        if request.url_rule is None or request.method == "OPTIONS":
            return  # nothing there to protect: 404, 405, or a question about CORS
        view = app.view_functions[request.endpoint or ""]
        access: Access = mark(view, request.method, "access", "user")
        if access == "public":
            return
        g.principal = authenticate(settings, identify, mark(view, request.method, "streams", False))
        authorise(g.principal, access)

    app.before_request(check)


def authenticate(settings: Settings, identify: Sequence[Identify], streams: bool) -> Principal:
    """Name the caller of the current request; Unauthenticated when nothing does."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else ""
    if token and is_engine(settings, token):
        return SERVICE
    if not settings.auth_enabled:
        return ANONYMOUS
    if not token and streams:
        token = request.args.get("token", "")
    found = next((who for known in identify if token and (who := known(token))), None)
    if found is None:
        raise Unauthenticated()
    return found


def authorise(principal: Principal, access: Access) -> None:
    """Raise Forbidden when the caller may not use a view with this access."""
    if access == "admin" and not principal.is_admin:
        raise Forbidden("Admin access required")
    if access == "service" and not principal.is_service:
        raise Forbidden("Only services may do this")


def is_engine(settings: Settings, token: str) -> bool:
    """Whether the token is the service token, in constant time."""
    known = settings.engine_token or ""
    return bool(known) and hmac.compare_digest(token.encode(), known.encode())


def refuse_unsafe(settings: Settings) -> None:
    """Raise Misconfigured when serving with these settings would leave the door open."""
    if settings.auth_enabled and not settings.engine_token:
        raise Misconfigured(
            "ENGINE_INTERNAL_TOKEN is not set, so nobody could call the API; set it,"
            " or AUTH_ENABLED=false on a machine of your own"
        )
    if not settings.auth_enabled and not settings.allow_insecure and not loopback(settings.host):
        raise Misconfigured(
            f"AUTH_ENABLED=false makes every caller an admin, and HOST={settings.host} is"
            " reachable from outside; bind 127.0.0.1, or insist with ALLOW_INSECURE=1"
        )


def loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
