"""A GitHub on the loopback: its App, installations, repositories and webhooks, as documented.

It verifies what the App signs, hands out tokens and lets nobody in without a fitting one, links
its pages, and delivers webhooks, failing as each test says.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from models import config, github_app
from models.config import Settings
from tests.servers import git
from tests.servers.github_pulls import Pulls

APP_ID, SLUG = "4711", "djinnbot"
SECRET, FORMER = "the webhook secret of the tests", "the secret before it"
PAGE = 3  # items on a page, whatever is asked for: nobody may rely on a page that is the last
INSTALLATION = 900_719_925_474  # GitHub's numbers outgrow 32 bits
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.TraditionalOpenSSL,
    serialization.NoEncryption(),
)
LISTS = {"repositories", "check_runs", "statuses"}  # by what they are called where they are named
Answer = tuple[int, Any]


@dataclass
class Github:
    """The server, and all that it knows."""

    repositories: dict[int, list[str]] = field(default_factory=dict)  # by installation
    permissions: dict[str, str] = field(
        default_factory=lambda: {
            "contents": "write",
            "issues": "write",
            "pull_requests": "write",
            "metadata": "read",
            "checks": "read",
            "statuses": "read",
        }
    )
    pulls: Pulls = field(default_factory=Pulls)
    git_root: Path | None = None  # of the repositories themselves, `<owner>/<name>.git`
    files: dict[int, list[str]] = field(default_factory=dict)  # by pull request
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    deliveries: list[dict[str, Any]] = field(default_factory=list)  # the newest first
    sent: dict[str, tuple[str, bytes]] = field(default_factory=dict)  # by guid
    asked: list[str] = field(default_factory=list)
    hook_url: str = ""
    life: timedelta = timedelta(hours=1)
    failing: int | None = None  # answer everything with this
    url: str = ""

    def answer(self, method: str, path: str, query: dict[str, Any], opener: str, body: Any) -> Any:
        """Status, answer, and whether it is a list with pages."""
        self.asked.append(f"{method} {path}")
        if self.failing:
            return self.failing, {"message": "Something with ghs_secret in it"}
        for pattern, way, by_app in ROUTES:
            found = re.fullmatch(pattern, f"{method} {path}")
            if found:
                scope = claims(opener) if by_app else self.tokens.get(opener)
                if scope is None:
                    return 401, {"message": "Bad credentials"}
                given = query if method == "GET" and not body else body
                return way(self, scope, given, *found.groups())
        return 404, {"message": "Not Found"}

    def app(self, scope: Any, body: Any) -> Answer:
        return 200, {"id": int(APP_ID), "slug": SLUG, "name": "DjinnBot of the tests"}

    def all_installations(self, scope: Any, body: Any) -> Answer:
        return 200, [self.one(number) for number in self.repositories]

    def installation(self, scope: Any, body: Any, number: str) -> Answer:
        known = int(number) in self.repositories
        return (200, self.one(int(number))) if known else (404, {})

    def one(self, number: int) -> dict[str, Any]:
        account = {"login": "acme", "type": "Organization", "avatar_url": f"{self.url}/a.png"}
        return {
            "id": number,
            "account": account,
            "app_id": int(APP_ID),
            "app_slug": SLUG,
            "permissions": self.permissions,
            "repository_selection": "selected",
            "created_at": "2026-11-01T12:00:00Z",
            "suspended_at": None,
        }

    def mint(self, scope: Any, body: Any, number: str) -> Answer:
        covered = self.repositories.get(int(number))
        if covered is None:
            return 404, {}
        names = body.get("repositories")
        known = {name.partition("/")[2] for name in covered}
        wanted = body.get("permissions") or self.permissions
        fits = all(self.permissions.get(what) in (level, "write") for what, level in wanted.items())
        if not set(names or ()) <= known or not fits:
            return 422, {"message": "There is at least one repository or permission too many"}
        chosen = [each for each in covered if each.partition("/")[2] in names] if names else covered
        token = f"ghs_{len(self.tokens):036d}"
        self.tokens[token] = {"installation": int(number), "names": chosen, "permissions": wanted}
        expires = (datetime.now(UTC) + self.life).strftime("%Y-%m-%dT%H:%M:%SZ")
        return 201, {"token": token, "expires_at": expires}

    def covered(self, scope: Any, body: Any) -> Answer:
        return 200, {"repositories": [self.repository(name) for name in scope["names"]]}

    def repository(self, full_name: str) -> dict[str, Any]:
        owner, _, name = full_name.partition("/")
        return {
            "id": 42,
            "name": name,
            "full_name": full_name,
            "owner": {"login": owner},
            "description": None,
            "private": True,
            "default_branch": "trunk",
            "html_url": f"{self.url}/{full_name}",
        }

    def look(self, scope: Any, body: Any, name: str) -> Answer:
        found = [each for each in scope["names"] if each.lower() == name.lower()]
        return (200, self.repository(found[0])) if found else (404, {})

    def whose(self, scope: Any, body: Any, name: str) -> Answer:
        for number, names in self.repositories.items():
            if name.lower() in map(str.lower, names):
                return 200, self.one(number)
        return 404, {"message": "Not Found"}

    def changed(self, scope: Any, body: Any, name: str, number: str) -> Answer:
        return 200, [{"filename": path} for path in self.files.get(int(number), [])]

    def pull_list(self, scope: Any, query: Any, name: str) -> Answer:
        return self.pulls.list(name, query) if name in scope["names"] else (404, {})

    def pull_open(self, scope: Any, body: Any, name: str) -> Answer:
        if scope["permissions"].get("pull_requests") != "write" or name not in scope["names"]:
            return 403, {"message": "Resource not accessible by integration"}
        if self.git_root is not None:
            self.pulls.branches |= git.branches(self.git_root / f"{name}.git")
        return self.pulls.open(name, self.url, body)

    def pull(self, scope: Any, query: Any, name: str, number: str) -> Answer:
        return self.pulls.one(number)

    def pull_reviews(self, scope: Any, query: Any, name: str, number: str) -> Answer:
        return 200, self.pulls.reviews.get(int(number), [])

    def check_runs(self, scope: Any, query: Any, name: str, sha: str) -> Answer:
        if scope["permissions"].get("checks") != "read":
            return 403, {"message": "Resource not accessible by integration"}
        return 200, {"check_runs": self.pulls.checks}

    def status(self, scope: Any, query: Any, name: str, sha: str) -> Answer:
        return 200, {"state": "pending", "statuses": self.pulls.statuses}

    def opens(self, password: str, pushes: bool) -> bool:
        """Whether a token opens the repositories, and may write if it is to."""
        granted = self.tokens.get(password, {}).get("permissions", {}).get("contents")
        return granted == "write" or (granted == "read" and not pushes)

    def told(self, scope: Any, body: Any) -> Answer:
        return 200, self.deliveries

    def again(self, scope: Any, body: Any, number: str) -> Answer:
        for told in self.deliveries:
            if told["id"] == int(number):
                event, payload = self.sent[told["guid"]]
                self.deliver(event, payload, told["guid"], redelivery=True)
                return 202, {}
        return 404, {}

    def deliver(
        self, event: str, payload: Any, guid: str, redelivery: bool = False, ago: float = 0
    ) -> int:
        """Post a webhook, and keep for the list how it went; gives the status (0: nobody there)."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.sent[guid] = event, body
        asked = urllib.request.Request(  # noqa: S310
            self.hook_url, body, signed(body) | {"X-GitHub-Event": event, "X-GitHub-Delivery": guid}
        )
        try:
            status = urllib.request.urlopen(asked, timeout=10).status  # noqa: S310
        except HTTPError as error:
            status = error.code
        except OSError:
            status = 0
        moment = datetime.now(UTC) - timedelta(seconds=ago)
        told = {
            "id": 10**15 + len(self.deliveries),
            "guid": guid,
            "delivered_at": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "redelivery": redelivery,
            "status_code": status,
            "event": event,
        }
        self.deliveries.insert(0, told)
        return status


