"""Skills: what agents can learn when they need it, version by version.

Agents read the version that an admin has approved, and only where they were given the skill and it
is enabled. A newer version that nobody has judged yet is seen by who wrote it and by admins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Self

from peewee import (
    SQL,
    BooleanField,
    Case,
    CharField,
    CompositeKey,
    ForeignKeyField,
    IntegerField,
)

from models.agents import Agent
from models.base import IDENTIFIER, JsonField, LongText, Model, Moment, Touched, db, now_ms
from models.errors import Forbidden, Malformed, NotFound, Unavailable
from models.lifecycle import StateField, Stateful
from models.principals import Principal
from models.skill_texts import LONGEST_ID, Sketch, path_fault

PENDING, APPROVED, REJECTED = "pending", "approved", "rejected"
GLOBAL, AGENT = "global", "agent"
MOST = 500  # skills of one person
MOST_VERSIONS = 1_000  # of one skill
MOST_GIVEN = 50  # skills of one agent
LIBRARY = "library"  # whose skills are that came with a library
TOLD = ("description", "tags", "content")  # what a version says
SHORT = 240  # characters of a description in a prompt
LOADING = """Ways of working that others have written down. Before you begin with something that \
one of them is about, read it with `load_skill` and keep to it."""


class Skill(Stateful):
    """A skill; `state` is what became of its newest version, `approved` the one agents read."""

    label = "Skill"

    id = CharField(max_length=LONGEST_ID, primary_key=True)
    state = StateField(
        {
            PENDING: {PENDING, APPROVED, REJECTED},
            APPROVED: {APPROVED, PENDING},
            REJECTED: {APPROVED, PENDING},
        }
    )
    version = IntegerField(default=1)
    approved = IntegerField(null=True)
    enabled = BooleanField(default=True)
    scope = CharField(max_length=16, default=GLOBAL)
    owner_agent_id = CharField(max_length=IDENTIFIER, null=True)
    shipped = BooleanField(default=False)  # as it ships: the next release may bring a newer one
    act = CharField(max_length=160, null=True, unique=True)  # the agent's act that made it
    created_by = CharField(max_length=IDENTIFIER, index=True)
    created_at = Moment(default=now_ms)
    updated_at = Touched()

    class Meta:
        table_name = "skills"
        indexes = ((("state", "updated_at", "id"), False),)

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Everybody, once a version is approved; before that who made it, and admins."""
        query = cls.select()
        if principal.is_admin:
            return query
        return query.where(cls.approved.is_null(False) | (cls.created_by == principal.id))

    @classmethod
    def locked(cls, skill_id: str) -> Self:
        """The skill under its row lock; NotFound when it is gone."""
        for row in cls.read("SELECT * FROM skills WHERE id = %s FOR NO KEY UPDATE", skill_id):
            return row
        raise cls.missing(skill_id)

    def edited_by(self, principal: Principal) -> bool:
        """Whether somebody may change it."""
        return principal.is_admin or self.created_by == principal.id


class SkillVersion(Model):
    """What a skill said from some moment on; `files` are its companions' digests by path."""

    label = "Version"
    skill_id: str

    skill = ForeignKeyField(Skill, on_delete="CASCADE", index=False)
    number = IntegerField()
    description = LongText()
    tags = JsonField()
    content = LongText()
    files = JsonField()
    author = CharField(max_length=IDENTIFIER)
    created_at = Moment(default=now_ms)

    class Meta:
        table_name = "skill_versions"
        primary_key = CompositeKey("skill", "number")


class SkillFile(Model):
    """The text of a companion file, once for all versions that have it."""

    skill_id: str

    skill = ForeignKeyField(Skill, on_delete="CASCADE", index=False)
    digest = CharField(max_length=64)
    content = LongText()

    class Meta:
        table_name = "skill_files"
        primary_key = CompositeKey("skill", "digest")


