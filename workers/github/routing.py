"""Whom an event calls: the agents assigned to it, and those mentioned in it. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache

from models.assignments import Assignment
from workers.github.facts import Facts

REVIEWER = "finn"  # looks at pull requests of a project that he is assigned to
MENTION = re.compile(r"(?<![\w@/.`-])@([A-Za-z0-9][A-Za-z0-9_-]{0,127})(?![\w@/-])", re.A)
QUOTED = re.compile(r"^\s{0,3}>.*$", re.M)  # what somebody else has said before
CODE = re.compile(r"^(```|~~~).*?(?:^\1|\Z)|`[^`\n]*`", re.M | re.S)


@dataclass(frozen=True)
class Call:
    """An agent is called; `at_once` when it is to go to work, else for the team to see."""

    agent_id: str
    assignment_id: str | None
    at_once: bool = True
    routine_id: str | None = None  # it goes to work in a session of this one


def calls(
    facts: Facts, assigned: Sequence[Assignment], agents: Collection[str], ourselves: str
) -> list[Call]:
    """Whom an event calls in one project, each agent once.

    `assigned` are the project's assignments to this kind of event, `agents` all that may be
    mentioned, `ourselves` the name under which our own agents act on GitHub: what they do there
    calls nobody, or two of them would call each other for ever.
    """
    if facts.author.lower() == ourselves.lower():
        return []
    found: dict[str, Call] = {}
    for row in sorted(assigned, key=lambda row: not row.auto_respond):
        if matches(row, facts):
            call = Call(row.agent_id, row.id, row.auto_respond, row.routine_id)
            found.setdefault(row.agent_id, call)
    if facts.trusted and not facts.by_bot:
        for agent in mentioned(facts.said, agents):
            if agent not in found or not found[agent].at_once:
                found[agent] = Call(agent, None)
    return list(found.values())


def matches(row: Assignment, facts: Facts) -> bool:
    """Whether an event is one that an agent is assigned to, and passes every filter that is set."""
    if row.event_type != facts.kind or row.event_action not in (None, facts.action):
        return False
    return (
        _any_label(row.filter_labels, facts.labels)
        and _any_path(row.filter_file_patterns, facts.paths or ())
        and by_author(row.filter_authors, facts.author)
    )


def needs_paths(assigned: Iterable[Assignment], facts: Facts) -> bool:
    """Whether deciding needs the files of a pull request, which the event does not tell."""
    asked = facts.kind == "pull_request" and facts.paths is None and facts.number is not None
    return asked and any(row.filter_file_patterns for row in assigned)


def mentioned(text: str, agents: Collection[str]) -> list[str]:
    """The agents that a text speaks to, in order; not those in code or in what it quotes."""
    known = {agent.lower(): agent for agent in agents}
    spoken = QUOTED.sub("", CODE.sub(" ", text))
    names = (name.lower() for name in MENTION.findall(spoken))
    return list(dict.fromkeys(known[name] for name in names if name in known))


def by_author(wanted: Sequence[str] | None, author: str) -> bool:
    """`!name` keeps somebody out; where others are named, it has to be one of them."""
    author = author.lower()
    names = [name.strip().lower() for name in wanted or ()]
    chosen = [name for name in names if not name.startswith("!")]
    return f"!{author}" not in names and (not chosen or author in chosen)


def path_matches(pattern: str, path: str) -> bool:
    """Shell patterns level by level: `*` stays in its level, `**` stands for any number of them.

    A pattern without a slash fits a file's name wherever it lies.
    """
    levels, names = pattern.strip("/").split("/"), path.strip("/").split("/")
    if len(levels) == 1:
        levels = ["**", *levels]

    @cache
    def fits(level: int, name: int) -> bool:
        if level == len(levels):
            return name == len(names)
        if levels[level] == "**":
            return fits(level + 1, name) or (name < len(names) and fits(level, name + 1))
        here = name < len(names) and fnmatchcase(names[name], levels[level])
        return here and fits(level + 1, name + 1)

    return fits(0, 0)


def _any_label(wanted: Sequence[str] | None, labels: Collection[str]) -> bool:
    return not wanted or any(label.strip().lower() in labels for label in wanted)


def _any_path(patterns: Sequence[str] | None, paths: Sequence[str]) -> bool:
    return not patterns or any(
        path_matches(pattern, path) for path in paths for pattern in patterns
    )
