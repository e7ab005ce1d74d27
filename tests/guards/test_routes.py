"""Every route is closed, documented, answers both slash forms and tells strangers nothing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.guards.access import public, rules
from web.security import mark

ROOT = Path(__file__).parents[2]
REDIRECTING = {"/v1/github/callback"}  # that is all they do
MOST_LINES = 6
METHODS = {"get", "post", "put", "patch", "delete"}


def filled(rule: str, values: dict[str, str] | None = None) -> str:
    return re.sub(r"<(\w+)>", lambda match: (values or {}).get(match[1], "none"), rule)


def operations(app: Flask) -> Iterator[tuple[str, str, dict[str, Any]]]:
    document = app.test_client().get("/openapi.json").json
    for path, item in document["paths"].items():
        for method in METHODS & set(item):
            yield path, method, item[method]


def test_every_route_needs_a_caller_or_says_it_does_not(app: Flask, nobody: FlaskClient):
    listed = public()
    for rule, method in rules(app):
        open_to_all = mark(app.view_functions[rule.endpoint], method, "access", "user") == "public"
        assert open_to_all == (f"{method} {rule}" in listed), f"{method} {rule}"
        status = nobody.open(filled(rule.rule), method=method).status_code
        assert (status == 401) != open_to_all, f"{method} {rule}: {status}"


def test_both_slash_forms_answer_without_redirect(app: Flask, engine: FlaskClient):
    for rule, method in rules(app):
        if "/events/" in rule.rule and "<" not in rule.rule:
            continue  # never ends; the matching is the same
        if rule.rule in REDIRECTING:
            continue
        plain = engine.open(filled(rule.rule), method=method)
        slashed = engine.open(filled(rule.rule) + "/", method=method)
        assert plain.status_code == slashed.status_code, f"{method} {rule}"
        assert plain.status_code not in {301, 302, 307, 308}, f"{method} {rule}"


def test_every_endpoint_of_the_reference_is_in_the_document(app: Flask):
    document = {f"{method.upper()} {_bare(path)}" for path, method, _ in operations(app)}
    listed = (Path(__file__).parent / "endpoints.txt").read_text().split("\n")
    assert document == set(filter(None, listed))


def _bare(path: str) -> str:
    return re.sub(r"{\w+}", "{}", path)


def test_every_route_is_in_the_document(app: Flask):
    documented = {(method.upper(), path) for path, method, _ in operations(app)}
    pages = {"/openapi.json", "/docs", "/docs/<name>"}
    for rule, method in rules(app):
        path = re.sub(r"<(\w+)>", r"{\1}", rule.rule)
        assert rule.rule in pages or (method, path) in documented, f"{method} {rule}"


def test_every_answer_has_an_example_that_fits_its_schema(app: Flask):
    document = app.test_client().get("/openapi.json").json
    assert document["openapi"].startswith("3.1")
    for path, method, operation in operations(app):
        told = operation["responses"].items()
        good = next((answer for status, answer in told if status[0] == "2"), {})
        for kind, content in good.get("content", {}).items():
            if kind != "application/json":
                continue
            assert "example" in content, f"{method} {path}"
            schema = {"components": document["components"], **content.get("schema", {})}
            jsonschema.validate(content["example"], schema)
        assert operation["summary"], f"{method} {path}"


def views() -> Iterator[tuple[str, ast.FunctionDef]]:
    for file in sorted((ROOT / "web/blueprints").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name in METHODS:
                yield f"{file.name}:{node.lineno}", node


@pytest.mark.parametrize(("place", "view"), [pytest.param(*view, id=view[0]) for view in views()])
def test_a_view_finds_asks_and_answers_in_six_lines(place: str, view: ast.FunctionDef):
    body = [node for node in view.body if not _is_docstring(node)]
    lines = {number for node in body for number in range(node.lineno, (node.end_lineno or 0) + 1)}
    assert len(lines) <= MOST_LINES, place
    assert not any(isinstance(node, ast.Try) for node in ast.walk(view)), place


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
