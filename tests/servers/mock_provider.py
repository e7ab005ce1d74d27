"""oidc-provider-mock, an identity provider that others wrote, on the loopback."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
from werkzeug.serving import make_server


@contextmanager
def mock_provider() -> Iterator[str]:
    """The URL of the provider; anybody who is named there may log in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses what Authlib deprecates
        from oidc_provider_mock import app

        server = make_server("127.0.0.1", 0, _unwarned(app(require_nonce=True)), threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def register(url: str, subject: str, **claims: Any) -> None:
    """Say who somebody is."""
    httpx2.put(f"{url}/users/{subject}", json=claims).raise_for_status()


def visit(url: str, subject: str) -> dict[str, str]:
    """Log in there, and give what the browser is sent back with."""
    answer = httpx2.post(url, data={"sub": subject})
    assert answer.status_code == 302, answer.text
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


def _unwarned(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    def unwarned(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return list(app(environ, start_response))

    return unwarned
