"""The table of who gets where, read from `access.txt`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask import Flask
from werkzeug.routing import Rule

from tests.guards import things
from web.security import mark

CALLERS = ("owner", "teammate", "stranger", "admin", "agent", "service", "none")
TABLE = Path(__file__).parent / "access.txt"
PAGES = {"GET /openapi.json", "GET /docs", "GET /docs/<name>"}  # for everybody, without a row
OPEN = {"public", "signed"}  # classes of routes that ask nobody who they are


def table() -> tuple[dict[str, list[str]], dict[str, str]]:
    """The classes (what each caller meets) and the class of every route."""
    classes, routes = {}, {}
    for line in TABLE.read_text().splitlines():
        words = line.partition("#")[0].split()
        if words and words[0] == "class":
            classes[words[1]] = words[2:]
        elif words:
            method, rule, kind = words
            routes[f"{method} {rule}"] = kind
    return classes, routes


def public() -> set[str]:
    """The routes that are open to everybody."""
    _, routes = table()
    return PAGES | {route for route, kind in routes.items() if kind in OPEN}


def rules(app: Flask) -> Iterator[tuple[Rule, str]]:
    """Every route: its rule and method."""
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"}):
            yield rule, method


def streams(app: Flask, endpoint: str) -> bool:
    return bool(mark(app.view_functions[endpoint], "GET", "streams", False))


def bodies(app: Flask) -> dict[str, dict[str, Any]]:
    """What to send to each route: the example of the document, or a body of our own."""
    document = app.test_client().get("/openapi.json").json
    found: dict[str, dict[str, Any]] = {}
    for path, method, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {})
        route = f"{method.upper()} {path.replace('{', '<').replace('}', '>')}"
        if "application/json" in content:
            found[route] = {"json": content["application/json"].get("example", {})}
    return found | {route: {"json": body} for route, body in things.BODIES.items()} | things.UPLOADS


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield path, method, operation
