"""Loading a library: from a folder into rows, whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from models import shelf, skill_texts, skills
from models.agents import Agent
from models.errors import Invalid
from models.pipelines import Pipeline
from models.skills import AgentSkill, Skill
from tasks import agents as commands
from tests import library

IDENTITY = "# Mara\n\n- **Name:** Mara\n- **Emoji:** 🦊\n- **Role:** Translator\n"
PIPELINE = """
id: translate
name: Translate
agents: [{id: mara, name: Mara}]
steps: [{id: DO, agent: mara, input: "{{task_description}}", outputs: [text]}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "agents" / "mara").mkdir(parents=True)
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "agents" / "mara" / "IDENTITY.md").write_text(IDENTITY)
    (tmp_path / "agents" / "mara" / "config.yml").write_text("max_concurrent_steps: 3\n")
    (tmp_path / "pipelines" / "translate.yml").write_text(PIPELINE)
    return tmp_path


def test_what_ships_is_there_after_migration(database: str) -> None:
    assert Pipeline.select().where(Pipeline.version_id.is_null()).count() == 0
    assert Pipeline.select().count() == 8
    assert Agent.select().count() == 11


def test_an_operators_agents_and_pipelines_become_rows(database: str, folder: Path) -> None:
    assert shelf.load(folder) == ["agent mara", "pipeline translate"]
    mara = Agent.get_by_id("mara")
    assert (mara.name, mara.emoji, mara.role, mara.concurrent_steps) == (
        "Mara",
        "🦊",
        "Translator",
        3,
    )
    assert Pipeline.get_by_id("translate").valid
    assert Pipeline.get_by_id("translate").warnings == []


def test_one_bad_file_loads_nothing_and_is_named(database: str, folder: Path) -> None:
    (folder / "pipelines" / "zzz.yml").write_text("id: zzz\nname: Z\nagents: []\nsteps: 5\n")
    with pytest.raises(Invalid, match=r"zzz\.yml: line 3, agents"):
        shelf.load(folder)
    assert Agent.get_or_none(Agent.id == "mara") is None


@pytest.mark.parametrize(
    "config", ["max_concurrent_steps: many", "model: [a]", "- a list", "a: [unclosed"]
)
def test_a_config_that_makes_no_sense_is_refused_by_its_file(
    database: str, folder: Path, config: str
) -> None:
    (folder / "agents" / "mara" / "config.yml").write_text(config)
    with pytest.raises(Invalid, match=r"config\.yml"):
        shelf.load(folder)


def test_an_agent_without_an_identity_is_refused(database: str, folder: Path) -> None:
    (folder / "agents" / "mara" / "IDENTITY.md").unlink()
    with pytest.raises(Invalid, match="no IDENTITY"):
        shelf.load(folder)


def test_what_a_person_changed_survives_the_next_migration(database: str) -> None:
    commands.configure("finn", {"model": "openai/gpt-5.1"})
    commands.write_file("eric", "SOUL.md", "Be kind.")
    told = shelf.load_shipped()
    assert "agent finn (kept as changed here)" in told
    assert Agent.get_by_id("finn").model == "openai/gpt-5.1"
    assert Agent.get_by_id("eric").files["SOUL.md"] == "Be kind."


def test_loading_twice_is_loading_once(database: str, folder: Path) -> None:
    shelf.load(folder)
    before = Pipeline.get_by_id("translate").version_id
    shutil.copy(folder / "pipelines" / "translate.yml", folder / "pipelines" / "again.yml")
    shelf.load(folder)
    assert Pipeline.get_by_id("translate").version_id == before


SKILL = "---\nname: knit\ndescription: When it is cold\ntags: [wool]\n---\nKnit.\n"


def put_skill(folder: Path, text: str = SKILL) -> Path:
    path = folder / "skills" / "knit"
    (path / "patterns").mkdir(parents=True, exist_ok=True)
    (path / "SKILL.md").write_text(text)
    (path / "patterns" / "scarf.md").write_text("- a scarf\n")
    return path


def test_the_skills_that_ship_are_there_and_given(database: str) -> None:
    rows = list(Skill.select())
    assert sorted(skill.id for skill in rows) == library.SKILLS
    assert all(skill.shipped and skill.approved == 1 and skill.enabled for skill in rows)
    for agent_id, given in library.GRANTS.items():
        assert [skill["id"] for skill in skills.manifest(agent_id)] == sorted(given)
    for skill in rows:
        version = skills.version(skill.id, 1)
        assert 40 <= version.content.count("\n") <= 80
        assert skill_texts.LONGEST_DESCRIPTION > len(version.description) > 20


def test_an_operators_skills_become_rows_with_their_files(database: str, folder: Path) -> None:
    put_skill(folder)
    assert "skill knit" in shelf.load(folder)
    knit = Skill.get_by_id("knit")
    assert (knit.state, knit.approved, knit.shipped) == ("approved", 1, False)
    version = skills.version("knit", 1)
    assert (version.content, version.tags) == ("Knit.", ["wool"])
    assert skills.texts(version) == {"patterns/scarf.md": "- a scarf\n"}
    shelf.load(folder)
    assert Skill.get_by_id("knit").version == 1
    put_skill(folder, SKILL.replace("Knit.", "Knit well."))
    knit.put(enabled=False)
    shelf.load(folder)
    knit = Skill.get_by_id("knit")
    assert (knit.version, knit.approved, knit.enabled) == (2, 2, False)


def test_a_release_renews_what_nobody_changed_and_takes_no_grant_back(
    database: str, folder: Path
) -> None:
    path = put_skill(folder)
    (path.parent / "grants.yml").write_text("finn: [knit]\nnobody: [knit]\n")
    assert shelf.load_skills(path.parent, shipped=True) == ["skill knit"]
    (grant,) = AgentSkill.select().where(AgentSkill.skill == "knit")
    assert grant.agent_id == "finn"
    grant.delete_instance()
    put_skill(folder, SKILL.replace("Knit.", "Knit well."))
    shelf.load_skills(path.parent, shipped=True)
    assert (Skill.get_by_id("knit").version, Skill.get_by_id("knit").shipped) == (2, True)
    assert not AgentSkill.select().where(AgentSkill.skill == "knit").exists()


def test_a_skill_that_is_none_is_named(database: str, folder: Path) -> None:
    put_skill(folder, SKILL.replace("name: knit", "name: sew"))
    with pytest.raises(Invalid, match=r"knit/SKILL\.md: name must be that of the folder"):
        shelf.load(folder)
    assert Skill.find("sew") is None
