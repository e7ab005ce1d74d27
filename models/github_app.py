"""GitHub's REST API as our App uses it: one client for web and workers, a call for each need.

The App proves itself with a JSON Web Token it signs (RS256, ten minutes at most); for what lies in
an account it asks GitHub for a token of that installation, limited to the one repository and to
what agents do there. Those live for an hour; Redis keeps them sealed while they do, and may lose
them. Tokens are part of no error and no log line. githubkit signs and asks; it is imported with the
first question, because it weighs more than the rest of a web process.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import orjson
import redis
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from models import streams, vault
from models.config import settings
from models.config_github import GithubSettings
from models.errors import NotFound, Unavailable, Unreachable
from models.logs import log

if TYPE_CHECKING:
    from githubkit import GitHub
    from githubkit.config import Config
    from githubkit.response import Response

VERSION = "2022-11-28"  # of the API
FORBIDDEN, UNPROCESSABLE, TOO_MANY = 403, 422, 429
PER_PAGE = 100
AT_ONCE = 8  # calls of one process: a slow GitHub must not take every database connection
MOST_PAGES = 30  # of files that a pull request changes: GitHub shows 3,000
EARLY_SECONDS = 300  # a token that lives no longer than this is not handed out any more
FEW_PAGES = 5  # of what is said about a pull request
WORK = {"contents": "write", "issues": "write", "pull_requests": "write", "metadata": "read"}
LOOK = {"metadata": "read"}
LOOKING = {"checks": "read", "statuses": "read"}  # at how a pull request does


class Declined(Unreachable):
    """GitHub understood the question and says no; `reasons` are its words, which stay with us."""

    def __init__(self, message: str, reasons: frozenset[str]) -> None:
        super().__init__(message)
        self.reasons = reasons

    def because(self, words: str) -> bool:
        return any(words in reason for reason in self.reasons)


class Barred(Unreachable):
    """GitHub does not let the App do this: it was not given the right."""


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
    yield from _pages(_signed(), "/app/installations", None)


def installation(installation_id: int) -> dict[str, Any]:
    """One installation; NotFound when it is none of ours."""
    found: dict[str, Any] = _call(_signed(), "GET", f"/app/installations/{installation_id}")
    return found


def repositories(installation_id: int) -> Iterator[dict[str, Any]]:
    """The repositories that an installation covers."""
    opener = token(installation_id, None, LOOK)
    yield from _pages(_opened(opener), "/installation/repositories", "repositories")


def every_repository(installation_id: int | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """The repositories of one installation, or of all that are at work, with the installation."""
    chosen = [installation_id] if installation_id is not None else _at_work()
    for number in chosen:
        for found in repositories(number):
            yield number, found


def app() -> dict[str, Any]:
    """The App as GitHub knows it."""
    found: dict[str, Any] = _call(_signed(), "GET", "/app")
    return found


def repository(owner: str, name: str) -> tuple[int, dict[str, Any]]:
    """A repository as GitHub writes it and the installation that covers it; NotFound if none."""
    covering = int(_call(_signed(), "GET", f"/repos/{owner}/{name}/installation")["id"])
    opener = token(covering, None, LOOK)
    return covering, _call(_opened(opener), "GET", f"/repos/{owner}/{name}")


def changed_files(installation_id: int, full_name: str, number: int) -> list[str]:
    """The paths that a pull request touches."""
    opener = token(installation_id, full_name.partition("/")[2])
    path = f"/repos/{full_name}/pulls/{number}/files"
    return [file["filename"] for file in _pages(_opened(opener), path, None, MOST_PAGES)]


def asked(installation_id: int, full_name: str, path: str, **body: Any) -> Any:
    """What GitHub answers about a repository, by GET, or by POST where there is a body.

    Raises NotFound, Barred, Declined and Unreachable.
    """
    opener = _opened(token(installation_id, full_name.partition("/")[2], LOOKING | WORK))
    return _call(opener, "POST" if body else "GET", f"/repos/{full_name}{path}", **body)


def listed(
    installation_id: int, full_name: str, path: str, name: str | None = None
) -> Iterator[dict[str, Any]]:
    """The items of a list about a repository, from its first pages; raises the same."""
    opener = _opened(token(installation_id, full_name.partition("/")[2], LOOKING | WORK))
    yield from _pages(opener, f"/repos/{full_name}{path}", name, FEW_PAGES)


def deliveries() -> Iterator[dict[str, Any]]:
    """The webhooks that GitHub has sent us, or has tried to, the newest first."""
    yield from _pages(_signed(), "/app/hook/deliveries", None)


def redeliver(delivery: int) -> None:
    """Ask GitHub to send a webhook once more."""
    _call(_signed(), "POST", f"/app/hook/deliveries/{delivery}/attempts")


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
    what = ",".join(f"{each}={level}" for each, level in sorted(wanted.items()))
    key = f"djinn:github:{installation_id}:{name or ''}:{what}:{holder}"
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
    answer = _call(_signed(), "POST", path, json=limits)
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


def _signed() -> GitHub:
    """A client by which the App itself asks."""
    from githubkit import AppAuthStrategy, GitHub

    chosen = configured()
    key = chosen.private_key() or ""
    if not _opens(key):
        raise Unavailable("The GitHub App is not configured: its key does not open")
    return GitHub(AppAuthStrategy(chosen.app_id, key), config=_config(chosen.api_url))


@lru_cache(maxsize=2)
def _opens(key: str) -> bool:
    """Whether it is a key; telling takes longer than most of what is asked with it."""
    try:
        load_pem_private_key(key.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def _opened(opener: Token) -> GitHub:
    """A client by which an installation asks."""
    from githubkit import GitHub

    return GitHub(opener.text, config=_config(settings().github.api_url))


def _pages(github: GitHub, path: str, name: str | None, most: int = 1000) -> Iterator[Any]:
    """Every item of a list, page by page as GitHub links them."""
    here = settings().github.api_url
    following = f"{here}{path}?per_page={PER_PAGE}"
    for _ in range(most):
        answer = _asked(github, "GET", following)
        items = answer.json()
        yield from items[name] if name else items
        following = answer.raw_response.links.get("next", {}).get("url", "")
        if not following.startswith(f"{here}/"):
            return


def _call(github: GitHub, method: str, path: str, **body: Any) -> Any:
    """What GitHub answers."""
    answer = _asked(github, method, f"{settings().github.api_url}{path}", **body)
    return answer.json() if answer.content else None


def _asked(github: GitHub, method: str, url: str, **body: Any) -> Response[Any]:
    from githubkit.exception import GitHubException, RateLimitExceeded, RequestFailed

    what = f"{method} {urlsplit(url).path}"
    try:
        return github.request(method, url, headers={"X-GitHub-Api-Version": VERSION}, **body)
    except RequestFailed as error:
        limited = isinstance(error, RateLimitExceeded)  # which GitHub also says with 403
        status = TOO_MANY if limited else error.response.status_code
        reasons = _reasons(error.response)
    except GitHubException as error:
        cause = getattr(error, "exc", error)
        raise Unreachable(f"GitHub did not answer {what}: {type(cause).__name__}") from None
    if status in {404, 410}:
        raise NotFound(f"GitHub knows nothing of {what}")
    if status == FORBIDDEN:
        raise Barred(f"GitHub answered {status} to {what}")
    if status == UNPROCESSABLE:
        raise Declined(f"GitHub answered {status} to {what}", reasons)
    raise Unreachable(f"GitHub answered {status} to {what}")


def _reasons(response: Response[Any]) -> frozenset[str]:
    """Why GitHub declines: its messages, and the fields it finds wrong."""
    try:
        faults = response.json().get("errors") or ()
    except (ValueError, AttributeError):
        return frozenset()
    told = [fault for fault in faults if isinstance(fault, dict)]
    words = {str(fault.get(key)) for fault in told for key in ("message", "field")}
    return frozenset(words | {str(fault) for fault in faults if isinstance(fault, str)})


@cache
def _config(url: str) -> Config:
    from githubkit.config import get_config
    from githubkit.throttling import LocalThrottler

    patience = httpx.Timeout(8, connect=3, pool=1)
    at_once = LocalThrottler(AT_ONCE)
    return get_config(
        base_url=url,
        timeout=patience,
        throttler=at_once,
        http_cache=False,
        auto_retry=False,
        ssl_verify=httpx.create_ssl_context(),  # read once, it takes a while
    )
