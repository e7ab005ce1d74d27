"""GitHub's REST API as our App uses it: one client for web and workers, a call for each need.

The App proves itself with a JSON Web Token it signs (RS256, ten minutes at most); for what lies in
an account it asks GitHub for a token of that installation, limited to the one repository and to
what agents do there. Those live for an hour; Redis keeps them sealed while they do, and may lose
them. Tokens are part of no error and no log line.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

import httpx2
import jwt
import orjson
import redis

from models import streams, vault
from models.config import settings
from models.config_github import GithubSettings
from models.errors import NotFound, Unavailable, Unreachable
from models.logs import log

VERSION = "2022-11-28"  # of the API
PER_PAGE = 100
AT_ONCE = 8  # calls of one process: a slow GitHub must not take every database connection
MOST_PAGES = 30  # of files that a pull request changes: GitHub shows 3,000
EARLY_SECONDS = 300  # a token that lives no longer than this is not handed out any more
CLOCK_SKEW, APP_SECONDS = 60, 540  # the life of what the App signs, around GitHub's own clock
WORK = {"contents": "write", "issues": "write", "pull_requests": "write", "metadata": "read"}
LOOK = {"metadata": "read"}


@dataclass(frozen=True)
class Token:
    """What opens a repository, or an installation's list of them; `expires_at` is in ms."""

    text: str = field(repr=False)
    expires_at: int

    @property
    def fresh(self) -> bool:
        return self.expires_at > (time.time() + EARLY_SECONDS) * 1000


def configured() -> GithubSettings:
    """The settings of an App that works; Unavailable says what is missing."""
    chosen = settings().github
    if chosen.fault:
        raise Unavailable(f"The GitHub App is not configured: {chosen.fault}")
    return chosen


def installations() -> Iterator[dict[str, Any]]:
    """Where the App is installed."""
    yield from _pages("/app/installations", _signed(), None)


def installation(installation_id: int) -> dict[str, Any]:
    """One installation; NotFound when it is none of ours."""
    found: dict[str, Any] = _call("GET", f"/app/installations/{installation_id}", _signed())
    return found


def repositories(installation_id: int) -> Iterator[dict[str, Any]]:
    """The repositories that an installation covers."""
    opener = token(installation_id, None, LOOK).text
    yield from _pages("/installation/repositories", opener, "repositories")


