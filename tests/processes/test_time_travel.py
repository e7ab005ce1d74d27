"""Forks and replays on the whole product, the provider counting what it is asked."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.processes.agents_at_work import call
from tests.processes.product import DJINN, Product, frames, product
from tests.servers.author import Author
from tests.servers.provider import Answer

pytestmark = pytest.mark.slow
MODEL = "openai/gpt-5.2"
PIPELINE = """
id: travelled
name: travelled
agents: [{id: yukihiro, name: Yukihiro}]
steps:
  - {id: ONE, agent: yukihiro, input: "First: {{task_description}}", outputs: [n], onComplete: TWO}
  - {id: TWO, agent: yukihiro, input: "Then: {{n}}", outputs: [n], onComplete: SIX}
  - {id: SIX, agent: yukihiro, input: "At last: {{n}}", outputs: [n]}
"""
LINES = (
    Answer(text=("I write.",), calls=(call("bash", command="date +%N >> times.txt"),)),
    Answer(calls=(call("complete", outputs={"n": "42"}, summary="It is done"),)),
)


@pytest.fixture(scope="module")
def author() -> Iterator[Author]:
    with Author(*LINES) as server:
        yield server


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, author: Author) -> Iterator[Product]:
    """The product, whose agents ask the author."""
    folder = tmp_path_factory.mktemp("travel")
    asks = {"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": f"{author.url}/v1"}
    with product(folder, **asks) as started:
        put(started, PIPELINE)
        yield started


def put(running: Product, text: str) -> None:
    body = {"yaml_content": text}
    running.client.put("/v1/pipelines/travelled", json=body).raise_for_status()


def done(running: Product) -> dict[str, Any]:
    """A run that is completed."""
    run = running.ended(running.run("travelled", "x", model_override=MODEL))
    assert (run["status"], run["error"]) == ("completed", None)
    return run


def djinn(running: Product, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [DJINN, *words, "--url", running.url]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def test_a_fork_asks_only_for_what_it_does_itself(running: Product, author: Author) -> None:
    source = done(running)
    asked = len(author.requests)
    fork = running.post(f"/runs/{source['id']}/fork", from_step="TWO")
    ended = running.ended(fork["id"])
    assert (ended["status"], ended["origin_id"]) == ("completed", source["id"])
    assert len(author.requests) - asked == 4
    told = [event for event in running.events(fork["id"]) if event["type"] == "llm_call"]
    assert [event["stepId"] for event in told] == ["TWO", "TWO", "SIX", "SIX"]
    typed = djinn(running, "fork", source["id"], "--from", "SIX")
    assert typed.returncode == 0, typed.stderr
    assert "ONE completed (shared)" in typed.stdout
    assert len(author.requests) - asked == 6


def test_a_replay_asks_nobody_and_streams_like_any_run(running: Product, author: Author) -> None:
    source = done(running)
    asked = len(author.requests)
    replay = running.post(f"/runs/{source['id']}/replay")
    ended = running.ended(replay["id"])
    assert (ended["status"], ended["kind"]) == ("completed", "replay")
    for name in ("outputs", "workspace_commit"):
        assert ended[name] == source[name]
    assert running.get("/llm-calls", run_id=replay["id"])["calls"] == []
    assert len(author.requests) == asked
    with running.client.stream("GET", f"/v1/events/stream/{replay['id']}") as answer:
        heard = kinds(answer)
    assert heard == [event["type"] for event in running.events(replay["id"])]
    assert heard[-1] == "run_complete"
    told = djinn(running, "replay", source["id"], "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout.splitlines()[-1])["type"] == "run_complete"
    assert len(author.requests) == asked


def kinds(answer: httpx.Response) -> list[str]:
    """The kinds of a run's durable events, up to its end."""
    heard: list[str] = []
    for _, event in frames(answer.iter_lines()):
        heard.append(event["legacyType"])
        if heard[-1] in ("run_complete", "run_failed"):
            break
    return heard


def test_a_replay_names_what_a_changed_pipeline_makes_different(
    running: Product, author: Author, tmp_path: Path
) -> None:
    source = done(running)
    asked = len(author.requests)
    put(running, PIPELINE.replace("At last", "Finally"))
    told = djinn(running, "replay", source["id"])
    assert told.returncode == 1
    assert "step SIX: the task message differs in line" in told.stdout
    assert 'on record "At last: 42", now "Finally: 42"' in told.stdout.replace("\n", " ")
    assert djinn(running, "replay", source["id"], "--pinned").returncode == 0
    put(running, PIPELINE)
    assert len(author.requests) == asked
