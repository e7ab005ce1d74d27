"""Learning a way of working when it is needed, writing a new one down, keeping one found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from models import skill_sources, skill_texts, skills
from models.agents import Agent
from models.errors import Invalid
from models.insisting import insist
from models.outbound import LONGEST_URL
from models.skill_texts import LARGEST, LONGEST_DESCRIPTION, LONGEST_TAG, MOST_TAGS, Sketch
from tasks import skills as commands
from workers.agents.mandate import Mandate
from workers.agents.tools.base import (
    OUTPUT_CHARS,
    Bench,
    Tool,
    ToolError,
    bounded,
    described,
    number,
    text,
)
from workers.halting import Halt

ELSEWHERE = "skills cannot be had here"


def load_skill(bench: Bench, arguments: dict[str, Any], halt: Halt) -> str:
    """The skill from a line on, or one of its files."""
    agent_id, name = _mandate(bench).step.agent_id, arguments["name"].strip()
    return insist(lambda: _read(agent_id, name, arguments["file"], arguments["from_line"]))


def create_skill(bench: Bench, arguments: dict[str, Any], halt: Halt) -> str:
    """Propose a skill, once."""
    mandate = _mandate(bench)
    agent_id, act = mandate.step.agent_id, mandate.act
    skill = mandate.do(lambda run: commands.propose(run, agent_id, act, arguments))
    return f"Skill {skill.id} is written down. It can be loaded once an admin has approved it."


def fetch_skill_from_web(bench: Bench, arguments: dict[str, Any], halt: Halt) -> str:
    """Propose a skill that somebody else has published, once."""
    mandate, url = _mandate(bench), arguments["url"].strip()
    if bench.blotted(url) != url:
        raise ToolError("an address goes to somebody else, so it must not hold a secret")
    agent_id, act = mandate.step.agent_id, mandate.act
    skill = insist(lambda: commands.proposed(act))
    if skill is None:
        sketch, files = _published(agent_id, url)
        halt.check()
        form = asdict(sketch) | {"content": f"{sketch.content}\n\n[Found at {url}]"}
        skill = mandate.do(lambda run: commands.propose(run, agent_id, act, form, files))
    return f"Skill {skill.id} is kept. It can be loaded once an admin has looked at it."


def _published(agent_id: str, url: str) -> tuple[Sketch, Mapping[str, str]]:
    """The skill at an address, with its files.

    From everywhere only for agents with a network: of what is asked on GitHub nobody else hears.
    """
    try:
        skill_sources.placed(url)
    except Invalid:
        agent = insist(lambda: Agent.find(agent_id))
        if agent is None or not agent.config.get("network"):
            raise ToolError("without a network of yours, only addresses on GitHub can be") from None
        page = skill_sources.fetched(url)
        return _fit(skill_texts.extract(page) or skill_texts.parse(page)), {}
    _, found = skill_sources.repository(url)
    if len(found) > 1:
        paths = ", ".join(each.path for each in found)
        raise ToolError(bounded(f"there are several skills, name one by its address: {paths}"))
    return _fit(skill_texts.parse(found[0].text)), found[0].files


def _fit(sketch: Sketch) -> Sketch:
    if sketch.error is not None:
        raise ToolError(f"what is there is no skill: {sketch.error}")
    return sketch


def _mandate(bench: Bench) -> Mandate:
    if bench.mandate is None:
        raise ToolError(ELSEWHERE)
    return bench.mandate


def _read(agent_id: str, name: str, path: str, line: int) -> str:
    found = skills.readable(agent_id, name)
    if path:
        return _from(line, skills.file(found, path))
    names = ", ".join(sorted(found.files))
    files = f"\n\nIts files, which `load_skill` reads too: {names}" if names else ""
    return _from(line, f"# {found.skill_id}: {found.description}\n\n{found.content}{files}")


def _from(line: int, whole: str) -> str:
    """As many whole lines as an answer holds, and where they go on."""
    lines = whole.split("\n")
    shown: list[str] = []
    room = OUTPUT_CHARS
    for place, each in enumerate(lines[line - 1 :], line):
        room -= len(each) + 1
        if room < 0 and shown:
            return "\n".join([*shown, f"[goes on: from_line={place} of {len(lines)}]"])
        shown.append(bounded(each))
    return "\n".join(shown) or f"[it has {len(lines)} lines]"


TOOLS = (
    Tool(
        described(
            "load_skill",
            "Read one of your skills, which your instructions list by name, before you begin with"
            " what it is about. Files that it names are read with the same tool.",
            name=text("The skill"),
            file=text("One of its files; empty for the skill itself", default=""),
            from_line=number("The first line to read", 1),
        ),
        load_skill,
    ),
    Tool(
        described(
            "create_skill",
            "Write down a way of working that proved itself and will be needed again, for yourself"
            " and others. A person looks at it before anybody can load it. No secrets, nothing that"
            " is true of this task alone.",
            name=text("Small letters, digits and dashes", pattern="^[a-z0-9][a-z0-9-]{0,39}$"),
            description=text(
                "When to load it, in one line", minLength=1, maxLength=LONGEST_DESCRIPTION
            ),
            content=text("What to do, as Markdown", minLength=1, maxLength=LARGEST),
            tags={
                "type": "array",
                "items": {"type": "string", "minLength": 1, "maxLength": LONGEST_TAG},
                "maxItems": MOST_TAGS,
                "description": "A few words to find it by",
                "default": [],
            },
        ),
        create_skill,
        effect="rows",
    ),
    Tool(
        described(
            "fetch_skill_from_web",
            "Keep a skill that somebody has published: the address of a SKILL.md, or of its folder"
            " on GitHub. A person looks at it before anybody can load it.",
            url=text("The address", minLength=1, maxLength=LONGEST_URL),
        ),
        fetch_skill_from_web,
        effect="rows",
    ),
)