class AgentSkill(Model):
    """An agent was given a skill."""

    label = "Grant"
    agent_id: str
    skill_id: str

    agent = ForeignKeyField(Agent, on_delete="CASCADE", index=False)
    skill = ForeignKeyField(Skill, on_delete="CASCADE", index=True)
    granted_by = CharField(max_length=IDENTIFIER)
    granted_at = Moment(default=now_ms)

    class Meta:
        table_name = "agent_skills"
        primary_key = CompositeKey("agent", "skill")


def shown(principal: Principal) -> Any:
    """The query for the skills that somebody sees, as dicts with the version that they see."""
    number: Any = Skill.version
    state: Any = Skill.state
    if not principal.is_admin:
        own = Skill.created_by == principal.id
        number = Case(None, [(own, Skill.version)], Skill.approved)
        state = Case(None, [(own, Skill.state)], APPROVED)
    seen = (SkillVersion.skill == Skill.id) & (SkillVersion.number == number)
    return (
        Skill.visible_to(principal)
        .select(
            *(Skill.id, Skill.id.alias("name"), Skill.enabled, Skill.scope, Skill.shipped),
            *(Skill.owner_agent_id, Skill.created_by, Skill.created_at, Skill.updated_at),
            *(SkillVersion.description, SkillVersion.tags, SkillVersion.content),
            (SkillVersion.files != SQL("'{}'")).alias("has_files"),
            SkillVersion.number.alias("version"),
            state.alias("approval_status"),
        )
        .join(SkillVersion, on=seen)
        .dicts()
    )


def waiting() -> Any:
    """The query for skills whose newest version nobody has judged, the oldest first."""
    newest = (SkillVersion.skill == Skill.id) & (SkillVersion.number == Skill.version)
    columns = Skill.id, Skill.created_by, Skill.created_at, Skill.updated_at, Skill.version
    mine = Skill.select(*columns, SkillVersion.description)
    return mine.join(SkillVersion, on=newest).where(Skill.state == PENDING).dicts()


def versions(principal: Principal, skill: Skill) -> Any:
    """The query for the versions of a skill; those after the approved one are its maker's."""
    mine = SkillVersion.select().where(SkillVersion.skill == skill.id)
    newest = skill.version if skill.edited_by(principal) else skill.approved
    return mine.where(SkillVersion.number <= newest)


def version(skill_id: str, number: int) -> SkillVersion:
    """One version of a skill; NotFound when there is none."""
    text = "SELECT * FROM skill_versions WHERE skill_id = %s AND number = %s"
    for row in SkillVersion.read(text, skill_id, number):
        return row
    raise NotFound(f"Skill {skill_id} has no version {number}")


def write(skill: Skill, number: int, form: Mapping[str, Any], author: str) -> None:
    """Keep a version: `description`, `tags`, `content`, and `files` as texts by path."""
    digests = {}
    for path, text in form["files"].items():
        digests[path] = hashlib.sha256(text.encode()).hexdigest()
        db.later(_KEEP_FILE, (skill.id, digests[path], text))
    told = {name: form[name] for name in TOLD}
    SkillVersion(skill=skill.id, number=number, files=digests, author=author, **told).add()


def store(sketch: Sketch, files: Mapping[str, str], shipped: bool) -> None:
    """Put a skill of a library in place: approved, and a new version where it says something new.

    Whether it is switched on stays as it was.
    """
    said = {"description": sketch.description, "tags": list(sketch.tags)}
    form: dict[str, Any] = {**said, "content": sketch.content, "files": files}
    skill = Skill.find(sketch.name)
    if skill is None:
        state = {"state": APPROVED, "approved": 1, "enabled": sketch.enabled}
        skill = Skill(id=sketch.name, created_by=LIBRARY, shipped=shipped, **state).add()
        write(skill, 1, form, LIBRARY)
        return
    newest = version(skill.id, skill.version)
    if any(getattr(newest, name) != form[name] for name in TOLD) or texts(newest) != files:
        number = skill.version + 1
        write(skill, number, form, LIBRARY)
        skill.move(APPROVED, version=number, approved=number, shipped=shipped)


