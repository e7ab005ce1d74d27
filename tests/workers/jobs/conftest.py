"""Running and repeating pipelines in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import config, replays
from models.github import Connection
from models.ledger import Entry
from models.llm_calls import LlmCall
from models.pipelines import Pipeline
from models.runs import Run
from tasks import runs as commands
from tasks.replays import replay
from tests.conftest import PROJECT
from tests.processes.product import scripted
from tests.servers.github import Github, signed
from tests.workers.jobs.hosting import Hosted, hosted
from tests.workers.jobs.repeating import ANNA, of
from tests.workers.jobs.telling import Deliver, connection

Work = Callable[..., int]


@pytest.fixture
def start(database: str, work: Work) -> Callable[..., Run]:
    """Runs a pipeline to its end."""

    def begin(pipeline: str = "bugfix", **plays: Any) -> Run:
        form = {"task": scripted("Mend the login", **plays), "model_override": "scripted/demo"}
        run = commands.start(ANNA, Pipeline.get_by_id(pipeline), form)
        work()
        return of(run)

    return begin


@pytest.fixture
def replayed(work: Work) -> Callable[..., Run]:
    """Replays a run to its end; nothing outside is touched on the way."""

    def repeat(source: Run, definition: str = replays.CURRENT) -> Run:
        calls, entries = LlmCall.select().count(), Entry.select().count()
        run = replay(ANNA, of(source), {"definition": definition})
        work()
        assert (LlmCall.select().count(), Entry.select().count()) == (calls, entries)
        assert not (config.settings().data / "workspaces" / run.id).exists()
        return of(run)

    return repeat


@pytest.fixture
def deliver(github: Github, nobody: FlaskClient) -> Deliver:
    """Delivers an event; gives the id under which it is kept."""

    def post(kind: str, payload: Any, guid: str = "d-1") -> str:
        body = json.dumps(payload).encode()
        headers = {"X-GitHub-Event": kind, "X-GitHub-Delivery": guid} | signed(body)
        answer = nobody.post("/v1/github/webhooks", data=body, headers=headers)
        assert answer.status_code == 200, answer.json
        return answer.json["event_id"]

    return post


@pytest.fixture
def connected(github: Github, database: str) -> Connection:
    """The shared project's repository."""
    return connection(PROJECT)


@pytest.fixture
def neighbours(monkeypatch: pytest.MonkeyPatch, github: Github) -> Iterator[None]:
    monkeypatch.setenv("ALLOW_PRIVATE_NETWORKS", "true")
    config.settings.cache_clear()
    yield
    monkeypatch.undo()
    config.settings.cache_clear()


@pytest.fixture
def todo(
    owner: FlaskClient,
    github: Github,
    tmp_path: Path,
    work: Callable[..., int],
    neighbours: None,
) -> Hosted:
    return hosted(owner, github, tmp_path, work)
