"""Keeping skills: make, change, judge, give to agents. One transaction each.

What somebody who is no admin writes waits until an admin has judged it; until then agents read the
version before, if there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from models import audit, skill_sources, skill_texts, skills
from models.agents import Agent
from models.base import NOW, db
from models.errors import Conflict, Forbidden, Invalid, Malformed, NotFound
from models.principals import Principal
from models.runs import Run
from models.skill_imports import SkillImport, forget
from models.skill_sources import Found
from models.skill_texts import ID, LARGEST, LARGEST_FILE, LARGEST_FILES, MOST_FILES, Sketch
from models.skills import AGENT, APPROVED, GLOBAL, MOST, PENDING, AgentSkill, Skill

CONTENT = (*skills.TOLD, "files")
RESERVED = frozenset({"agents", "extract", "generate", "github-import", "parse"})


def create(principal: Principal, form: Mapping[str, Any]) -> Skill:
    """Make a skill; Conflict when there is one of that name.

    `form` has name, description, content and may have tags, enabled, scope, owner_agent_id, files,
    and import_id (or has_files) for files that came with an import.
    """
    skill = _drafted(form, created_by=principal.id)
    with db.atomic():
        files = form.get("files") or _imported(principal, skill.id, form)
        _add(principal, skill, _checked({**form, "files": files}), principal.is_admin)
    return skill


def proposed(act: str) -> Skill | None:
    """The skill that this act of an agent's has made."""
    made: Skill | None = Skill.get_or_none(Skill.act == act)
    return made


def propose(
    run: Run,
    agent_id: str,
    act: str,
    form: Mapping[str, Any],
    files: Mapping[str, str] | None = None,
) -> Skill:
    """Make a skill that an agent at work thought of or found; its own, it waits for an admin.

    It is the run owner's. `act` is the name of what the agent does: done once, however often it is
    tried. The caller holds the run's lock.
    """
    made = proposed(act)
    if made is not None:
        return made
    author = Principal(f"agent:{agent_id}", "agent", agent_id=agent_id)
    own = {**form, "scope": AGENT, "owner_agent_id": agent_id, "files": files or {}}
    skill = _drafted(own, created_by=run.owner_id or author.id, act=act)
    _add(author, skill, _checked(own), approved=False)
    if Agent.find(agent_id) is not None:
        _give(author, skill, agent_id)
    return skill


def change(principal: Principal, skill_id: str, form: Mapping[str, Any]) -> Skill:
    """Write these fields; another content is another version."""
    with db.atomic():
        skill = _owned(principal, skill_id)
        newest = skills.version(skill.id, skill.version)
        before = {name: getattr(newest, name) for name in skills.TOLD}
        before["files"] = skills.texts(newest)
        after = _checked({**before, **{name: form[name] for name in CONTENT if name in form}})
        if after != before:
            _write(principal, skill, after)
        if form.get("enabled", skill.enabled) != skill.enabled:
            skill.put(enabled=form["enabled"], updated_at=NOW)
        told = sorted(name for name in (*CONTENT, "enabled") if name in form)
        audit.record(principal, "skill.changed", skill.id, fields=told, version=skill.version)
    return skill


def delete(principal: Principal, skill_id: str) -> None:
    """Delete a skill with all its versions, also from the agents that have it."""
    with db.atomic():
        skill = _owned(principal, skill_id)
        if skill.shipped:
            raise Conflict(f"Skill {skill.id} ships with the product: switch it off instead")
        skill.delete_instance()
        audit.record(principal, "skill.deleted", skill.id)


def judge(principal: Principal, skill_id: str, verdict: str, version: int | None = None) -> Skill:
    """Approve or reject the newest version; Conflict when that is another than the one seen."""
    with db.atomic():
        skill = Skill.locked(skill_id)
        if skill.state != PENDING:
            raise Malformed(f"Skill {skill.id} does not wait for a decision (it is {skill.state})")
        if version not in (None, skill.version):
            raise Conflict(
                f"Skill {skill.id} has been changed since: look at version {skill.version}"
            )
        taken: dict[str, Any] = {"approved": skill.version} if verdict == APPROVED else {}
        skill.move(verdict, **taken)
        audit.record(principal, f"skill.{verdict}", skill.id, version=skill.version)
    return skill


