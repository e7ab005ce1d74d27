"""Finding and listing rows: what the caller may see, page by page, under every path they know."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlencode

import flask_smorest
import orjson
import peewee
from flask import after_this_request, g, request
from marshmallow import Schema, fields, validate

from models.base import Common, Model, clean
from models.errors import Forbidden, Invalid
from models.projects import Project
from web.bodies import LARGEST, Form, Reader
from web.schemas.base import example_of

Row = TypeVar("Row", bound=Model)
View = TypeVar("View", bound=type)
Condition = Callable[[Any], Any]
MOST = 500


class Blueprint(flask_smorest.Blueprint):
    """A noun's routes; one view may have several paths (aliases), all of them documented."""

    ARGUMENTS_PARSER = Reader()

    def __init__(self, name: str, description: str) -> None:
        super().__init__(name, __name__, url_prefix="/v1", description=description)

    def route(self, *rules: str, **options: Any) -> Callable[[View], View]:
        """Serve the view under every rule; the first is the reference's."""

        def place(view: View) -> View:
            for rule in rules:
                self.add_url_rule(rule, None, view, **options)
            return view

        return place

    def response(self, status_code: Any, schema: Any = None, **options: Any) -> Any:
        """As in flask-smorest, with an example made from the schema."""
        if schema is not None and "content_type" not in options:
            options.setdefault("example", example_of(schema))
        return super().response(status_code, schema, **options)

    def arguments(self, schema: Any, *, location: str = "json", **options: Any) -> Any:
        """As in flask-smorest, with an example made from the schema.

        The schema is made once: webargs would make a new one for every request.
        """
        schema = schema() if isinstance(schema, type) else schema
        if location == "json":
            options.setdefault("example", example_of(schema))
        return super().arguments(schema, location=location, **options)


def visible(model: type[Row], key: str, *columns: Any) -> Row:
    """The row, if it is there and the caller may see it; NotFound says the same either way.

    With `columns` only those are read, where a row has large ones.
    """
    sql, params = _common(model, columns), (key,)
    if sql is None:
        mine = model.visible_to(g.principal)  # type: ignore[attr-defined]
        sql, params = _narrowed(mine, columns).where(model._meta.primary_key == key).sql()
    for row in model.read(sql, *params):
        return row
    raise model.missing(key)


@cache
def _common(model: Any, columns: tuple[Any, ...]) -> str | None:
    """The statement that finds a row which everybody may see, spelled once; else None."""
    if not issubclass(model, Common):
        return None
    query = _narrowed(model.select(), columns).where(model._meta.primary_key == "")
    return str(query.sql()[0])


def _narrowed(query: Any, columns: tuple[Any, ...]) -> Any:
    return query.select(*columns) if columns else query


def within(model: type[Row], key: str, project_id: str) -> Row:
    """A row of a project, if it is there and the caller may see the project; else NotFound."""
    visible(Project, project_id, Project.id)
    text = f'SELECT * FROM "{model._meta.table_name}" WHERE id = %s AND project_id = %s'  # noqa: S608
    for row in model.read(text, key, project_id):
        return row
    raise model.missing(key)


def governed(project_id: str) -> Project:
    """A project that the caller may decide over; Forbidden when they only work on it."""
    project = visible(Project, project_id)
    if not project.run_by(g.principal):
        raise Forbidden("Only the owner of the project and admins may do this")
    return project


def listed(model: Any, schema: type[Schema]) -> Any:
    """The rows the caller may see, with no column that `schema` does not show."""
    shown = {field.attribute or name for name, field in schema._declared_fields.items()}
    columns = [field for name, field in model._meta.fields.items() if name in shown]
    return model.visible_to(g.principal).select(*columns)


def only(query: Any, form: Mapping[str, Any], conditions: Mapping[str, Condition]) -> Any:
    """The query narrowed by every condition whose name the form has a value for."""
    for name, condition in conditions.items():
        if form.get(name) is not None:
            query = query.where(condition(form[name]))
    return query


def wrapped(name: str, rows: list[Any], **more: Any) -> dict[str, Any]:
    """A page in an object, for lists that clients expect so."""
    return {name: rows, "total": g.total, "hasMore": g.more, **more}


class PageForm(Form):
    """Which part of a list is wanted."""

    limit = fields.Integer(
        load_default=100,
        validate=validate.Range(0, MOST),
        metadata={"description": "At most so many rows; 0 answers totals only"},
    )
    cursor = fields.String(metadata={"description": "Go on where a `Link` header pointed"})
    offset = fields.Integer(load_default=0, validate=validate.Range(0, LARGEST))


@dataclass(frozen=True)
class Order:
    """How a list is sorted: by `keys`, which together are unique."""

    keys: tuple[Any, ...]
    descending: bool = True

    def apply(self, query: Any) -> Any:
        keys = [key.desc() if self.descending else key.asc() for key in self.keys]
        return query.order_by(*keys)

    def beyond(self, position: Sequence[Any]) -> Any:
        """The condition for rows that come after `position`."""
        here, there = peewee.Tuple(*self.keys), peewee.Tuple(*position)
        return here < there if self.descending else here > there

    def position(self, row: Any) -> list[Any]:
        """Where a row (a model's or a dict) stands in this order."""
        columns = row if isinstance(row, dict) else row.__data__
        return [columns[key.name] for key in self.keys]


def newest_first(model: Any) -> Order:
    """By creation, the id breaking ties."""
    return Order((model.created_at, model.id))


def page(query: Any, form: dict[str, Any], order: Order) -> list[Any]:
    """One page of `query`; the totals and the next page go into the answer's headers."""
    total = query.order_by().count()
    limit = form["limit"]
    rows = list(_slice(query, form, order)) if limit else []
    more = order.position(rows[limit - 1]) if len(rows) > limit else None
    _announce(total, more)
    g.total, g.more = total, more is not None
    return rows[:limit]


def _slice(query: Any, form: dict[str, Any], order: Order) -> Any:
    """The rows of the page and one more, which tells whether there is a next page."""
    if form.get("cursor"):
        query = query.where(order.beyond(read_cursor(form["cursor"], order)))
    return order.apply(query).limit(form["limit"] + 1).offset(form["offset"])


def write_cursor(position: Sequence[Any]) -> str:
    """A position in a list as opaque text."""
    return base64.urlsafe_b64encode(orjson.dumps(list(position))).decode().rstrip("=")


def read_cursor(text: str, order: Order) -> list[Any]:
    """The position that `write_cursor` wrote; Invalid for anything else."""
    try:
        read = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        read = None
    kinds = [int if isinstance(key, peewee.IntegerField) else str for key in order.keys]
    if not isinstance(read, list) or [type(value) for value in read] != kinds:
        raise Invalid("The cursor is not one of ours", errors=[_CURSOR_FAULT])
    return list(clean(read))


_CURSOR_FAULT = {"loc": ["query", "cursor"], "msg": "Not a cursor.", "type": "invalid"}


def _announce(total: int, more: Sequence[Any] | None) -> None:
    @after_this_request
    def _add(response: Any) -> Any:
        response.headers["X-Total-Count"] = str(total)
        if more is not None:
            asked = {**request.args.to_dict(), "cursor": write_cursor(more)}
            query = {name: value for name, value in asked.items() if name not in _NOT_KEPT}
            response.headers["Link"] = f'<{request.path}?{urlencode(query)}>; rel="next"'
        return response


_NOT_KEPT = {"offset", "token"}
