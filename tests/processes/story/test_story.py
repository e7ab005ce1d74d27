"""From a conversation to a finished board, over HTTP, with real processes; and while they die."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.processes.product import Product, product, until
from tests.processes.story.team import CHANGED, DELIVER, MODEL, TASKS, TOKENS, Team
from tests.servers.git import Hub, branches, hub
from tests.workers.workspaces.test_origins import git

WOKEN = ("yukihiro", "chieko", "stas")
CHAIN = ("stas", "jim", "eric", "finn", "done")
EVERY, ROUNDS = 3.0, 40  # seconds between two rounds of an agent, and how many there are
KILL_SECONDS = 5.0


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Hub]:
    """A host of git repositories that has one."""
    source, hosted = tmp_path / "source", tmp_path / "hosted"
    source.mkdir()
    git(source, "init", "-q", "-b", "main")
    (source / "README.md").write_text("# Todo\n")
    git(source, "add", "-A")
    git(source, "commit", "-qm", "The first line of the project")
    git(source, "clone", "-q", "--bare", str(source), str(hosted / "todo.git"))
    with hub(hosted) as host:
        yield host


@pytest.fixture
def running(tmp_path: Path, remote: Hub) -> Iterator[Product]:
    """The product, whose agents all have the team's model."""
    with Team() as model:
        environment = {
            "OPENAI_BASE_URL": f"{model.url}/v1",
            "OPENAI_API_KEY": "sk-team",
            "DEFAULT_MODEL": MODEL,
            "ALLOW_PRIVATE_NETWORKS": "true",
        }
        with product(tmp_path, **environment) as started:
            yield started


@pytest.mark.timeout(300)
def test_a_team_builds_what_a_person_has_told_it(running: Product, remote: Hub) -> None:
    tell_the_story(Insisting(running), remote)


@pytest.mark.timeout(480)
def test_the_story_ends_the_same_while_workers_die(running: Product, remote: Hub) -> None:
    with dying(running) as deaths:
        tell_the_story(Insisting(running), remote)
    assert deaths, "nobody died"


class Insisting:
    """A client that asks again, with the same key, until it is answered."""

    def __init__(self, running: Product) -> None:
        self.running = running

    def get(self, path: str, **params: Any) -> Any:
        return self.running.get(path, **params)

    def send(self, method: str, path: str, **body: Any) -> Any:
        answer = self.running.client.request(method, f"/v1{path}", json=body)
        assert answer.status_code < 300, f"{method} {path}: {answer.text}"
        return answer.json()

    def post(self, path: str, **body: Any) -> Any:
        return self.send("POST", path, **body)


def tell_the_story(client: Insisting, remote: Hub) -> None:
    client.send("PUT", "/pipelines/deliver", yaml_content=DELIVER)
    project = talk_it_over(client, f"{remote.url}/todo.git")
    board = planned(client, project)
    assert len(board) == TASKS
    routines = wake(client, project)
    until(lambda: stages(client, project).keys() == {"done"}, seconds=240, every=0.5)

    leaves = [task for task in tasks(client, project) if "." in task["title"]]
    runs = [run for task in leaves for run in history(client, project, task)]
    assert len(runs) == len(leaves), "every task was worked on once"
    assert {run["status"] for run in runs} == {"completed"}
    assert {task["assigned_agent"] for task in leaves} <= set(WOKEN)
    assert reviewed(client, project, leaves) == Counter(leaves_of=len(leaves), again=1)
    until(lambda: pushed(remote, leaves), seconds=60, every=0.5)
    for path in routines:
        client.send("DELETE", path)
    until(lambda: client.get("/lifecycle/sessions")["sessions"] == [], seconds=60)
    assert_usage_adds_up(client)


def talk_it_over(client: Insisting, repository: str) -> str:
    """The onboarding: one agent after the other; gives the project's id."""
    session = client.post("/onboarding/sessions", model=MODEL)
    known = {"project_name": "Todo", "goal": "Nobody forgets the milk", "repo": repository}
    answered(client, session["id"])
    say(client, session["id"], f"Please know that {json.dumps(known)}")
    for agent in CHAIN[1:]:
        say(client, session["id"], f"Now hand on to {agent}")
        until(lambda agent=agent: came_to(client, session["id"], agent), seconds=60)
    ended = client.get(f"/onboarding/sessions/{session['id']}")
    assert (ended["status"], ended["phase"]) == ("completed", "done")
    project = client.get(f"/projects/{ended['project_id']}")
    assert (project["name"], project["repository"]) == ("Todo", repository)
    assert "Nobody forgets the milk" in project["vision"]
    return str(project["id"])


