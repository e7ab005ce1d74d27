"""The API's own description: OpenAPI 3.1, and a page to browse it that needs no internet."""

from __future__ import annotations

import json
import mimetypes
from http import HTTPStatus
from pathlib import Path
from threading import Lock
from typing import Any

import flask_smorest
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Blueprint, Flask, Response, current_app
from marshmallow import Schema, fields
from swagger_ui_bundle import swagger_ui_path

from models.config import Settings
from models.errors import NotFound
from web.errors import PROBLEM
from web.schemas.base import Milliseconds
from web.security import mark, public

METHODS = {"get", "post", "put", "patch", "delete"}
OURS = Path(__file__).parent / "static"
SHIPPED = Path(str(swagger_ui_path))
FILES = {
    **{name: OURS / name for name in ("index.html", "start.js")},
    **{
        name: SHIPPED / name
        for name in ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
    },
}
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
)
DESCRIPTION = """\
Teams of AI agents that do work. Times are integer milliseconds since the epoch (UTC), ids are
opaque text, errors are `application/problem+json`. Send `Authorization: Bearer <token>`; streams
(`text/event-stream`) also take `?token=`. Every path answers with and without a trailing slash.
"""


class Fault(Schema):
    """One thing that is wrong with a request."""

    loc = fields.List(fields.Raw(), metadata={"description": "Where: body, query, then the key"})
    msg = fields.String()
    type = fields.String()


class Problem(Schema):
    """An error (RFC 9457)."""

    type = fields.String(required=True)
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True, metadata={"description": "One line to act on"})
    instance = fields.String(required=True)
    requestId = fields.String(required=True)
    errors = fields.List(fields.Nested(Fault))


class Api(flask_smorest.Api):
    """flask-smorest's registry, with our errors and without its own pages.

    Its document is made when somebody first asks for it: that takes longer than all else that an
    application does before it answers, and few processes are ever asked.
    """

    ERROR_SCHEMA = Problem

    def __init__(self, app: Flask, **options: Any) -> None:
        self._described: list[Any] = []
        self._document: str | None = None
        self._making = Lock()
        super().__init__(app, **options)

    def register_blueprint(self, blp: Any, **options: Any) -> None:
        """Answer the blueprint's routes; `document` describes them."""
        self._app.extensions["flask-smorest"]["blp_name_to_api"][blp.name] = self
        self._app.register_blueprint(blp, **options)
        self._described.append(blp)

    def document(self) -> str:
        """The OpenAPI document as JSON."""
        with self._making:
            if self._document is None:
                self._document = self._made()
            return self._document

    def _made(self) -> str:
        for blueprint in self._described:
            name = blueprint.name
            blueprint.register_views_in_doc(self, self._app, self.spec, name=name, parameters=None)
            self.spec.tag({"name": name, "description": blueprint.description})
        self._say_who_may_call()
        return json.dumps(self.spec.to_dict())

    def _say_who_may_call(self) -> None:
        for rule in self._app.url_map.iter_rules():
            path = self.flask_plugin.flaskpath2openapi(rule.rule)
            for method, operation in self.spec._paths.get(path, {}).items():
                if method not in METHODS:
                    continue  # parameters that the methods share
                view = self._app.view_functions[rule.endpoint]
                operation["x-access"] = mark(view, method.upper(), "access", "user")
                if operation["x-access"] == "public":
                    operation["security"] = []

    def _register_error_handlers(self) -> None:
        """`web.errors` answers errors."""

    def _register_doc_blueprint(self) -> None:
        """`pages` serves the document."""

    def _register_responses(self) -> None:
        content = {PROBLEM: {"schema": self.ERROR_SCHEMA}}
        known = {status.name: status.phrase for status in HTTPStatus}
        for name, phrase in (known | {"DEFAULT_ERROR": "Any error"}).items():
            response = {"description": phrase, "content": content}
            self.spec.components.response(name, response, lazy=True)


def describe(app: Flask, settings: Settings) -> Api:
    """An Api for `app`; register blueprints with it, then `finish` it."""
    app.config |= {
        "API_TITLE": "DjinnBot",
        "API_VERSION": "v1",
        "OPENAPI_VERSION": "3.1.0",
        "API_SPEC_OPTIONS": {
            "info": {
                "description": DESCRIPTION,
                "x-build": settings.build_version,
            },
            "security": [{"bearer": []}],
        },
    }
    api = Api(app, spec_kwargs={"marshmallow_plugin": MarshmallowPlugin(_named)})
    api.register_field(Milliseconds, "integer", "int64")
    scheme = {"type": "http", "scheme": "bearer"}
    api.spec.components.security_scheme("bearer", scheme)
    return api


def _named(schema: Any) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    return str(kind.__name__)


def finish(app: Flask, api: Api) -> None:
    """Serve the document."""
    app.extensions["openapi"] = api
    app.register_blueprint(pages())


def pages() -> Blueprint:
    """The document and the page that shows it; both say nothing that is not in the source."""
    blueprint = Blueprint("docs", __name__)
    blueprint.add_url_rule("/openapi.json", view_func=document)
    blueprint.add_url_rule("/docs", view_func=page, defaults={"name": "index.html"})
    blueprint.add_url_rule("/docs/<name>", view_func=page)
    return blueprint


@public
def document() -> Response:
    """The OpenAPI document."""
    return Response(current_app.extensions["openapi"].document(), mimetype="application/json")


@public
def page(name: str) -> Response:
    """The page, or a file it needs."""
    if name not in FILES:
        raise NotFound(f"{name} is no page")
    kind = mimetypes.guess_type(name)[0]
    response = Response(FILES[name].read_bytes(), content_type=kind)
    response.headers["Content-Security-Policy"] = PAGE_POLICY
    response.headers["Cache-Control"] = "no-cache"
    return response
