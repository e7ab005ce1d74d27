"""The client of a DjinnBot server, against a small server that misbehaves on purpose."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from workers.remote import Rejected, Remote, Unreachable, frames


class Cutting(BaseHTTPRequestHandler):
    """Streams ten events, but hangs up after every third; sends the end when all were read."""

    asked: list[str]

    def do_GET(self) -> None:
        if self.path == "/v1/nothing":
            self._answer(404, {"detail": "Run x not found"})
            return
        if self.path == "/v1/echo":
            self._answer(200, {"key": self.headers["Authorization"]})
            return
        last = int(self.headers["Last-Event-ID"])
        self.asked.append(f"{self.path} after {last}")
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b"retry: 10\n\n: connected\n\n")
        for number in range(last + 1, min(last + 4, 11)):
            self.wfile.write(f'id: {number}\ndata: {{"n": {number}}}\n\n'.encode())
        if last + 4 > 10:
            self.wfile.write(b"event: heartbeat\ndata: {}\n\nevent: end\ndata: {}\n\n")
        else:
            self.wfile.write(b'id: 99\ndata: {"n": "cut in the mid')

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(200, {"got": body})

    def _answer(self, status: int, body: object) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    Cutting.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Cutting) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield listening
        listening.shutdown()
        thread.join()


@pytest.fixture
def remote(server: ThreadingHTTPServer) -> Remote:
    return Remote(f"http://127.0.0.1:{server.server_port}", "key")


def test_every_event_comes_once_across_cut_connections(remote: Remote) -> None:
    assert [event["n"] for event in remote.events("run_1")] == list(range(1, 11))
    assert Cutting.asked[0] == "/v1/events/stream?run_id=run_1 after 0"
    assert len(Cutting.asked) == 4


def test_the_key_travels_as_a_bearer_token(remote: Remote) -> None:
    assert remote.get("/v1/echo") == {"key": "Bearer key"}


def test_a_form_is_sent_as_json(remote: Remote) -> None:
    assert remote.post("/v1/runs", {"task": "ü"}) == {"got": {"task": "ü"}}


def test_an_error_carries_the_servers_words(remote: Remote) -> None:
    with pytest.raises(Rejected, match=r"Run x not found \(404\)"):
        remote.get("/v1/nothing")


def test_nobody_there_is_said_plainly() -> None:
    with pytest.raises(Unreachable, match=r"nothing answers at http://127\.0\.0\.1:1"):
        Remote("http://127.0.0.1:1").get("/v1/status")


def test_frames_follow_the_definition() -> None:
    lines = [
        "retry: 3000", "", ": hello", "", "id: 7", "data: one", "data:two", "",
        "event: end", "data", "", "id: lost", "data: incomplete",
    ]  # fmt: skip
    assert list(frames(lines)) == [
        {"event": "message", "retry": 3.0, "id": "7", "data": "one\ntwo"},
        {"event": "end", "retry": 3.0, "data": ""},
    ]