def say(client: Insisting, session_id: str, text: str) -> None:
    client.post(f"/onboarding/sessions/{session_id}/message", message=text)
    answered(client, session_id)


def answered(client: Insisting, session_id: str) -> None:
    """Wait until the agents have said all that they had to say."""

    def all_said() -> bool:
        messages = client.get(f"/onboarding/sessions/{session_id}")["messages"]
        return all(each["status"] in (None, "completed") for each in messages)

    until(all_said, seconds=60)


def came_to(client: Insisting, session_id: str, agent: str) -> bool:
    session = client.get(f"/onboarding/sessions/{session_id}")
    return agent in (session["current_agent_id"], session["phase"])


def planned(client: Insisting, project: str) -> list[dict[str, Any]]:
    """The board, once the planning run has put its tasks there."""
    until(lambda: len(tasks(client, project)) >= TASKS, seconds=90, every=0.3)
    graph = client.get(f"/projects/{project}/dependency-graph")
    assert len(graph["edges"]) >= 8
    return tasks(client, project)


def wake(client: Insisting, project: str) -> list[str]:
    """Give three agents a routine each, which comes up every few seconds; where they are."""
    now, made = datetime.now(UTC), []
    for place, agent in enumerate(WOKEN):
        assigned = {each["agent_id"] for each in client.get(f"/projects/{project}/agents")}
        if agent not in assigned:
            client.post(f"/projects/{project}/agents", agentId=agent)
        moments = [now + timedelta(seconds=2 + place + EVERY * number) for number in range(ROUNDS)]
        routine = client.post(
            f"/pulse-routines/{agent}",
            name="Round",
            instructions="Take what is ready and have it done.",
            intervalMinutes=1440,
            oneOffs=[moment.isoformat() for moment in moments],
            planningModel=MODEL,
        )
        made.append(f"/pulse-routines/{agent}/{routine['id']}")
    return made


def tasks(client: Insisting, project: str) -> list[dict[str, Any]]:
    return list(client.get(f"/projects/{project}/tasks"))


def stages(client: Insisting, project: str) -> Counter[str]:
    return Counter(task["status"] for task in tasks(client, project))


def history(client: Insisting, project: str, task: dict[str, Any]) -> list[dict[str, Any]]:
    return list(client.get(f"/projects/{project}/tasks/{task['id']}")["run_history"])


def reviewed(client: Insisting, project: str, leaves: list[dict[str, Any]]) -> Counter[str]:
    """How often a task was reviewed, and which of them again."""
    found: Counter[str] = Counter()
    for task in leaves:
        (run,) = history(client, project, task)
        visits = [
            step
            for step in client.get(f"/runs/{run['run_id']}/logs", limit=5000)
            if step["type"] == "step_complete" and step["stepId"] == "REVIEW"
        ]
        found["leaves_of"] += 1
        found["again"] += len(visits) - 1
        assert len(visits) == (2 if task["title"] == CHANGED else 1), task["title"]
    return found


def pushed(remote: Hub, leaves: list[dict[str, Any]]) -> bool:
    """Whether each task's branch is where others see it."""
    there = branches(remote.root / "todo.git")
    return all(task["metadata"]["git_branch"] in there for task in leaves)


def assert_usage_adds_up(client: Insisting) -> None:
    """What the usage says is the sum of the calls, to the token and to the cent."""
    summary = client.get("/usage")["summary"]
    calls = client.get("/llm-calls/summary")["summary"]
    assert summary["totalLlmCalls"] == calls["callCount"] > TASKS
    assert summary["totalTokens"] == calls["totalTokens"] == calls["callCount"] * sum(TOKENS)
    assert summary["totalCost"] == pytest.approx(calls["totalCost"], abs=1e-6) != 0
    for by in ("provider", "model", "agent", "project"):
        buckets = client.get("/usage/history", group_by=by)["buckets"]
        assert sum(each["totalTokens"] for each in buckets) == summary["totalTokens"], by
        cost = sum(each["totalCost"] for each in buckets)
        assert cost == pytest.approx(summary["totalCost"], abs=1e-6), by


@contextmanager
def dying(running: Product) -> Iterator[list[str]]:
    """Kill a worker every few seconds while the block lasts; another one takes its place."""
    deaths: list[str] = []
    over = threading.Event()
    dice = random.Random(5)

    def reap() -> None:
        while not over.wait(KILL_SECONDS):
            name = dice.choice(["short", "agents"])
            running.kill(name)
            running.start(name)
            deaths.append(name)

    reaper = threading.Thread(target=reap)
    reaper.start()
    try:
        yield deaths
    finally:
        over.set()
        reaper.join()
