"""Skills of others: a text anywhere, or the SKILL.md files of a repository on GitHub.

Only read here: nothing is kept before somebody has seen it and asked for it. A repository is read
at one commit, from GitHub's own hosts (or the Enterprise Server's that the settings name).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from models import outbound, skill_texts
from models.config import settings
from models.errors import Invalid, NotFound, Unreachable
from models.outbound import Declined, Gate
from models.skill_texts import LARGEST, LARGEST_FILE, LARGEST_FILES, MAIN, MOST_FILES

MOST_SKILLS = 50  # of a repository
SECONDS = 30.0  # for all of it
AT_ONCE = 8
LARGEST_TREE = 8 * 1024 * 1024  # bytes of the list of a repository's files
_PART = r"(?!\.+/)[A-Za-z0-9_.-]{1,100}"
_COMMIT = re.compile(r"[0-9a-f]{40,64}")
_SHA = {"Accept": "application/vnd.github.sha"}


@dataclass(frozen=True)
class Place:
    """What a URL names: a repository, one of its folders, or one of its files."""

    owner: str
    repo: str
    ref: str = "HEAD"
    path: str = ""
    is_file: bool = False

    @property
    def full_name(self) -> str:
        return f"{self.owner}/{self.repo}"


@dataclass(frozen=True)
class Found:
    """A skill of a repository; `skipped` are companions that were left out."""

    path: str
    raw_url: str
    text: str
    files: Mapping[str, str] = field(default_factory=dict)
    skipped: Sequence[str] = ()


def fetched(url: str) -> str:
    """The text at a URL; Invalid names `url` when it cannot be had."""
    try:
        raw = outbound.fetch(outbound.checked(url), redirects=True, most_bytes=LARGEST)
        return raw.decode()
    except (Unreachable, UnicodeDecodeError) as error:
        raise _unfit(_why(error)) from error


def repository(url: str) -> tuple[Place, list[Found]]:
    """The skills at an address on GitHub.

    Invalid names `url` when it is none, or GitHub does not answer; NotFound where no skill is.
    """
    place, until = placed(url), time.monotonic() + SECONDS
    try:
        commit = _commit(place, until)
        entries = _listed(place, commit, until)
        chosen = _skills(place, entries)
        if not chosen:
            raise NotFound(f"There is no SKILL.md at {url.strip()}")
        return place, list(_read(place, commit, chosen, entries, until))
    except Unreachable as error:
        raise _unfit(_why(error)) from error


def placed(url: str) -> Place:
    """What an address on GitHub names; Invalid for any other."""
    told = settings().github
    try:
        parts = urlsplit(url.strip()[: outbound.LONGEST_URL])
    except ValueError:
        raise _unfit("It is no URL") from None
    if parts.netloc.lower() == urlsplit(told.raw_url).netloc and told.is_public:
        pattern = rf"/({_PART})/({_PART})/([^/]+)/(.+)"
        if named := re.fullmatch(pattern, parts.path):
            owner, repo, ref, path = named.groups()
            return Place(owner, repo, unquote(ref), unquote(path), is_file=True)
    elif parts.netloc.lower().removeprefix("www.") == urlsplit(told.web_url).netloc:
        pattern = rf"/({_PART})/({_PART}?)(?:\.git)?(?:/(tree|blob)/([^/]+)(?:/(.*?))?)?/?"
        if named := re.fullmatch(pattern, parts.path):
            owner, repo, kind, ref, path = named.groups()
            path = unquote(path or "").strip("/")
            return Place(owner, repo, unquote(ref or "HEAD"), path, is_file=kind == "blob")
    raise _unfit("It is no address of a repository on GitHub")


def _commit(place: Place, until: float) -> str:
    """The commit that the place's branch or tag stands at."""
    where = f"repos/{place.full_name}/commits/{quote(place.ref, safe='')}"
    commit = _asked(where, until, most_bytes=200, headers=_SHA).decode(errors="replace").strip()
    if not _COMMIT.fullmatch(commit):
        raise Unreachable("GitHub did not name a commit")
    return commit


