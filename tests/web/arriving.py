"""Logging in by an identity provider, as programs and browsers do."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.servers.issuer import Issuer

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def authorize(client: FlaskClient, **query: str) -> str:
    """Where to go to log in."""
    answer = client.get("/v1/auth/oidc/outside/authorize", query_string=query)
    assert answer.status_code == 200, answer.json
    return answer.json["authorizationUrl"]


def come(client: FlaskClient, issuer: Issuer, slug: str = "outside") -> TestResponse:
    """Log in from the beginning to the end, as a program does."""
    url = client.get(f"/v1/auth/oidc/{slug}/authorize").json["authorizationUrl"]
    return client.post(f"/v1/auth/oidc/{slug}/callback", json=issuer.visit(url))


def by_browser(client: FlaskClient, issuer: Issuer, **more: str) -> dict[str, str]:
    """Log in as a browser does; gives what the dashboard is told."""
    away = client.get("/v1/auth/oidc/outside/authorize", headers=BROWSER)
    back = issuer.visit(away.location) | more
    home = client.get("/v1/auth/oidc/outside/callback", query_string=back, headers=BROWSER)
    assert home.status_code == 302, home.json
    return {name: value for name, (value,) in parse_qs(urlsplit(home.location).query).items()}
