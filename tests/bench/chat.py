"""A chat over HTTP: from the moment the provider sends a token to the moment the client has it.

    python -m tests.bench.chat [--messages 30] [--tokens 20] [--gap 30] [--chats 8]

The provider is a server on the loopback that writes into each token when it sent it. Floor: a bare
client that reads the same server's stream itself. The goal is for the first token of an answer;
those that follow are put together to at most twenty frames a second.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.bench.figures import Contest, percentile, spread
from tests.bench.load import once, request
from tests.bench.run_roundtrip import opened
from tests.bench.stage import measured
from tests.processes.product import Product

TOKEN = re.compile(rb"<(\d+)>")
BODY = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]}
GOAL_MS = 50


class Clockwork(BaseHTTPRequestHandler):
    """Answers whatever it is asked with tokens that say when they were sent (ns)."""

    protocol_version = "HTTP/1.1"
    tokens = 20
    gap = 0.03

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        time.sleep(self.gap)
        for _ in range(self.tokens):
            self._send({"content": f"<{time.monotonic_ns()}>"})
            time.sleep(self.gap)
        self._send({}, "stop")
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _send(self, delta: dict[str, str], finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        about = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        self.wfile.write(b"data: " + json.dumps({**about, "choices": [choice]}).encode() + b"\n\n")

    def log_message(self, *_: object) -> None:
        """Nothing: the figures speak."""


def main() -> None:
    """Measure both ways in turns and print."""
    chosen = argparse.ArgumentParser(description=__doc__)
    chosen.add_argument("--messages", type=int, default=30)
    chosen.add_argument("--tokens", type=int, default=20)
    chosen.add_argument("--gap", type=float, default=30, help="milliseconds between two tokens")
    chosen.add_argument("--chats", type=int, default=8, help="at once, in the last contest")
    given = chosen.parse_args()
    Clockwork.tokens, Clockwork.gap = given.tokens, given.gap / 1000
    with clockwork() as provider, measured(**environment(provider)) as running:
        talk(running, 2)  # warm
        for chats in (1, given.chats):
            contest = Contest(f"first token, provider -> client, {chats} at once")
            rest: list[float] = []
            for _ in range(3):
                floor = together(chats, lambda: bare(provider, given.messages // 3))
                ours = together(chats, lambda: talk(running, given.messages // 3))
                contest.add("bare client of the provider", *rated([each[0] for each in floor]))
                contest.add("chat", *rated([each[0] for each in ours]))
                rest += [taken for each in ours for taken in each[1:]]
            contest.show(f"p95 <= {GOAL_MS} ms")
            print(f"  every other token {spread(rest)}")


def rated(milliseconds: list[float]) -> tuple[float, list[float]]:
    """First tokens a second of waiting, which the ratio is made of, and each one's latency."""
    return 1000 / max(percentile(milliseconds, 0.5), 0.001), milliseconds


def environment(provider: str) -> dict[str, str]:
    """The product with this provider as OpenAI."""
    return {"OPENAI_BASE_URL": f"{provider}/v1", "OPENAI_API_KEY": "none"}


def together(count: int, work: object) -> list[list[float]]:
    """What so many threads that do the same found, one after the other's."""
    found: list[list[float]] = []

    def run() -> None:
        found.extend(work())  # type: ignore[operator]

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def talk(running: Product, messages: int) -> list[list[float]]:
    """The milliseconds that each token of each answer took to reach a client of a chat."""
    begun = request("POST", "/v1/chat/sessions", {"agent_id": "finn", "model": "openai/m"})
    chat = json.loads(once(running.url, begun)[1])["id"]
    with opened(running.url, f"/v1/sessions/{chat}/stream") as stream:
        return [answered(running, chat, stream) for _ in range(messages)]


def answered(running: Product, chat: str, stream: socket.socket) -> list[float]:
    """Say something and read the stream up to the end of the turn."""
    once(running.url, request("POST", f"/v1/chat/sessions/{chat}/message", {"message": "x"}))
    return arrivals(stream, b'"turn_end"')


def bare(provider: str, messages: int) -> list[list[float]]:
    """The same for a client that reads the provider's stream itself."""
    found = []
    for _ in range(messages):
        parts = urlsplit(provider)
        with socket.create_connection((parts.hostname, parts.port), timeout=30) as stream:
            body = json.dumps(BODY).encode()
            head = f"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
            stream.sendall(head.encode() + body)
            found.append(arrivals(stream, b"[DONE]"))
    return found


def arrivals(stream: socket.socket, end: bytes) -> list[float]:
    """Milliseconds since each token was sent, as they come, until the end is seen."""
    taken: list[float] = []
    seen: set[bytes] = set()
    rest = b""
    while end not in rest:
        piece = stream.recv(1 << 16)
        now = time.monotonic_ns()
        if not piece:
            raise ConnectionError("the stream ended too early")
        rest = rest[-200:] + piece
        for sent in TOKEN.findall(rest):
            if sent not in seen:
                seen.add(sent)
                taken.append((now - int(sent)) / 1e6)
    return taken


@contextmanager
def clockwork() -> Iterator[str]:
    """The provider, on the loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Clockwork)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


if __name__ == "__main__":
    main()
