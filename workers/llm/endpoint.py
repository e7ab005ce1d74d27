"""Where one model is reached and what is known of it: all that an adapter needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpcore2
import httpx2

from models import outbound
from workers.llm.base import Denied
from workers.llm.catalogue import Effort
from workers.llm.lines import Lines

CONNECT_SECONDS = 10.0
WRITE_SECONDS = 60.0


@dataclass(frozen=True)
class Endpoint:
    """One model behind one URL; `window` is in tokens."""

    provider: str
    model: str
    base_url: str
    api_key: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    window: int = 128_000
    small: bool = False
    reasons: bool = False
    effort: Effort = "effort"
    recalls_thinking: bool = False
    key_variable: str = "its key"
    guarded: bool = False  # people have set where it is: never what gives credentials away

    def client(self, lines: Lines) -> httpx2.Client:
        """A client that follows no redirect and asks no proxy for the machine it runs on.

        Its connections are written down in `lines`.
        """
        hooks = {"request": [lines.watch]}
        if self.guarded:
            through = outbound.transport(_Guard(private_networks=True))
            return httpx2.Client(follow_redirects=False, transport=through, event_hooks=hooks)
        host = urlsplit(self.base_url).hostname or ""
        loopback = host == "localhost" or host.startswith("127.") or host == "::1"
        return httpx2.Client(
            follow_redirects=False,
            trust_env=not loopback,
            verify=outbound.authorities(),
            event_hooks=hooks,
        )

    def without_key(self, words: str) -> str:
        """`words` of the provider or of a library, which may repeat the key they were given."""
        key = (self.api_key or "").strip()
        return words.replace(key, "[key]") if key else words


class _Guard(outbound.Gate):
    """Lets through to machines of the operator's, never to what gives their credentials away."""

    def connect_tcp(self, *where: Any, **how: Any) -> httpcore2.NetworkStream:
        try:
            return super().connect_tcp(*where, **how)
        except outbound.Refused as refusal:
            raise Denied(f"{refusal}: an admin has to set another base URL.") from refusal


def patience(silence: float) -> httpx2.Timeout:
    """The time-outs of one request; `silence` is the longest pause between two chunks."""
    return httpx2.Timeout(
        connect=CONNECT_SECONDS, read=silence, write=WRITE_SECONDS, pool=CONNECT_SECONDS
    )