def grant(principal: Principal, skill_id: str, agent_id: str) -> AgentSkill:
    """Give an agent a skill; once is enough."""
    with db.atomic():
        return _give(principal, _owned(principal, skill_id), agent_id)


def revoke(principal: Principal, skill_id: str, agent_id: str) -> None:
    """Take a skill from an agent: what it has read already it knows until its session ends."""
    with db.atomic():
        skill = _owned(principal, skill_id)
        mine = (AgentSkill.skill == skill.id) & (AgentSkill.agent == agent_id)
        if not AgentSkill.delete().where(mine).execute():
            raise NotFound(f"Agent {agent_id} was not given the skill {skill.id}")
        audit.record(principal, "skill.revoked", skill.id, agent=agent_id)


def sketched(form: Mapping[str, Any]) -> dict[str, Any]:
    """What a SKILL.md says, given as `raw` or found at `url`; nothing is kept."""
    if form.get("raw") is None and not form.get("url"):
        raise Malformed("Send the text as raw, or its address as url")
    raw = form["raw"] if form.get("raw") is not None else skill_sources.fetched(form["url"])
    return _told(skill_texts.parse(raw))


def extracted(text: str) -> dict[str, Any]:
    """The first SKILL.md within a text, such as an answer of a model; nothing is kept."""
    found = skill_texts.extract(text)
    return {
        "found": found is not None,
        **_told(found or Sketch(error="There is no SKILL.md in it")),
    }


def looked_up(principal: Principal, url: str) -> dict[str, Any]:
    """The skills at an address on GitHub; their files wait for a day for whoever looked."""
    place, found = skill_sources.repository(url)
    told = [_found(principal, each) for each in found]
    return {
        "type": "file" if place.is_file else "repo",
        "repo": place.full_name,
        "skills": told,
    }


def _found(principal: Principal, found: Found) -> dict[str, Any]:
    told = _told(skill_texts.parse(found.text))
    shown = {"path": found.path, "raw_url": found.raw_url, "has_files": bool(found.files)}
    kept = None
    if found.files and told["valid"]:
        with db.atomic():
            kept = SkillImport.keep(principal.id, told["name"], found.files)
    return {**told, **shown, "skipped": list(found.skipped), "import_id": kept and kept.id}


def _told(sketch: Sketch) -> dict[str, Any]:
    taken = bool(sketch.name) and Skill.find(skill_texts.slug(sketch.name)) is not None
    facts = {"name_conflict": taken, "valid": sketch.error is None}
    return {**asdict(sketch), "tags": list(sketch.tags), **facts}


def _drafted(form: Mapping[str, Any], **own: Any) -> Skill:
    name = skill_texts.slug(form["name"])
    if not ID.fullmatch(name) or name in RESERVED:
        raise _invalid("name", f"{name!r} cannot name a skill")
    scope, agent_id = form.get("scope") or GLOBAL, form.get("owner_agent_id") or None
    if (scope == AGENT) != (agent_id is not None):
        raise _invalid("owner_agent_id", "Goes with scope agent, and only with that.")
    columns = {"scope": scope, "owner_agent_id": agent_id, "enabled": form.get("enabled", True)}
    return Skill(id=name, **columns, **own)


def _add(author: Principal, skill: Skill, form: Mapping[str, Any], approved: bool) -> None:
    if Skill.select().where(Skill.created_by == skill.created_by).count() >= MOST:
        raise Conflict(f"You have {MOST} skills already: delete one that is not needed")
    skill.__data__ |= {"state": APPROVED, "approved": 1} if approved else {}
    if not db.execute_sql(*_inserted(skill)).rowcount:
        raise Conflict(f"There is a skill {skill.id} already")
    skills.write(skill, 1, form, author.id)
    audit.record(author, "skill.created", skill.id, scope=skill.scope, state=skill.state)


