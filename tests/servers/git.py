"""Repositories over git's own protocol on the loopback, by `git http-backend`, to be pushed to."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

PUSHES = "git-receive-pack"
Opens = Callable[[str, bool], bool]  # (password, whether it is to be pushed) -> may they


def answer(conversation: BaseHTTPRequestHandler, root: Path, opens: Opens) -> None:
    """Let git's own server answer one request for a repository below `root`."""
    address = urlsplit(conversation.path)
    body, pushes = _body(conversation), PUSHES in conversation.path
    if not opens(_password(conversation), pushes):
        conversation.send_response(401)
        conversation.send_header("WWW-Authenticate", 'Basic realm="git"')
        conversation.send_header("Content-Length", "0")
        conversation.end_headers()
        return
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "REMOTE_USER": "x-access-token",
        "REQUEST_METHOD": conversation.command,
        "PATH_INFO": address.path,
        "QUERY_STRING": address.query,
        "CONTENT_TYPE": conversation.headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": conversation.headers.get("Content-Encoding", ""),
        "GIT_PROTOCOL": conversation.headers.get("Git-Protocol", ""),
    }
    done = subprocess.run(
        ["git", "http-backend"], input=body, env=environment, capture_output=True, check=True
    )
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
    conversation.send_response(int(headers.pop("Status", "200").split()[0]))
    for name, value in headers.items():
        conversation.send_header(name, value)
    conversation.send_header("Content-Length", str(len(content)))
    conversation.end_headers()
    conversation.wfile.write(content)


def branches(bare: Path) -> dict[str, str]:
    """The branches of a repository, each with its last commit."""
    listed = ["git", "-C", str(bare), "for-each-ref", "--format=%(refname:lstrip=2) %(objectname)"]
    done = subprocess.run([*listed, "refs/heads"], check=True, capture_output=True, text=True)
    return dict(line.split() for line in done.stdout.splitlines())


def _body(conversation: BaseHTTPRequestHandler) -> bytes:
    if conversation.headers.get("Transfer-Encoding") != "chunked":
        return conversation.rfile.read(int(conversation.headers.get("Content-Length") or 0))
    body = b""
    while size := int(conversation.rfile.readline(), 16):
        body += conversation.rfile.read(size)
        conversation.rfile.readline()
    conversation.rfile.readline()
    return body


def _password(conversation: BaseHTTPRequestHandler) -> str:
    told = conversation.headers.get("Authorization", "").removeprefix("Basic ")
    return base64.b64decode(told).decode().partition(":")[2]


class _Git(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        answer(self, self.server.root, self.server.opens)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Hub(ThreadingHTTPServer):
    """A server of the repositories in a folder; without a password it is open to everybody."""

    daemon_threads = True

    def __init__(self, root: Path, password: str | None) -> None:
        super().__init__(("127.0.0.1", 0), _Git)
        self.root, self.password = root, password
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def opens(self, password: str, pushes: bool) -> bool:
        return self.password in (None, password)

    @property
    def pushes(self) -> int:
        """How often something was really pushed."""
        return sum(each.startswith("POST") and PUSHES in each for each in self.asked)


@contextmanager
def hub(root: Path, password: str | None = None) -> Iterator[Hub]:
    """Serve the bare repositories below `root`."""
    server = Hub(root, password)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
