"""Skills on the wire (work.md section 8 of the contract)."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from models import skills
from models.errors import Invalid
from models.skill_texts import (
    LARGEST,
    LONGEST_DESCRIPTION,
    LONGEST_PATH,
    LONGEST_TAG,
    MOST_FILES,
    MOST_TAGS,
)
from models.skills import AgentSkill, Skill, SkillVersion
from web.bodies import Flag, Form, Name, Text, Whole
from web.schemas.base import Milliseconds, derived, made

EXAMPLE = "# Tests first\n\nWrite the test that fails, then the least that makes it pass.\n"
_ID = {"example": "tests-first"}
_ABOUT = {"example": "Before you write code that a test can check"}
_TEXT: dict[str, fields.Field] = {
    "description": fields.String(metadata=_ABOUT),
    "tags": fields.List(fields.String(metadata={"example": "testing"})),
}
_CONTENT: dict[str, fields.Field] = {"content": fields.String(metadata={"example": EXAMPLE})}
SkillView = made(
    "Skill",
    {
        "id": fields.String(metadata=_ID),
        "name": fields.String(metadata=_ID),
        **_TEXT,
        **_CONTENT,
        **derived(Skill, "enabled"),
        "scope": fields.String(metadata={"example": skills.GLOBAL}),
        **derived(Skill, "owner_agent_id"),
        "has_files": fields.Boolean(),
        "version": fields.Integer(),
        "approval_status": fields.String(metadata={"example": skills.APPROVED}),
        "managed": fields.Function(
            lambda row: "shipped" if row["shipped"] else None,
            metadata={"type": ["string", "null"], "example": "shipped"},
        ),
        **derived(Skill, "created_by", "created_at", "updated_at"),
    },
)
VersionView = made(
    "SkillVersion",
    {
        "version": fields.Integer(attribute="number"),
        **_TEXT,
        **_CONTENT,
        "files": fields.List(fields.String(metadata={"example": "checklist.md"})),
        **derived(SkillVersion, "created_at", created_by="author"),
    },
)
Deleted = made("SkillDeleted", {"deleted": fields.String(metadata=_ID)})
GivenView = made(
    "SkillOfAgent",
    {
        "id": fields.String(metadata=_ID),
        **_TEXT,
        **derived(Skill, "enabled"),
        "scope": fields.String(metadata={"example": skills.GLOBAL}),
        **derived(Skill, "owner_agent_id"),
        **derived(AgentSkill, "granted_by", "granted_at"),
    },
)
GrantView = made(
    "SkillGrant",
    {
        "agent_id": fields.String(),
        "skill_id": fields.String(metadata=_ID),
        **derived(AgentSkill, "granted_by", "granted_at"),
    },
)
Revoked = made(
    "SkillRevoked", {"revoked": fields.String(metadata=_ID), "agent_id": fields.String()}
)
Manifest = made(
    "SkillManifest",
    {
        "skills": fields.List(
            fields.Nested(made("SkillLine", {"id": fields.String(metadata=_ID), **_TEXT}))
        ),
        "manifest_text": fields.String(),
    },
)
Reading = made(
    "SkillContent",
    {
        "id": fields.String(metadata=_ID),
        **_TEXT,
        "file": fields.String(metadata={"description": "With `file`"}),
        **_CONTENT,
        "has_files": fields.Boolean(),
    },
)
Files = made(
    "SkillFiles",
    {
        "id": fields.String(metadata=_ID),
        "files": fields.List(fields.String(metadata={"example": "checklist.md"})),
    },
)
Writing = made(
    "SkillSession",
    {
        "session_id": fields.String(metadata={"example": "skillgen_yukihiro_1730000000000_5f0c"}),
        "initial_message": fields.String(),
        "scope": fields.String(metadata={"example": skills.GLOBAL}),
        "target_agent_id": fields.String(allow_none=True, metadata={"example": None}),
    },
)
_SKETCH: dict[str, fields.Field] = {
    **_CONTENT,
    "name": fields.String(metadata=_ID),
    **_TEXT,
    "enabled": fields.Boolean(),
    "name_conflict": fields.Boolean(metadata={"description": "There is one of that name already"}),
    "valid": fields.Boolean(),
    "error": fields.String(allow_none=True),
}
Sketch = made("SkillSketch", _SKETCH)
Extract = made("SkillExtract", {"found": fields.Boolean(), **_SKETCH})
Source = made(
    "SkillSource",
    {
        "path": fields.String(metadata={"example": "tests-first/SKILL.md"}),
        "raw_url": fields.String(),
        **_SKETCH,
        "has_files": fields.Boolean(),
        "skipped": fields.List(
            fields.String(), metadata={"description": "Files that cannot come along"}
        ),
        "import_id": fields.String(
            allow_none=True,
            metadata={"description": "Create the skill with it to have its files"},
        ),
    },
)
Sources = made(
    "SkillSources",
    {
        "type": fields.String(metadata={"example": "repo"}),
        "repo": fields.String(metadata={"example": "owner/skills"}),
        "skills": fields.List(fields.Nested(Source)),
    },
)
Approval = made(
    "PendingApproval",
    {
        "id": fields.String(metadata=_ID),
        "type": fields.String(metadata={"example": "skill"}),
        "name": fields.String(attribute="id", dump_only=True, metadata=_ID),
        "description": fields.String(metadata=_ABOUT),
        "submittedByUserId": fields.String(attribute="created_by", allow_none=True),
        "createdAt": Milliseconds(attribute="created_at"),
        "version": fields.Integer(),
    },
)
Verdict = made(
    "SkillVerdict",
    {"status": fields.String(metadata={"example": "approved"}), "id": fields.String(metadata=_ID)},
)


class Tags(fields.List):
    """Short words."""

    def __init__(self, **options: Any) -> None:
        tag = fields.String(
            validate=validate.Length(1, LONGEST_TAG), metadata={"example": "testing"}
        )
        super().__init__(tag, validate=validate.Length(max=MOST_TAGS), **options)


def _description(**options: Any) -> Text:
    return Text(validate=validate.Length(1, LONGEST_DESCRIPTION), metadata=_ABOUT, **options)


def _content(**options: Any) -> Text:
    return Text(validate=validate.Length(1, LARGEST), metadata={"example": EXAMPLE}, **options)


def _files(**options: Any) -> fields.Dict:
    return fields.Dict(
        keys=fields.String(validate=validate.Length(1, LONGEST_PATH)),
        values=fields.String(),
        validate=validate.Length(max=MOST_FILES),
        metadata={
            "description": "Companion files: texts by relative path",
            "example": {"checklist.md": "- Is it tested?\n"},
        },
        **options,
    )


class SkillForm(Form):
    """A new skill."""

    name = Name(longest=256, required=True, metadata={"example": "Careful commits"})
    description = _description(required=True)
    content = _content(required=True)
    tags = Tags(load_default=list)
    enabled = Flag(load_default=True)
    scope = fields.String(
        load_default=skills.GLOBAL, validate=validate.OneOf([skills.GLOBAL, skills.AGENT])
    )
    owner_agent_id = fields.String(load_default=None, allow_none=True, metadata={"example": None})
    has_files = Flag(load_default=False, metadata={"example": False})
    import_id = fields.String(load_default=None, allow_none=True, metadata={"example": None})
    files = _files(load_default=dict)


class SkillChanges(Form):
    """What is to change of a skill; what is not named stays."""

    description = _description()
    content = _content()
    tags = Tags()
    enabled = Flag()
    files = _files()


class SkillEnabledForm(Form):
    """Whether agents may read the skill, in the body."""

    enabled = Flag()


class SkillEnabledQuery(Form):
    """The same in the query, where a dashboard sends it."""

    enabled = fields.Boolean()


class SkillGrantForm(Form):
    """Nothing that counts: who gives is who calls."""

    granted_by = fields.String()


class SkillVerdictForm(Form):
    """Which version was looked at; without it the newest is meant."""

    version = Whole(validate=validate.Range(1, skills.MOST_VERSIONS), allow_none=True)


class SkillReadingForm(Form):
    """Which companion file is wanted, if any."""

    file = fields.String(validate=validate.Length(1, LONGEST_PATH))


class SkillParseForm(Form):
    """The text of a SKILL.md, or where it is."""

    raw = fields.String(
        allow_none=True,
        validate=validate.Length(max=LARGEST),
        metadata={"example": f"---\nname: tests-first\ndescription: Test first\n---\n{EXAMPLE}"},
    )
    url = fields.String(allow_none=True, metadata={"example": None})


class SkillSessionForm(Form):
    """Who is to write a skill, about what, and for whom it is meant."""

    agent_id = Text(required=True)
    model = fields.String(allow_none=True, validate=validate.Length(max=256))
    url = fields.String(allow_none=True, metadata={"example": None})
    prompt = fields.String(
        allow_none=True,
        validate=validate.Length(max=20_000),
        metadata={"example": "How we name branches and write commits"},
    )
    scope = fields.String(
        load_default=skills.GLOBAL, validate=validate.OneOf([skills.GLOBAL, skills.AGENT])
    )
    target_agent_id = fields.String(load_default=None, allow_none=True, metadata={"example": None})


class SkillSourceForm(Form):
    """Where a repository, a folder in it, or a SKILL.md is on GitHub."""

    url = Text(required=True, metadata={"example": "https://github.com/owner/skills"})


class SkillExtractForm(Form):
    """A text with a SKILL.md in it."""

    text = fields.String(
        required=True,
        validate=validate.Length(max=LARGEST),
        metadata={"example": f"---\nname: tests-first\ndescription: Test first\n---\n{EXAMPLE}"},
    )


def switched(body: dict[str, Any], query: dict[str, Any]) -> dict[str, bool]:
    """What `enabled` is to be, from the body or the query."""
    told = {**query, **body}
    if "enabled" not in told:
        fault = {"loc": ["body", "enabled"], "msg": "Say true or false.", "type": "missing"}
        raise Invalid("enabled: Say true or false.", errors=[fault])
    return told


def versioned(version: SkillVersion) -> dict[str, Any]:
    """A version as it is shown."""
    names = ("number", "description", "tags", "content", "author", "created_at")
    return {name: getattr(version, name) for name in names} | {"files": sorted(version.files)}


def manifest(agent_id: str) -> dict[str, Any]:
    """What an agent may read, also as a prompt says it."""
    lines = skills.manifest(agent_id)
    text = skills.told(lines)
    return {"skills": lines, "manifest_text": f"# SKILLS\n{text}" if text else ""}


def reading(agent_id: str, skill_id: str, path: str | None) -> dict[str, Any]:
    """What an agent reads: the skill, or one of its files."""
    found = skills.readable(agent_id, skill_id)
    told = {"id": found.skill_id, "description": found.description}
    if path is not None:
        return {**told, "file": path, "content": skills.file(found, path)}
    more = {"content": found.content, "tags": found.tags, "has_files": bool(found.files)}
    return {**told, **more}


def files(agent_id: str, skill_id: str) -> dict[str, Any]:
    """The names of a skill's companion files."""
    found = skills.readable(agent_id, skill_id)
    return {"id": found.skill_id, "files": sorted(found.files)}