ROUTES: tuple[tuple[str, Any, bool], ...] = (
    (r"GET /app", Github.app, True),
    (r"GET /app/installations", Github.all_installations, True),
    (r"GET /app/installations/(\d+)", Github.installation, True),
    (r"POST /app/installations/(\d+)/access_tokens", Github.mint, True),
    (r"GET /app/hook/deliveries", Github.told, True),
    (r"POST /app/hook/deliveries/(\d+)/attempts", Github.again, True),
    (r"GET /repos/([^/]+/[^/]+)/installation", Github.whose, True),
    (r"GET /installation/repositories", Github.covered, False),
    (r"GET /repos/([^/]+/[^/]+)", Github.look, False),
    (r"GET /repos/([^/]+/[^/]+)/pulls/(\d+)/files", Github.changed, False),
    (r"GET /repos/([^/]+/[^/]+)/pulls", Github.pull_list, False),
    (r"POST /repos/([^/]+/[^/]+)/pulls", Github.pull_open, False),
    (r"GET /repos/([^/]+/[^/]+)/pulls/(\d+)", Github.pull, False),
    (r"GET /repos/([^/]+/[^/]+)/pulls/(\d+)/reviews", Github.pull_reviews, False),
    (r"GET /repos/([^/]+/[^/]+)/commits/(\w+)/check-runs", Github.check_runs, False),
    (r"GET /repos/([^/]+/[^/]+)/commits/(\w+)/status", Github.status, False),
)


