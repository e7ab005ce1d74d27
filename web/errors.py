"""Every error answer: one table from domain words to status codes, one body (RFC 9457)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, g, json, request
from werkzeug.exceptions import HTTPException, InternalServerError

from models import errors, insisting
from models.logs import log
from models.vault import Unreadable

STATUS: Mapping[type[errors.DomainError], int] = {
    errors.Malformed: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.Unrecognised: 415,
    errors.Invalid: 422,
    errors.TooMany: 429,
    errors.Unsupported: 501,
    errors.Unreachable: 502,
    errors.Unavailable: 503,
}
PLACES = {
    "json": "body",
    "files": "body",
    "querystring": "query",
    "query": "query",
    "headers": "header",
}
PROBLEM = "application/problem+json"
OPAQUE = "Something went wrong on our side. Name the requestId when you report it."
SHOWN = 3  # how many validation messages `detail` repeats


def register(app: Flask) -> None:
    """Answer everything that goes wrong in `app` with a problem document."""
    app.register_error_handler(errors.DomainError, domain_problem)
    app.register_error_handler(HTTPException, http_problem)
    for outage in insisting.LOST:
        app.register_error_handler(outage, outage_problem)
    app.register_error_handler(Unreadable, sealed_problem)


def domain_problem(error: errors.DomainError) -> Response:
    """The answer to an error of the domain; an unknown kind is a fault of ours (500)."""
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    response = problem(status, str(error), getattr(error, "errors", []))
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    after = getattr(error, "after", None)
    if after is not None:
        response.headers["Retry-After"] = str(after)
    return response


def http_problem(error: HTTPException) -> Response:
    """The answer to what Flask, Werkzeug or webargs raised; keeps their headers."""
    if isinstance(error, InternalServerError):
        return problem(500, OPAQUE)
    faults = list(validation_faults(getattr(error, "data", {}).get("messages", {})))
    detail = summary(faults) if faults else str(error.description)
    response = problem(error.code or 500, detail, faults)
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            response.headers[name] = value
    return response


def outage_problem(error: Exception) -> Response:
    """The database is away: 503, try again."""
    log.warning("database unavailable", error=str(error).strip())
    return domain_problem(errors.Unavailable("The database is not available; try again"))


def sealed_problem(error: Exception) -> Response:
    """What this needs was sealed with a key that is gone: the operator can put it back."""
    log.error("a secret does not open", error=str(error))
    return domain_problem(errors.Unavailable("A secret this needs does not open; tell an admin"))


def problem(status: int, detail: str, faults: list[dict[str, Any]] | None = None) -> Response:
    """An `application/problem+json` answer to the current request."""
    body = problem_body(status, detail, request.path, g.get("request_id", ""), faults)
    return Response(body, status=status, content_type=PROBLEM)


def problem_body(
    status: int,
    detail: str,
    path: str,
    request_id: str,
    faults: list[dict[str, Any]] | None = None,
) -> bytes:
    """A problem document (RFC 9457)."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": path,
        "requestId": request_id,
    }
    if status == 422 or faults:
        body["errors"] = faults or []
    return json.dumps(body).encode()


def validation_faults(messages: Any) -> Iterator[dict[str, Any]]:
    """webargs' tree {location: {field: [message]}} as a flat list; values are never repeated."""
    for place, tree in messages.items():
        for path, message in leaves(tree, ()):
            kind = "missing" if message.startswith("Missing data") else "invalid"
            yield {"loc": [PLACES.get(place, place), *path], "msg": message, "type": kind}


def leaves(tree: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every message of a marshmallow error tree with the path to its field."""
    if isinstance(tree, Mapping):
        for key, branch in tree.items():
            yield from leaves(branch, path if key == "_schema" else (*path, key))
    elif isinstance(tree, list):
        for item in tree:
            yield from leaves(item, path)
    else:
        yield path, str(tree)


def summary(faults: list[dict[str, Any]]) -> str:
    """One line that a person can act on."""
    shown = [".".join(str(part) for part in fault["loc"][1:]) for fault in faults[:SHOWN]]
    told = [
        f"{name}: {fault['msg']}" if name else fault["msg"]
        for name, fault in zip(shown, faults, strict=False)
    ]
    more = f" (and {len(faults) - SHOWN} more)" if len(faults) > SHOWN else ""
    return " ".join(told) + more