def hand_out(agent_id: str, skill_ids: list[str]) -> None:
    """Give an agent skills of a library, if there is such an agent."""
    db.later(_HAND_OUT, (LIBRARY, now_ms(), skill_ids, agent_id))


def texts(found: SkillVersion) -> dict[str, str]:
    """The companion files of a version by path."""
    rows: Any = SkillFile.select(SkillFile.digest, SkillFile.content).where(
        (SkillFile.skill == found.skill_id) & SkillFile.digest.in_(list(found.files.values()))
    )
    contents = {row.digest: row.content for row in rows}
    return {path: contents[digest] for path, digest in sorted(found.files.items())}


def of_agent(agent_id: str) -> Any:
    """The query for what an agent was given, as dicts, the approved version of each."""
    read = (SkillVersion.skill == Skill.id) & (SkillVersion.number == Skill.approved)
    columns = Skill.id, SkillVersion.description, SkillVersion.tags, Skill.enabled, Skill.scope
    given = AgentSkill.granted_by, AgentSkill.granted_at
    mine = Skill.select(*columns, Skill.owner_agent_id, *given).join(SkillVersion, on=read)
    mine = mine.switch(Skill).join(AgentSkill, on=AgentSkill.skill == Skill.id)
    return mine.where(AgentSkill.agent == agent_id).dicts()


def manifest(agent_id: str) -> list[dict[str, Any]]:
    """What an agent may read, those for everybody first: id, description and tags of each."""
    mine = of_agent(agent_id).where(Skill.enabled)
    mine = mine.select(Skill.id, SkillVersion.description, SkillVersion.tags)
    return list(mine.order_by(Skill.scope.desc(), Skill.id).limit(MOST_GIVEN))


def told(skills: list[dict[str, Any]]) -> str:
    """What a prompt says of these skills, without its heading; nothing without any."""
    if not skills:
        return ""
    lines = [f"- {skill['id']}: {_short(skill['description'])}" for skill in skills]
    return "\n".join([LOADING, *lines])


def readable(agent_id: str, skill_id: str) -> SkillVersion:
    """What an agent reads of a skill.

    NotFound for one that nobody has approved, Unavailable where it is switched off, Forbidden
    where the agent was not given it.
    """
    rows = db.now(_READABLE, (agent_id, skill_id)).fetchall()
    if not rows:
        raise Skill.missing(skill_id)
    ((enabled, approved, granted),) = rows
    if not enabled:
        raise Unavailable(f"Skill {skill_id} is switched off")
    if not granted:
        raise Forbidden(f"Agent {agent_id} was not given the skill {skill_id}")
    return version(skill_id, approved)


def file(found: SkillVersion, path: str) -> str:
    """The text of a companion file of a version; NotFound when it has none of that name.

    Malformed for what cannot be the path of one.
    """
    if fault := path_fault(path):
        raise Malformed(fault)
    text = "SELECT content FROM skill_files WHERE skill_id = %s AND digest = %s"
    row = db.now(text, (found.skill_id, found.files.get(path))).fetchone()
    if row is None:
        raise NotFound(f"Skill {found.skill_id} has no file {path}")
    return str(row[0])


def _short(description: str) -> str:
    return description if len(description) <= SHORT else f"{description[:SHORT]}..."


_KEEP_FILE = """
    INSERT INTO skill_files (skill_id, digest, content) VALUES (%s, %s, %s)
    ON CONFLICT (skill_id, digest) DO NOTHING
"""
_HAND_OUT = """
    INSERT INTO agent_skills (agent_id, skill_id, granted_by, granted_at)
    SELECT agents.id, given.skill_id, %s, %s
    FROM agents, unnest(%s::text[]) AS given (skill_id) WHERE agents.id = %s
    ON CONFLICT (agent_id, skill_id) DO NOTHING
"""
_READABLE = """
    SELECT skills.enabled, skills.approved, given.agent_id IS NOT NULL
    FROM skills LEFT JOIN agent_skills AS given
        ON given.skill_id = skills.id AND given.agent_id = %s
    WHERE skills.id = %s AND skills.approved IS NOT NULL
"""