def claims(token: str) -> dict[str, Any] | None:
    """What the App has signed, if GitHub would take it: RS256, its id, ten minutes at most."""
    try:
        told = jwt.decode(token, KEY.public_key(), ["RS256"], issuer=APP_ID)
    except jwt.InvalidTokenError:
        return None
    return told if told["exp"] <= time.time() + 600 else None


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    """The headers of a delivery whose body GitHub has signed."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": f"sha256={digest}", "Content-Type": "application/json"}


class _Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        if not self._of_git():
            self._answer({})

    def do_POST(self) -> None:
        if self._of_git():
            return
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(json.loads(text or b"{}"))

    def _of_git(self) -> bool:
        """Let git answer what is asked of a repository itself."""
        known = self.server.github
        if known.git_root is None or ".git/" not in self.path:
            return False
        known.asked.append(f"{self.command} {self.path}")
        git.answer(self, known.git_root, known.opens)
        return True

    def _answer(self, body: Any) -> None:
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        opener = self.headers.get("Authorization", "").rpartition(" ")[2]  # GitHub takes any word
        with self.server.lock:
            status, told = self.server.github.answer(
                self.command, address.path, query, opener, body
            )
        link, told = _paged(told, int(query.get("page", 1)))
        text = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if link:
            url = f"{self.server.github.url}{address.path}?per_page=100&page={link}"
            self.send_header("Link", f'<{url}>; rel="next"')
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def _paged(told: Any, page: int) -> tuple[int | None, Any]:
    """One page of a list, and the number of the next."""
    name = next(iter(LISTS & told.keys()), "") if isinstance(told, dict) else ""
    items = told.get(name) if isinstance(told, dict) else told
    if not isinstance(items, list):
        return None, told
    here = items[(page - 1) * PAGE : page * PAGE]
    following = page + 1 if len(items) > page * PAGE else None
    return following, {name: here} if isinstance(told, dict) else here


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    github: Github
    lock: threading.RLock


@pytest.fixture
def github(session_settings: Settings, tmp_path: Path) -> Iterator[Github]:
    """A GitHub on which our App is installed, and the settings that lead to it."""
    server = _Server(("127.0.0.1", 0), _Conversation)
    server.lock = threading.RLock()
    server.github = Github(repositories={INSTALLATION: ["acme/todo"]})
    server.github.url = f"http://127.0.0.1:{server.server_port}"
    key = tmp_path / "app.pem"
    key.write_bytes(PEM)
    environment = {
        "GITHUB_APP_ID": APP_ID,
        "GITHUB_APP_CLIENT_ID": "Iv1.tests",
        "GITHUB_APP_WEBHOOK_SECRET": f"{SECRET}, {FORMER}",
        "GITHUB_APP_PRIVATE_KEY_PATH": str(key),
        "GITHUB_API_URL": server.github.url,
    }
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        config.settings.cache_clear()
        yield server.github
    github_app._config.cache_clear()
    server.shutdown()
    server.server_close()
    config.settings.cache_clear()