def every_repository(installation_id: int | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """The repositories of one installation, or of all that are at work, with the installation."""
    chosen = [installation_id] if installation_id is not None else _at_work()
    for number in chosen:
        for found in repositories(number):
            yield number, found


def app() -> dict[str, Any]:
    """The App as GitHub knows it."""
    found: dict[str, Any] = _call("GET", "/app", _signed())
    return found


def repository(owner: str, name: str) -> tuple[int, dict[str, Any]]:
    """A repository as GitHub writes it and the installation that covers it; NotFound if none."""
    covering = int(_call("GET", f"/repos/{owner}/{name}/installation", _signed())["id"])
    opener = token(covering, None, LOOK).text
    return covering, _call("GET", f"/repos/{owner}/{name}", opener)


def changed_files(installation_id: int, full_name: str, number: int) -> list[str]:
    """The paths that a pull request touches."""
    opener = token(installation_id, full_name.partition("/")[2]).text
    path = f"/repos/{full_name}/pulls/{number}/files"
    return [file["filename"] for file in _pages(path, opener, None, MOST_PAGES)]


def deliveries() -> Iterator[dict[str, Any]]:
    """The webhooks that GitHub has sent us, or has tried to, the newest first."""
    yield from _pages("/app/hook/deliveries", _signed(), None)


def redeliver(delivery: int) -> None:
    """Ask GitHub to send a webhook once more."""
    _call("POST", f"/app/hook/deliveries/{delivery}/attempts", _signed())


def token(
    installation_id: int,
    name: str | None,
    wanted: Mapping[str, str] = WORK,
    holder: str = "",
) -> Token:
    """A token for one repository (or, without a name, to look around an installation).

    It may do what is wanted as far as the installation allows it. The same `holder` gets the same
    token until shortly before it expires.
    """
    key = f"djinn:github:{installation_id}:{name or ''}:{','.join(sorted(wanted))}:{holder}"
    return _kept(key) or _keep(key, _minted(installation_id, name, wanted))


def _at_work() -> Iterator[int]:
    return (each["id"] for each in installations() if not each.get("suspended_at"))


def _minted(installation_id: int, name: str | None, wanted: Mapping[str, str]) -> Token:
    allowed = installation(installation_id).get("permissions", {})
    limits: dict[str, Any] = {
        "permissions": {
            what: level if allowed[what] != "read" else "read"
            for what, level in wanted.items()
            if what in allowed
        }
    }
    if name is not None:
        limits["repositories"] = [name]
    path = f"/app/installations/{installation_id}/access_tokens"
    answer = _call("POST", path, _signed(), json=limits)
    expires = datetime.fromisoformat(answer["expires_at"]).timestamp()
    return Token(answer["token"], int(expires * 1000))


def _kept(key: str) -> Token | None:
    url = settings().redis_url
    try:
        sealed = streams.client(url).get(key) if url else None
        opened = sealed and Token(**orjson.loads(vault.unseal(key, bytes(sealed).decode())))  # type: ignore[arg-type]
    except (redis.RedisError, vault.Unreadable) as error:
        log.info("no token kept", error=str(error))
        return None
    return opened if opened and opened.fresh else None


def _keep(key: str, minted: Token) -> Token:
    url, life = settings().redis_url, int(minted.expires_at / 1000 - time.time() - EARLY_SECONDS)
    if url and life > 0 and settings().vault_keys:
        told = orjson.dumps({"text": minted.text, "expires_at": minted.expires_at}).decode()
        try:
            streams.client(url).set(key, vault.seal(key, told), ex=life)
        except redis.RedisError as error:
            log.info("token not kept", error=str(error))
    return minted


def _signed() -> str:
    """The App's own proof of who it is."""
    chosen = configured()
    now = int(time.time())
    claims = {"iat": now - CLOCK_SKEW, "exp": now + APP_SECONDS, "iss": chosen.app_id}
    try:
        return jwt.encode(claims, chosen.private_key() or "", "RS256")
    except (ValueError, TypeError, jwt.InvalidKeyError):
        raise Unavailable("The GitHub App is not configured: its key does not open") from None


def _pages(path: str, opener: str, name: str | None, most: int = 1000) -> Iterator[dict[str, Any]]:
    """Every item of a list, page by page as GitHub links them."""
    here = settings().github.api_url
    path = f"{path}?per_page={PER_PAGE}"
    for _ in range(most):
        items, following = _asked("GET", path, opener)
        yield from items[name] if name else items
        if not following.startswith(f"{here}/"):
            return
        path = following.removeprefix(here)


def _call(method: str, path: str, opener: str, **body: Any) -> Any:
    """What GitHub answers."""
    return _asked(method, path, opener, **body)[0]


def _asked(method: str, path: str, opener: str, **body: Any) -> tuple[Any, str]:
    """What GitHub answers, and where the list goes on."""
    what = f"{method} {path.partition('?')[0]}"
    headers = {"Authorization": f"Bearer {opener}"}
    try:
        answer = _client(settings().github.api_url).request(method, path, headers=headers, **body)
        told = orjson.loads(answer.content or b"null") if answer.is_success else None
    except (httpx2.HTTPError, orjson.JSONDecodeError) as error:
        raise Unreachable(f"GitHub did not answer {what}: {type(error).__name__}") from None
    if answer.status_code in {404, 410}:
        raise NotFound(f"GitHub knows nothing of {what}")
    if not answer.is_success:
        raise Unreachable(f"GitHub answered {answer.status_code} to {what}")
    return told, answer.links.get("next", {}).get("url", "")


@cache
def _client(url: str) -> httpx2.Client:
    headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": VERSION}
    return httpx2.Client(
        base_url=url,
        headers=headers,
        timeout=httpx2.Timeout(8, connect=3, pool=1),
        limits=httpx2.Limits(max_connections=AT_ONCE),
    )
