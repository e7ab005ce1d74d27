"""The repository of a project: where its code lives, and how the last look at it went."""

from __future__ import annotations

import re
from typing import Any, Self
from urllib.parse import urlsplit

from peewee import CharField, ForeignKeyField

from models.base import JsonField, LongText, Moment, id_field, now_ms
from models.errors import Invalid
from models.lifecycle import StateField, Stateful
from models.projects import Project

QUEUED, CLONED, FAILED = "queued", "cloned", "failed"
OVERDUE_MS = 15 * 60 * 1000  # after which a look that was asked for has got lost
LONGEST = 1024
SCP = re.compile(r"git@(?P<host>[A-Za-z0-9.-]+):(?P<path>[A-Za-z0-9_./-]+)", re.ASCII)
SHORT = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+/[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+", re.ASCII)
FAULT = "Must be an http(s) URL without a password, git@host:path, or host/owner/repository."


class Repository(Stateful):
    """What is known of a project's repository; the clone itself is each machine's own."""

    label = "Repository"
    project_id: str

    id = id_field("repo_")
    project = ForeignKeyField(Project, on_delete="CASCADE", unique=True)
    url = LongText()
    state = StateField(
        {QUEUED: {CLONED, FAILED, QUEUED}, CLONED: {QUEUED, CLONED}, FAILED: {QUEUED, CLONED}}
    )
    branch = CharField(max_length=256, null=True)
    commit = CharField(max_length=64, null=True)
    branches = JsonField(default=list)
    error = LongText(null=True)
    updated_at = Moment(default=now_ms)
    cloned_at = Moment(null=True)

    class Meta:
        table_name = "project_repositories"

    @classmethod
    def of(cls, project_id: str) -> Self | None:
        """The repository of a project, None when it has none."""
        text = "SELECT * FROM project_repositories WHERE project_id = %s"
        return next(iter(cls.read(text, project_id)), None)


def overdue() -> list[str]:
    """The projects whose repositories nobody has looked at although that was asked for."""
    late = (Repository.state == QUEUED) & (Repository.updated_at < now_ms() - OVERDUE_MS)
    rows: Any = Repository.select(Repository.project).where(late).limit(100).tuples()
    return [project_id for (project_id,) in rows]


def normalised(told: str | None, name: str = "repository") -> str | None:
    """The address as it is stored, None for none; Invalid for what leads nowhere we go."""
    text = (told or "").strip()
    if not text:
        return None
    if SHORT.fullmatch(text):
        text = f"https://{text}"
    if len(text) > LONGEST or not (SCP.fullmatch(text) or _is_http(text)):
        fault = {"loc": ["body", name], "msg": FAULT, "type": "invalid"}
        raise Invalid(f"{name}: {FAULT}", errors=[fault])
    return text if text.endswith(".git") else f"{text.rstrip('/')}.git"


def address(repository: str) -> str:
    """Where git fetches from: always over HTTP(S), which needs no key on this machine."""
    found = SCP.fullmatch(repository)
    return f"https://{found['host']}/{found['path'].lstrip('/')}" if found else repository


def _is_http(text: str) -> bool:
    if re.search(r"[\s\\\x00-\x1f]", text):
        return False
    try:
        parts = urlsplit(text)
        named = bool(parts.hostname) and bool(parts.path.strip("/")) and (parts.port or 1) > 0
    except ValueError:
        return False
    plain = not (parts.username or parts.password or parts.query or parts.fragment)
    return parts.scheme in {"http", "https"} and named and plain