def _inserted(skill: Skill) -> tuple[str, list[Any]]:
    text, values = skill.insertion()
    return f"{text} ON CONFLICT (id) DO NOTHING", values


def _write(principal: Principal, skill: Skill, form: Mapping[str, Any]) -> None:
    """Make this the newest version, which an admin's own needs nobody's approval."""
    number = skill.version + 1
    if number > skills.MOST_VERSIONS:
        raise Conflict(f"Skill {skill.id} has {skills.MOST_VERSIONS} versions: make a new one")
    skills.write(skill, number, form, principal.id)
    mine: dict[str, Any] = {"version": number, "shipped": False}
    if principal.is_admin:
        skill.move(APPROVED, **mine, approved=number)
    else:
        skill.move(PENDING, **mine)


def _give(principal: Principal, skill: Skill, agent_id: str) -> AgentSkill:
    if skill.owner_agent_id not in (None, agent_id):
        raise Conflict(f"Skill {skill.id} is agent {skill.owner_agent_id}'s own")
    given = AgentSkill.get_or_none(agent=agent_id, skill=skill.id)
    if given is not None:
        return given
    if AgentSkill.select().where(AgentSkill.agent == agent_id).count() >= skills.MOST_GIVEN:
        raise Conflict(f"An agent has at most {skills.MOST_GIVEN} skills: take one from it first")
    given = AgentSkill(agent=agent_id, skill=skill.id, granted_by=principal.id).add()
    audit.record(principal, "skill.granted", skill.id, agent=agent_id)
    return given


def _owned(principal: Principal, skill_id: str) -> Skill:
    """The skill under its row lock, if the caller may change it."""
    skill = Skill.locked(skill_id)
    if not skill.edited_by(principal):
        raise Forbidden("Only who made the skill and admins may do this")
    return skill


def _imported(principal: Principal, name: str, form: Mapping[str, Any]) -> dict[str, str]:
    """The files that came with an import, which are then no longer kept for it."""
    import_id = form.get("import_id")
    if import_id is None and not form.get("has_files"):
        return {}
    found = SkillImport.of(principal.id, name, import_id)
    if found is None and import_id is not None:
        raise _invalid("import_id", f"There are no files for {name}: look at the repository again.")
    forget(principal.id, name)
    return dict(found.files) if found else {}


def _checked(form: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a version as it is kept; Invalid names what does not fit."""
    content = skill_texts.tidy(skill_texts.bare(form["content"]))
    if not content or len(content.encode()) > LARGEST:
        raise _invalid("content", f"Must have something in it, and at most {LARGEST // 1024} KiB.")
    description = " ".join(form["description"].split())
    if not description:
        raise _invalid("description", "Must say what the skill is for.")
    files = dict(form.get("files") or {})
    _check_files(files)
    tags = list(dict.fromkeys(filter(None, (tag.strip() for tag in form.get("tags") or []))))
    return {"description": description, "tags": tags, "content": content, "files": files}


def _check_files(files: Mapping[str, str]) -> None:
    if len(files) > MOST_FILES:
        raise _invalid("files", f"A skill has at most {MOST_FILES} files.")
    sizes = {path: len(text.encode()) for path, text in files.items()}
    for path, size in sizes.items():
        fault = skill_texts.path_fault(path)
        if size > LARGEST_FILE:
            fault = f"A file has at most {LARGEST_FILE // 1024} KiB"
        if fault:
            raise _invalid("files", f"{path[:80]!r}: {fault}.")
    if sum(sizes.values()) > LARGEST_FILES:
        raise _invalid("files", f"All files have at most {LARGEST_FILES // 1024} KiB.")


def _invalid(field: str, why: str) -> Invalid:
    fault = {"loc": ["body", field], "msg": why, "type": "invalid"}
    return Invalid(f"{field}: {why}", errors=[fault])
