"""Who is calling, and may they: closed by default, one check before every view.

A view is open to any person or service that can be named. `@public` opens it to everybody,
`@admin` and `@internal` narrow it, `@for_agents` lets in the key of the agent that the request
names as well. `@streaming` also takes the token from the query, because a browser's EventSource
cannot send headers.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from flask import Flask, g, request

from models import run_keys
from models.accounts import ApiKey
from models.base import clean
from models.config import Misconfigured, Settings
from models.errors import Forbidden, Unauthenticated
from models.principals import ANONYMOUS, SERVICE, Principal
from tasks.logins import Origin
from web import tokens

Access = Literal["public", "user", "admin", "operator", "service"]
View = TypeVar("View", bound=Callable[..., Any])
LOOKING = {"GET", "HEAD"}


def public(view: View) -> View:
    """Open the view to callers without credentials."""
    return _marked(view, access="public")


def admin(view: View) -> View:
    """Only admins may call the view."""
    return _marked(view, access="admin")


def operators(view: View) -> View:
    """Only admins and the engine may call the view."""
    return _marked(view, access="operator")


def internal(view: View) -> View:
    """Only the engine may call the view: the service token, or a key that may do the same."""
    return _marked(view, access="service")


def for_agents(view: View) -> View:
    """The view is also open to the key of the agent whose id the request names as `agent_id`."""
    return _marked(view, agents=True)


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


def register(app: Flask, settings: Settings) -> None:
    """Check every request of `app`."""

    def check() -> None:
        if request.url_rule is None or request.method == "OPTIONS":
            return  # nothing there to protect: 404, 405, or a question about CORS
        view = app.view_functions[request.endpoint or ""]
        access: Access = mark(view, request.method, "access", "user")
        if access == "public":
            return
        g.principal = authenticate(settings, mark(view, request.method, "streams", False))
        if g.principal.kind == "agent":
            authorise_agent(g.principal, mark(view, request.method, "agents", False))
        else:
            authorise(g.principal, access)

    app.before_request(check)


def authenticate(settings: Settings, streams: bool) -> Principal:
    """Name the caller of the current request; Unauthenticated when nothing does."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else ""
    if token and is_engine(settings, token):
        return SERVICE
    if not settings.auth_enabled:
        agent = run_keys.caller(token) if run_keys.resembles(token) else None
        return agent or ANONYMOUS
    if not token and streams:
        token = str(clean(request.args.get("token", "")))
    found = resolve(token) if token else None
    if found is None:
        raise Unauthenticated()
    return found


def resolve(token: str) -> Principal | None:
    """Who a login's or a key's token stands for, as the database has it now."""
    if run_keys.resembles(token):
        return run_keys.caller(token)
    return tokens.caller(token) if tokens.resembles(token) else ApiKey.caller(token)


def authorise(principal: Principal, access: Access) -> None:
    """Raise Forbidden when the caller may not use a view with this access."""
    if not principal.may_write and request.method not in LOOKING:
        raise Forbidden("This key may only read")
    if access == "admin" and not principal.is_admin:
        raise Forbidden("Admin access required")
    if access == "operator" and not (principal.is_admin or principal.is_engine):
        raise Forbidden("Admin access required")
    if access == "service" and not principal.is_engine:
        raise Forbidden("Only services may do this")


def authorise_agent(principal: Principal, agents: bool) -> None:
    """Raise Forbidden unless the view is one for agents and names this one.

    A key that was made for a run opens no other run either.
    """
    named = {**request.args.to_dict(), **(request.view_args or {})}
    other_run = principal.run_id is not None and named.get("run_id") not in (
        None,
        principal.run_id,
    )
    if not agents or other_run or named.get("agent_id") not in (None, principal.agent_id):
        raise Forbidden("An agent's key may not do this")


def origin() -> Origin:
    """Where the current request comes from."""
    return Origin(request.remote_addr, clean(request.headers.get("User-Agent")))


def is_engine(settings: Settings, token: str) -> bool:
    """Whether the token is the service token, in constant time."""
    known = settings.engine_token or ""
    return bool(known) and hmac.compare_digest(token.encode(), known.encode())


def refuse_unsafe(settings: Settings) -> None:
    """Raise Misconfigured when serving with these settings would leave the door open."""
    wanted = {
        "ENGINE_INTERNAL_TOKEN": settings.engine_token,
        "AUTH_SECRET_KEY": settings.auth_secret,
        "SECRET_ENCRYPTION_KEYS": settings.vault_keys,
    }
    missing = [name for name, value in wanted.items() if not value]
    if settings.auth_enabled and missing:
        raise Misconfigured(
            f"{', '.join(missing)} must be set: accounts are on, and nobody could log in or keep"
            " a secret; set them, or AUTH_ENABLED=false on a machine of your own"
        )
    if not settings.vault_keys and not loopback(settings.host):
        raise Misconfigured(
            f"SECRET_ENCRYPTION_KEYS must be set where HOST={settings.host} is reachable from"
            " outside: secrets could not be kept"
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
