"""Changing pipelines."""

from __future__ import annotations

import re

from models import agents, grammar
from models.base import db
from models.errors import Invalid, Malformed
from models.pipelines import Pipeline

NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")


def put(pipeline_id: str, text: str) -> Pipeline:
    """Store a valid text under its own id; runs that exist keep the version they began with."""
    if not NAME.fullmatch(pipeline_id):
        raise Invalid("A pipeline id consists of letters, digits, - and _, at most 128")
    parsed = check(text)
    if not parsed.raw:
        raise Malformed(f"This is not a YAML mapping: {parsed.errors[0]}")
    if parsed.definition is None:
        problems = [
            {"loc": ["body", "yaml_content", problem.path], "msg": str(problem), "type": "pipeline"}
            for problem in parsed.errors
        ]
        raise Invalid(f"The pipeline is not valid: {parsed.errors[0]}", errors=problems)
    if parsed.definition.id != pipeline_id:
        raise Malformed(f"The YAML says id {parsed.definition.id}, the address {pipeline_id}")
    with db.atomic():
        return Pipeline.store(pipeline_id, text, parsed, shipped=False)


def check(text: str) -> grammar.Parsed:
    """Read a text against the grammar and the agents there are."""
    return grammar.parse(text, agents.known())