def _listed(place: Place, commit: str, until: float) -> dict[str, int]:
    """The files of the repository with their sizes."""
    url = f"{settings().github.api_url}/repos/{place.full_name}/git/trees/{commit}?recursive=1"
    gate, left = _gate(), _left(until)
    told = outbound.fetch_json(url, most_bytes=LARGEST_TREE, seconds=left, gate=gate)
    rows: Any = told.get("tree") if isinstance(told, dict) else None
    if not isinstance(rows, list):
        raise Unreachable("GitHub did not list the repository's files")
    return {
        row["path"]: row.get("size") or 0
        for row in rows
        if isinstance(row, dict) and row.get("type") == "blob" and isinstance(row.get("path"), str)
    }


def _skills(place: Place, entries: Mapping[str, int]) -> list[str]:
    """The paths of the SKILL.md files at the place."""
    if place.is_file:
        return [place.path] if place.path in entries else []
    under = f"{place.path}/" if place.path else ""
    names = [path for path in entries if path.startswith(under)]
    found = sorted(path for path in names if path.rpartition("/")[2].lower() == MAIN)
    if len(found) > MOST_SKILLS:
        raise _unfit(f"It has more than {MOST_SKILLS} skills: name one of its folders")
    return found


def _read(
    place: Place, commit: str, chosen: Sequence[str], entries: Mapping[str, int], until: float
) -> Iterator[Found]:
    """The skills with their companions, MOST_FILES of these and LARGEST_FILES bytes altogether."""
    companions, skipped = _companions(chosen, entries)
    wanted = [*chosen, *(path for paths in companions.values() for path in paths)]
    with ThreadPoolExecutor(AT_ONCE) as readers:
        read_texts = readers.map(lambda path: _text(place, commit, path, until), wanted)
        texts = dict(zip(wanted, read_texts, strict=True))
    for path in chosen:
        folder = _folder(path)
        read = {each.removeprefix(folder): texts[each] for each in companions[path]}
        files = {name: text for name, text in read.items() if text is not None}
        lost = [*skipped[path], *(name for name, text in read.items() if text is None)]
        text = texts[path]
        if text is None:
            raise _unfit(f"{path} is no text, or larger than {LARGEST // 1024} KiB")
        yield Found(path, _raw(place, commit, path), text, files, tuple(lost))


def _companions(
    chosen: Sequence[str], entries: Mapping[str, int]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The files beside each SKILL.md and below, and those that may not come along."""
    folders = sorted(((_folder(path), path) for path in chosen), key=lambda each: -len(each[0]))
    taken: dict[str, list[str]] = {path: [] for path in chosen}
    skipped: dict[str, list[str]] = {path: [] for path in chosen}
    room, number = LARGEST_FILES, MOST_FILES
    for path in sorted(set(entries) - set(chosen)):
        folder, skill = next((each for each in folders if path.startswith(each[0])), ("", ""))
        if not skill:
            continue
        name, size = path.removeprefix(folder), entries[path]
        if size > min(LARGEST_FILE, room) or not number or skill_texts.path_fault(name):
            skipped[skill].append(name)
            continue
        room, number = room - size, number - 1
        taken[skill].append(path)
    return taken, {skill: names[:MOST_FILES] for skill, names in skipped.items()}


def _text(place: Place, commit: str, path: str, until: float) -> str | None:
    """The text of a file; None when it is none, or too large."""
    most = LARGEST if path.rpartition("/")[2].lower() == MAIN else LARGEST_FILE
    try:
        gate, left = _gate(), _left(until)
        url = _raw(place, commit, path)
        text = outbound.fetch(url, most_bytes=most, seconds=left, gate=gate).decode()
    except UnicodeDecodeError:
        return None
    except Declined as refusal:
        if refusal.status != 200:
            raise
        return None
    return None if "\0" in text else text


def _asked(where: str, until: float, **how: Any) -> bytes:
    url = f"{settings().github.api_url}/{where}"
    return outbound.fetch(url, seconds=_left(until), gate=_gate(), **how)


def _gate() -> Gate:
    """GitHub itself is public; a server of one's own may stand anywhere."""
    return Gate() if settings().github.is_public else Gate(private_networks=True)


def _left(until: float) -> float:
    return max(0.01, until - time.monotonic())


def _raw(place: Place, commit: str, path: str) -> str:
    return f"{settings().github.raw_url}/{place.full_name}/{commit}/{quote(path)}"


def _folder(path: str) -> str:
    head, slash, _ = path.rpartition("/")
    return head + slash


def _why(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "What is there is no text"
    return str(error)


def _unfit(why: str) -> Invalid:
    fault = {"loc": ["body", "url"], "msg": why, "type": "invalid"}
    return Invalid(f"url: {why}", errors=[fault])
