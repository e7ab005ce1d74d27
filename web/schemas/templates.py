"""Templates of boards on the wire."""

from __future__ import annotations

from flask import g
from marshmallow import fields, validate

from models.base import IDENTIFIER
from models.templates import SLUG, ProjectTemplate
from web.bodies import Form, Text, Whole
from web.resources import visible
from web.schemas.base import Free, derived, made
from web.schemas.board_forms import LONGEST, NAME, small
from web.schemas.projects import NewColumnForm, semantics

SLUGGED = validate.Regexp(
    rf"^{SLUG.pattern}\Z", error="Must be lower-case letters, digits and dashes."
)
COLUMN = {"name": "Ready", "position": 0, "wip_limit": None, "statuses": ["ready"]}

TemplateView = made(
    "ProjectTemplateView",
    {
        **derived(ProjectTemplate, "id", "slug", "name", "description", "icon"),
        **derived(ProjectTemplate, isBuiltin="is_builtin", defaultPipelineId="default_pipeline_id"),
        **derived(ProjectTemplate, sortOrder="sort_order"),
        **derived(ProjectTemplate, createdAt="created_at", updatedAt="updated_at"),
        "columns": fields.List(Free(metadata={"example": COLUMN})),
        "statusSemantics": Free(
            attribute="status_semantics", metadata={"example": {"initial": ["ready"]}}
        ),
        "onboardingAgentChain": fields.List(
            fields.String(metadata={"example": "eric"}), attribute="onboarding_agent_chain"
        ),
        "metadata": Free(),
    },
)
Templates = made("ProjectTemplates", {"templates": fields.List(fields.Nested(TemplateView))})
TemplateDeleted = made(
    "ProjectTemplateDeleted",
    {"status": fields.String(metadata={"example": "deleted"}), "id": fields.String()},
)


class TemplateChange(Form):
    """What is to be different about a template."""

    name = fields.String(validate=NAME)
    description = fields.String(validate=validate.Length(max=LONGEST))
    icon = fields.String(validate=validate.Length(max=64))
    columns = fields.List(fields.Nested(NewColumnForm), validate=validate.Length(1, 50))
    status_semantics = semantics(data_key="statusSemantics")
    default_pipeline_id = fields.String(
        data_key="defaultPipelineId",
        allow_none=True,
        validate=validate.Length(1, IDENTIFIER),
        metadata={"example": None},
    )
    onboarding_agent_chain = fields.List(
        fields.String(validate=validate.Length(1, IDENTIFIER), metadata={"example": "eric"}),
        data_key="onboardingAgentChain",
        validate=validate.Length(max=20),
    )
    metadata = fields.Dict(validate=small, metadata={"example": {}})
    sort_order = Whole(data_key="sortOrder", validate=validate.Range(0, 1_000_000))


class TemplateForm(TemplateChange):
    """A new template."""

    slug = Text(required=True, validate=SLUGGED, metadata={"example": "support"})
    name = Text(required=True, validate=NAME)
    columns = fields.List(
        fields.Nested(NewColumnForm), required=True, validate=validate.Length(1, 50)
    )
    status_semantics = semantics(data_key="statusSemantics", load_default=dict)


class CloneForm(Form):
    """What the copy is called."""

    slug = fields.String(validate=SLUGGED, metadata={"example": "support-2"})
    name = fields.String(validate=NAME)


def template(key: str) -> ProjectTemplate:
    """The template with this id or slug, if the caller may see it."""
    found = ProjectTemplate.named(key)
    return visible(ProjectTemplate, found.id if found else key)


def all_of_them() -> list[ProjectTemplate]:
    """Every template the caller may see, in their order."""
    mine = ProjectTemplate.visible_to(g.principal)
    return list(mine.order_by(ProjectTemplate.sort_order, ProjectTemplate.id))
