"""Whatever the document allows, and whatever it does not, is answered as it says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from models.runs import Run
from models.sessions import Session
from tests.conftest import TOKEN
from tests.guards.access import public
from tests.servers.github import Github

ENDPOINTS = (Path(__file__).parents[1] / "guards/endpoints.txt").read_text().split("\n")
WORDS = {word for line in ENDPOINTS for word in line.split("/")}  # as ids they name other routes
PROBES = {
    "GET /v1/status",
    "GET /healthz",
    "GET /readyz",
    "GET /v1/auth/status",
}  # take nothing that could be wrong
OPEN = {re.sub(r"<[^>]*>", "{}", route) for route in public()}
REFUSING = "/updates/apply"  # 501 whatever it is asked
STREAMING = re.compile(r"/events/|/sessions/{}/(events|stream)$")  # those never end
ANSWERING = [line for line in ENDPOINTS if line and not STREAMING.search(line)]
ANSWERING = [line for line in ANSWERING if not line.endswith(REFUSING)]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
BRIEFLY = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
NAMED = re.compile(r"{[^}]*}")
Work = Callable[..., int]


@pytest.fixture
def known(github: Github, owner: FlaskClient, work: Work) -> dict[str, str]:
    """What the addresses may name: a finished run and what belongs to it; GitHub is there."""
    owner.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "x"})
    work()
    session = Session.select().first()
    run = Run.select().first()
    ids = {"run_id": run.id, "session_id": session.id, "call_id": "none"}
    return {**ids, "agent_id": "eric", "pipeline_id": "bugfix", "step_id": "FIX"}


@pytest.fixture(scope="module")
def operations(application: Flask) -> dict[str, Any]:
    """Every operation of the document, as the list of endpoints names it."""
    schema = schemathesis.openapi.from_wsgi("/openapi.json", application)
    found = [result.ok() for result in schema.get_all_operations()]
    return {f"{each.method.upper()} {NAMED.sub('{}', each.path)}": each for each in found}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("endpoint", "mode"),
    [(endpoint, GenerationMode.POSITIVE) for endpoint in ANSWERING]
    + [(endpoint, GenerationMode.NEGATIVE) for endpoint in ANSWERING if endpoint not in PROBES],
)
def test_an_operation_keeps_its_word(
    app: Flask,
    operations: dict[str, Any],
    known: dict[str, str],
    endpoint: str,
    mode: GenerationMode,
) -> None:
    operation = operations[endpoint]
    headers = {"Authorization": f"Bearer {TOKEN}"}

    @BRIEFLY
    @given(operation.as_strategy(generation_mode=mode))
    def keeps_its_word(case: Case) -> None:
        named = {**dict(case.path_parameters or {})}
        for path_parameters in (named, {name: known.get(name, "x") for name in named}):
            if WORDS & {str(value) for value in path_parameters.values()}:
                continue
            case.path_parameters = path_parameters
            case.call_and_validate(headers=headers, checks=CHECKS)
            told = case.call(headers={"Authorization": "Bearer x"}).status_code
            assert told < 500 if endpoint in OPEN else told == 401

    keeps_its_word()
