"""The web process: many streams at once, plain words in its log, a quick farewell."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
from pathlib import Path

import pytest

from tests.processes.product import DJINN, Product, product

CLIENTS = 300


def opened(running: Product, path: str) -> socket.socket:
    """A connection that has asked for a stream."""
    connection = socket.create_connection(("127.0.0.1", running.port), timeout=20)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
    return connection


def received(connection: socket.socket, until_word: bytes) -> bytes:
    """What arrives up to a word, or to the end."""
    text = b""
    while until_word not in text:
        piece = connection.recv(65536)
        if not piece:
            break
        text += piece
    return text


def test_hundreds_listen_while_others_ask(running: Product) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    run = running.run("bugfix", "x")
    listeners = [opened(running, f"/v1/events/stream?run_id={run}") for _ in range(CLIENTS)]
    for _ in range(20):
        running.get("/runs")  # each within the client's time-out
    for listener in listeners:
        told = received(listener, b"event: end")
        assert told.count(b'"type":"run_created"') == told.count(b'"type":"run_complete"') == 1
        listener.close()


def test_a_body_in_broken_chunks_is_the_clients_fault(running: Product) -> None:
    head = "POST /v1/runs HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n".encode())
        assert received(connection, b"\r\n").startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /v1/status HTTP/1.1\r\nHost: here\r\nbad header: x\r\n\r\n", 400),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: here\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: here\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 200 + b"\r\n", 431),
    ],
)
def test_what_is_no_request_is_refused_like_everything_else(
    running: Product, sent: bytes, status: int
) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        connection.sendall(sent)
        head, _, body = received(connection, b"}").partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Content-Type: application/problem+json" in head
    told = json.loads(body)
    assert (told["status"], bool(told["detail"])) == (status, True)
    assert f"X-Request-ID: {told['requestId']}".encode() in head


def test_sigterm_ends_streams_and_leaves_soon(tmp_path: Path) -> None:
    with product(tmp_path) as running:
        connection = opened(running, "/v1/events/stream")
        assert b"connected" in received(connection, b"connected")
        assert running.terminate("web") < 15  # gunicorn would cut them then
        assert b"the server restarts" in received(connection, b"restarts")
        connection.close()
        lines = running.log("web").splitlines()
        assert lines
        assert all("event" in json.loads(line) for line in lines)
        assert any(json.loads(line)["event"] == "request" for line in lines)


VAULT = {"SECRET_ENCRYPTION_KEYS": "ab" * 32}


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        ({"AUTH_ENABLED": "false", "HOST": "0.0.0.0", **VAULT}, "ALLOW_INSECURE"),
        ({"AUTH_ENABLED": "false", "HOST": "0.0.0.0"}, "SECRET_ENCRYPTION_KEYS"),
        ({"AUTH_ENABLED": "true"}, "ENGINE_INTERNAL_TOKEN"),
    ],
)
def test_an_unlocked_door_is_not_opened(environment: dict[str, str], word: str) -> None:
    urls = {"DATABASE_URL": "postgresql://127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1"}
    told = subprocess.run(
        [DJINN, "web"],
        env={"PATH": os.environ["PATH"], "PORT": "0", **urls, **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert told.returncode != 0
    assert word in told.stdout + told.stderr
