"""Changing templates of boards; a project that began with one never changes with it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

from peewee import IntegrityError

from models.base import db, now_ms
from models.errors import Conflict, Forbidden, Malformed
from models.principals import Principal
from models.templates import ProjectTemplate
from tasks.projects import refuse_double

MOST = 200


def add(principal: Principal, form: Mapping[str, Any]) -> ProjectTemplate:
    """Make a template; Conflict when its slug is taken."""
    _refuse_nonsense(form["columns"], form["status_semantics"])
    row = ProjectTemplate(id=ProjectTemplate.id.default(), created_by=principal.id, **form)
    return _stored(row)


def change(principal: Principal, template: ProjectTemplate, form: Mapping[str, Any]) -> None:
    """Change a template; one that ships is from then on left as it is by every update."""
    _refuse_others(principal, template)
    columns = form.get("columns", template.columns)
    _refuse_nonsense(columns, form.get("status_semantics", template.status_semantics))
    template.put(**form, customized=template.is_builtin, updated_at=now_ms())


def delete(principal: Principal, template: ProjectTemplate) -> None:
    """Delete a template that a person made."""
    if template.is_builtin:
        raise Forbidden("What ships stays; make a template of your own")
    _refuse_others(principal, template)
    ProjectTemplate.delete().where(ProjectTemplate.id == template.id).execute()


def clone(
    principal: Principal, template: ProjectTemplate, form: Mapping[str, Any]
) -> ProjectTemplate:
    """Make a template like another one, under another slug."""
    copied = {
        name: value
        for name, value in template.__data__.items()
        if name not in {"id", "created_at", "updated_at", "is_builtin", "customized", "slug"}
    }
    named = {
        "slug": form.get("slug") or _free_slug(template.slug[:56]),
        "name": form.get("name") or f"{template.name} (copy)"[:256],
        "created_by": principal.id,
    }
    return _stored(ProjectTemplate(id=ProjectTemplate.id.default(), **copied | named))


def _free_slug(stem: str) -> str:
    """The stem with the first number behind it that no other template has."""
    alike = ProjectTemplate.slug.startswith(stem)
    taken = {each.slug for each in ProjectTemplate.select(ProjectTemplate.slug).where(alike)}
    return next(slug for number in count(2) if (slug := f"{stem}-{number}") not in taken)


def _stored(template: ProjectTemplate) -> ProjectTemplate:
    if ProjectTemplate.select().count() >= MOST:
        raise Conflict(f"There are at most {MOST} templates")
    try:
        with db.atomic():
            template.add()
    except IntegrityError:
        raise Conflict(f"There is a template with the slug {template.slug} already") from None
    return template


def _refuse_others(principal: Principal, template: ProjectTemplate) -> None:
    if not principal.is_admin and template.created_by != principal.id:
        raise Forbidden("Only who made a template, and admins, may change it")


def _refuse_nonsense(columns: list[dict[str, Any]], semantics: Mapping[str, Any]) -> None:
    """Raise for a status in two columns, or one that is spoken of and in none (400)."""
    refuse_double([column["statuses"] for column in columns])
    known = {status for column in columns for status in column["statuses"]}
    asked = {status for each in semantics.values() for status in each or ()}
    if asked - known:
        raise Malformed(f"No column has the status {min(asked - known)}")
