"""Skills as an agent meets them: named in its prompt, read when needed, proposed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import config, runs
from models.agents import Agent
from models.base import db
from models.events import Event
from models.ledger import Entry
from models.pipelines import Pipeline
from models.principals import Principal
from models.runs import Run
from models.skills import AgentSkill, Skill
from models.steps import Step
from tasks import executors, occasions, replays
from tasks import runs as commands
from tests.beginning import begun
from tests.library import GRANTS
from tests.processes.product import scripted
from tests.servers.offering import Offering
from tests.web.test_skill_imports import Hub, skill
from tests.workers.jobs.dying import Killed, claimed, expire
from workers.agents.mandate import Mandate
from workers.agents.playback import Shut
from workers.agents.tools.base import Bench, ToolError
from workers.agents.tools.skills import fetch_skill_from_web
from workers.agents.tools.tree import Tree
from workers.halting import Halt

OWNER = Principal("usr_owner", "user")
AGENT = "yukihiro"
ONE = """
id: one
name: one
agents: [{id: yukihiro, name: Yukihiro}]
steps:
  - {id: DO, agent: yukihiro, input: "Do it", outputs: [answer], maxRetries: 0}
"""
Work = Callable[..., int]


def load(name: str, **more: Any) -> dict[str, Any]:
    return {"name": "load_skill", "arguments": {"name": name, **more}}


def create(name: str = "rain-dance", **more: Any) -> dict[str, Any]:
    form = {"name": name, "description": "When it rains", "content": "Dance.", **more}
    return {"name": "create_skill", "arguments": form}


@pytest.fixture
def ask(admin: FlaskClient) -> Callable[..., Run]:
    """Asks for a run in which the agent makes these calls."""

    def begin(*calls: dict[str, Any], pipeline: str = ONE) -> Run:
        admin.put("/v1/pipelines/one", json={"yaml_content": pipeline})
        form = {"task": scripted("Do it", DO=[{"calls": list(calls)}])}
        form["model_override"] = "scripted/demo"
        return commands.start(OWNER, Pipeline.get_by_id("one"), form)

    return begin


def results(run: Run) -> list[tuple[str, bool]]:
    ended = (Event.run_id == run.id) & (Event.type == "tool_call_end")
    told = [event.data for event in Event.select().where(ended).order_by(Event.seq)]
    return [(data["result"], data["isError"]) for data in told][:-1]  # the last is `complete`


def prompt(run: Run) -> str:
    (step,) = Step.of(Run.get_by_id(run.id))
    opening = Entry.get((Entry.execution_id == step.id) & (Entry.seq == 0))
    return str(opening.response["messages"][0]["parts"][0]["text"])


def test_an_agent_is_told_its_skills_and_reads_one(ask: Any, work: Work):
    run = ask(load("tests-first"), load("tests-first", from_line=1_000), load("plan-tasks"))
    work()
    assert Run.get_by_id(run.id).state == runs.COMPLETED
    told = prompt(run)
    assert "# SKILLS" in told
    assert all(f"- {name}: " in told for name in GRANTS[AGENT])
    assert "plan-tasks" not in told and "A test that has never failed" not in told
    (read, wrong), (beyond, _), (refused, is_error) = results(run)
    assert "A test that has never failed proves nothing" in read and not wrong
    assert beyond.startswith("[it has ")
    assert is_error and refused == "Agent yukihiro was not given the skill plan-tasks"


def test_a_long_skill_is_read_in_parts(ask: Any, work: Work, admin: FlaskClient):
    lines = "\n".join(f"{number}: " + "x" * 90 for number in range(1_000))
    form = {"name": "long", "description": "d", "content": lines, "files": {"more.md": "- M"}}
    admin.post("/v1/skills", json=form)
    admin.post(f"/v1/skills/agents/{AGENT}/long/grant")
    run = ask(load("long"), load("long", from_line=900), load("long", file="more.md"))
    work()
    (first, _), (last, _), (file, _) = results(run)
    assert first.startswith("# long: d\n\n0: ") and "[goes on: from_line=" in first
    assert len(first) < 31_000
    assert "more.md" in last and "999: " in last
    assert file == "- M"


def test_without_the_tool_a_prompt_names_no_skill(ask: Any, work: Work, admin: FlaskClient):
    run = ask(pipeline=ONE.replace("maxRetries", "tools: [read], maxRetries"))
    work()
    assert "# SKILLS" not in prompt(run)
    admin.put(f"/v1/agent-tools/{AGENT}/load_skill", json={"enabled": False})
    run = ask(load("tests-first"))
    work()
    assert "# SKILLS" not in prompt(run)
    ((refused, is_error),) = results(run)
    assert is_error and "there is no tool load_skill" in refused


def test_executors_and_agents_that_were_woken_have_their_skills_too(
    database: str, settings: Any, work: Work
):
    order = {"agent_id": AGENT, "project_id": "p", "task_id": "t", "execution_prompt": "Mend it"}
    executor = executors.spawn("usr_owner", order)
    woken = occasions.wake(Agent.get_by_id(AGENT), "Somebody asks.", "usr_owner", None)
    with db.atomic():
        woken.add()
        commands.advance.enqueue(woken.id, woken.attempt)
    work()
    for run in (executor, woken):
        assert all(f"- {name}: " in prompt(run) for name in GRANTS[AGENT]), run.kind


def test_what_an_agent_proposes_waits_for_an_admin(
    ask: Any, work: Work, owner: FlaskClient, admin: FlaskClient
):
    run = ask(create(tags=["weather"]), load("rain-dance"), create("tests-first"))
    work()
    (made, _), (early, is_error), (taken, _) = results(run)
    assert made.startswith("Skill rain-dance is written down")
    assert is_error and early == "Skill rain-dance not found"
    assert taken == "There is a skill tests-first already"
    told = owner.get("/v1/skills/rain-dance").json
    assert (told["approval_status"], told["created_by"]) == ("pending", "usr_owner")
    assert (told["scope"], told["owner_agent_id"]) == ("agent", AGENT)
    (version,) = owner.get("/v1/skills/rain-dance/versions").json
    assert version["created_by"] == f"agent:{AGENT}"
    assert AgentSkill.get_or_none(agent=AGENT, skill="rain-dance") is not None
    admin.patch("/v1/admin/skills/rain-dance/approve")
    run = ask(load("rain-dance"))
    work()
    assert "- rain-dance: When it rains" in prompt(run)
    assert results(run) == [("# rain-dance: When it rains\n\nDance.", False)]


def test_a_skill_is_proposed_once_though_a_worker_dies(ask: Any, work: Work):
    """The worker dies when the row is there and its act not sealed; the next one finds it."""
    run = ask(create())
    step = begun(run.id)

    def die(number: int, when: str) -> None:
        if Skill.get_or_none(Skill.id == "rain-dance") is not None:
            raise Killed

    with pytest.raises(Killed):
        claimed(step.id, die).work(Halt())
    (open_act,) = Entry.select().where(Entry.sealed_at.is_null())
    assert open_act.name == "create_skill"
    expire(step.id)
    work()
    ((made, is_error),) = results(run)
    assert made.startswith("Skill rain-dance is written down") and not is_error
    assert Skill.select().where(Skill.act.is_null(False)).count() == 1


def test_a_replay_reads_what_was_read_then(ask: Any, work: Work, admin: FlaskClient):
    run = ask(load("tests-first"), create())
    work()
    read = results(run)
    admin.put("/v1/skills/tests-first", json={"content": "Test last."})
    admin.delete("/v1/skills/rain-dance")
    replay = replays.replay(OWNER, Run.get_by_id(run.id), {})
    work()
    assert Run.get_by_id(replay.id).state == runs.COMPLETED
    assert results(replay) == read
    assert Skill.get_or_none(Skill.id == "rain-dance") is None


def test_a_stranger_of_a_pipelines_own_has_no_skills(ask: Any, work: Work):
    run = ask(create(), pipeline=ONE.replace("yukihiro", "nobody-we-know"))
    work()
    assert Agent.find("nobody-we-know") is None
    assert "# SKILLS" not in prompt(run)
    assert Skill.get_by_id("rain-dance").owner_agent_id == "nobody-we-know"


def fetch(url: str) -> dict[str, Any]:
    return {"name": "fetch_skill_from_web", "arguments": {"url": url}}


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Offering]:
    """A page on the loopback with a skill on it, for agents with a network."""
    with Offering() as server:
        server.body = b"---\nname: found\ndescription: When found\n---\nDo as they do."
        monkeypatch.setenv("ALLOW_PRIVATE_NETWORKS", "true")
        config.settings.cache_clear()
        Agent.update(config={"network": True}).where(Agent.id == AGENT).execute()
        yield server
    monkeypatch.undo()
    config.settings.cache_clear()


def test_a_skill_that_others_have_published_waits_for_an_admin(
    database: str, ask: Any, work: Work, page: Offering, owner: FlaskClient, admin: FlaskClient
):
    run = ask(fetch(page.url), load("found"), fetch(page.url))
    work()
    (kept, wrong), (early, _), (taken, is_error) = results(run)
    assert kept == "Skill found is kept. It can be loaded once an admin has looked at it."
    assert not wrong and "Do as they do" not in kept  # nobody has looked at it
    assert early == "Skill found not found"
    assert is_error and taken == "There is a skill found already"
    told = owner.get("/v1/skills/found").json
    assert (told["approval_status"], told["owner_agent_id"]) == ("pending", AGENT)
    assert told["content"] == f"Do as they do.\n\n[Found at {page.url}]"
    admin.patch("/v1/admin/skills/found/approve")
    run = ask(load("found"))
    work()
    assert "Do as they do." in results(run)[0][0]


def test_what_is_no_skill_is_not_kept(database: str, ask: Any, work: Work, page: Offering):
    page.body = b"<html>Skills!</html>"
    run = ask(fetch(page.url))
    work()
    ((why, is_error),) = results(run)
    assert is_error and why.startswith("what is there is no skill: ")
    assert Skill.get_or_none(Skill.act.is_null(False)) is None


def test_nobody_is_asked_within_our_own_network_nor_for_agents_without_one(
    database: str, ask: Any, work: Work, page: Offering, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("ALLOW_PRIVATE_NETWORKS")
    config.settings.cache_clear()
    run = ask(fetch(page.url), fetch("http://169.254.169.254/latest"), fetch("file:///etc/passwd"))
    work()
    assert [is_error for _, is_error in results(run)] == [True] * 3
    Agent.update(config={}).where(Agent.id == AGENT).execute()
    run = ask(fetch("https://example.org/SKILL.md"))
    work()
    assert results(run) == [("without a network of yours, only addresses on GitHub can be", True)]
    assert page.asked == []
    assert Skill.get_or_none(Skill.act.is_null(False)) is None


def test_a_skill_is_fetched_once_though_a_worker_dies(
    database: str, ask: Any, work: Work, page: Offering
):
    run = ask(fetch(page.url))
    step = begun(run.id)

    def die(number: int, when: str) -> None:
        if Skill.get_or_none(Skill.id == "found") is not None:
            raise Killed

    with pytest.raises(Killed):
        claimed(step.id, die).work(Halt())
    page.body = b"gone by now"
    expire(step.id)
    work()
    ((kept, is_error),) = results(run)
    assert kept.startswith("Skill found is kept") and not is_error
    assert len(page.asked) == Skill.select().where(Skill.act.is_null(False)).count() == 1


@pytest.fixture
def hub(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub()
    with made.server as server:
        monkeypatch.setenv("GITHUB_API_URL", server.url)
        config.settings.cache_clear()
        yield made
    monkeypatch.undo()
    config.settings.cache_clear()


def test_from_github_a_skill_comes_with_its_files_and_without_a_network(
    database: str, ask: Any, work: Work, hub: Hub, admin: FlaskClient
):
    hub.files |= {"a/SKILL.md": skill("a"), "a/check.md": b"- A", "b/SKILL.md": skill("b")}
    run = ask(fetch(hub.url), fetch(f"{hub.url}/tree/main/a"))
    work()
    (several, is_error), (kept, wrong) = results(run)
    assert is_error and several.endswith("name one by its address: a/SKILL.md, b/SKILL.md")
    assert not wrong and kept.startswith("Skill a is kept")
    admin.patch("/v1/admin/skills/a/approve")
    run = ask(load("a", file="check.md"))
    work()
    assert results(run) == [("- A", False)]


def test_no_secret_goes_out_in_an_address():
    secret = "s3cret-of-the-owner"
    bench = Bench(Tree(Path()), Shut(), hidden=(secret,), mandate=Mandate(Step(agent_id=AGENT)))
    with pytest.raises(ToolError, match="must not hold a secret"):
        fetch_skill_from_web(bench, {"url": f"https://example.org/{secret}/SKILL.md"}, Halt())
