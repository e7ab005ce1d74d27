"""Running and repeating pipelines in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from models import config, replays
from models.ledger import Entry
from models.llm_calls import LlmCall
from models.pipelines import Pipeline
from models.runs import Run
from tasks import runs as commands
from tasks.replays import replay
from tests.processes.product import scripted
from tests.workers.jobs.repeating import ANNA, of

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
