"""A DjinnBot server as its clients see it: JSON over HTTP, and events that survive a cut."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Generator, Iterable, Iterator, Mapping
from http.client import HTTPException
from typing import Any

TIMEOUT = 30.0
SILENCE = 60.0  # the server speaks every 15 s
PATIENCE = 60.0  # how long a server may be away before we give up
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Unreachable(Exception):
    """Nothing answers at this address, or it stopped answering."""


class Rejected(Exception):
    """The server answered with an error: its status and its words."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{detail} ({status})")
        self.status = status


class Remote:
    """One server and the key that opens it."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self.url = url.rstrip("/")
        self.api_key = api_key
        host = urllib.parse.urlsplit(self.url).hostname
        # a proxy meant for the internet must not be asked for this machine
        handlers = [urllib.request.ProxyHandler({})] if host in LOOPBACK else []
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str, **query: Any) -> Any:
        """The JSON at `path`; raises Unreachable or Rejected."""
        return self._json(self._request(path, query))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Post JSON, return JSON; raises Unreachable or Rejected."""
        data = json.dumps(body or {}).encode()
        return self._json(self._request(path, {}, data))

    def events(self, run_id: str) -> Generator[dict[str, Any], None, None]:
        """Every event of a run from its first to its last, across lost connections.

        Raises Rejected, or Unreachable when the server stays away longer than a minute.
        """
        last, pause, lost = "0", 0.5, time.monotonic()
        while True:
            try:
                for event in self._connection(run_id, last):
                    lost = time.monotonic()
                    last = event.get("id") or last
                    pause = event.get("retry") or pause
                    if event["event"] == "end":
                        return
                    if event["event"] == "message":
                        yield json.loads(event["data"])
            except (OSError, HTTPException, Unreachable) as error:
                if time.monotonic() - lost > PATIENCE:
                    raise Unreachable(f"{self.url} stopped answering: {error}") from error
            time.sleep(pause)

    def _connection(self, run_id: str, last: str) -> Iterator[dict[str, Any]]:
        """One connection's frames, until it ends."""
        request = self._request("/v1/events/stream", {"run_id": run_id})
        request.add_header("Accept", "text/event-stream")
        request.add_header("Last-Event-ID", last)
        with self._open(request, SILENCE) as answer:
            yield from frames(line.decode().rstrip("\r\n") for line in answer)

    def _request(
        self, path: str, query: Mapping[str, Any], data: bytes | None = None
    ) -> urllib.request.Request:
        given = {key: value for key, value in query.items() if value is not None}
        suffix = f"?{urllib.parse.urlencode(given)}" if given else ""
        request = urllib.request.Request(f"{self.url}{path}{suffix}", data=data)  # noqa: S310
        request.add_header("Content-Type", "application/json")
        if self.api_key:
            request.add_header("Authorization", f"Bearer {self.api_key}")
        return request

    def _json(self, request: urllib.request.Request) -> Any:
        with self._open(request, TIMEOUT) as answer:
            return json.loads(answer.read() or b"null")

    def _open(self, request: urllib.request.Request, timeout: float) -> Any:
        try:
            return self._opener.open(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            with error:
                detail = _detail(error.read().decode(errors="replace")) or error.reason
            if error.code in (502, 503, 504):
                raise Unreachable(f"{self.url} is not ready: {detail}") from None
            raise Rejected(error.code, detail) from None
        except (OSError, HTTPException) as error:
            raise Unreachable(f"nothing answers at {self.url} ({error})") from error


def frames(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Server-sent events from their lines, per the WHATWG definition; comments are left out.

    Yields `event`, `data`, and, where sent, `id` and `retry` (seconds).
    """
    fields: dict[str, Any] = {}
    data: list[str] = []
    for line in lines:
        if line.startswith(":"):
            continue
        if not line:
            if data:
                yield {"event": "message", **fields, "data": "\n".join(data)}
            fields, data = {k: v for k, v in fields.items() if k == "retry"}, []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "retry" and value.isdigit():
            fields["retry"] = int(value) / 1000
        elif name in ("event", "id"):
            fields[name] = value


def _detail(body: str) -> str:
    try:
        told = json.loads(body)
    except ValueError:
        return body.strip()[:300]
    return str(told.get("detail", "")) if isinstance(told, dict) else str(told)
