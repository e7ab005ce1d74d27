"""Browsers amid a login: they are told where to go next, where programs get JSON.

A login that a browser began ends in that browser only: it keeps a cookie meanwhile, so that nobody
can be led into somebody else's account (RFC 9700, 4.7).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from flask import Response, current_app, redirect, request
from werkzeug.wrappers import Response as Answer

from models.accounts import digest
from models.errors import DomainError, Unavailable
from models.oidc import LOGIN_MS
from web.errors import domain_problem
from web.security import loopback

PAGE, JSON = "text/html", "application/json"
COOKIE, COOKIE_BYTES = "djinn_login_", 32
PASSED_ON = ("accessToken", "refreshToken", "pendingToken", "error", "redirect", "code", "state")


def is_page() -> bool:
    """Whether a browser navigates here, rather than a program asking for JSON."""
    wanted = {kind for kind, quality in request.accept_mimetypes if quality > 0}
    return PAGE in wanted and JSON not in wanted


def public_url(path: str) -> str:
    """How browsers reach a path of ours; the request's Host is believed on loopback only."""
    base: str | None = current_app.extensions["settings"].public_url
    if base is None and loopback(urlsplit(request.host_url).hostname or ""):
        base = request.host_url.rstrip("/")
    if base is None:
        raise Unavailable("PUBLIC_API_URL must be set: how browsers come back here is not known")
    return base + path


def drawn_cookie() -> str | None:
    """What the browser is to keep while it is away; None for a program."""
    return secrets.token_urlsafe(COOKIE_BYTES) if is_page() else None


def kept_cookie(state: str) -> str | None:
    """What the browser has kept for this login."""
    return request.cookies.get(_cookie(state))


def sent_away(url: str, state: str, cookie: str) -> Answer:
    """Go to the provider, and keep the cookie meanwhile."""
    answer = redirect(url)
    answer.set_cookie(
        _cookie(state),
        cookie,
        max_age=LOGIN_MS // 1000,
        path="/v1/auth/oidc",
        secure=public_url("").startswith("https:"),
        httponly=True,
        samesite="Lax",  # the provider sends the browser back from another site
    )
    return answer


def arrived(told: dict[str, Any], next_path: str | None) -> Any:
    """What a login came to, where it is needed: in the dashboard, or in JSON."""
    return sent_home({**told, "redirect": next_path}) if is_page() else told


def sent_home(told: Mapping[str, Any]) -> Answer:
    """Go on to the dashboard's page for logins, with what it needs to know."""
    query = {name: told[name] for name in PASSED_ON if told.get(name)}
    if "requiresTOTP" in told:
        query["requiresTOTP"] = "true"
    frontend = current_app.extensions["settings"].frontend_url
    answer = redirect(f"{frontend}/auth/callback?{urlencode(query)}")
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Referrer-Policy"] = "no-referrer"
    if state := request.args.get("state"):
        answer.delete_cookie(_cookie(state), path="/v1/auth/oidc")
    return answer


def sent_home_with(error: DomainError) -> Answer | Response:
    """What went wrong, on the dashboard's page where a browser asked, else as JSON."""
    return sent_home({"error": str(error)}) if is_page() else domain_problem(error)


def _cookie(state: str) -> str:
    """A cookie for each login: there may be two tabs."""
    return COOKIE + digest(state)[:16]
