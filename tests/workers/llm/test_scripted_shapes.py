"""Answers of the scripted model to a JSON Schema: always valid, and about the task."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from workers.halting import Halt
from workers.llm import open_model
from workers.llm.base import Message, Options, Shape, Text


def answered(schema: dict[str, Any], task: str = "Build a REST API for a todo app") -> Any:
    user = f"Run run_1 · step PLAN · visit 1 · retry 0 · execution 1\n\n# Your Task\n{task}\n"
    stream = open_model("scripted/demo", {}).reply(
        [Message("user", (Text(user),))], (), Options(shape=Shape("answer", schema)), Halt()
    )
    while True:
        try:
            next(stream)
        except StopIteration as done:
            return json.loads(done.value.message.text)


SCHEMAS: dict[str, dict[str, Any]] = {
    "enum and const": {"properties": {"a": {"enum": ["x", "y"]}, "b": {"const": 3}}},
    "references": {
        "$defs": {"task": {"type": "object", "properties": {"title": {"type": "string"}}}},
        "properties": {"tasks": {"type": "array", "items": {"$ref": "#/$defs/task"}}},
    },
    "recursion": {
        "$defs": {
            "node": {
                "type": "object",
                "required": ["name", "children"],
                "properties": {
                    "name": {"type": "string"},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
            }
        },
        "$ref": "#/$defs/node",
    },
    "alternatives": {
        "properties": {
            "a": {"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 7}]},
            "b": {"type": ["null", "string"], "minLength": 200},
            "c": {"oneOf": [{"type": "boolean"}, {"type": "string"}]},
        }
    },
    "merging": {
        "allOf": [
            {"properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"properties": {"b": {"type": "integer"}}, "required": ["b"]},
        ]
    },
    "lists": {
        "properties": {
            "a": {"type": "array", "items": {"type": "string"}, "minItems": 4, "uniqueItems": True},
            "b": {"type": "array", "items": {"enum": ["x", "y"]}, "uniqueItems": True},
            "c": {"type": "array", "items": {"type": "number"}, "maxItems": 1},
            "d": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]},
        }
    },
    "numbers": {
        "properties": {
            "a": {"type": "number", "exclusiveMinimum": 0, "maximum": 0.5},
            "b": {"type": "integer", "minimum": 10, "multipleOf": 4},
            "c": {"type": "integer", "maximum": -3},
            "d": {"type": "number", "minimum": 1, "exclusiveMaximum": 2},
        }
    },
    "texts": {
        "properties": {
            "key": {"type": "string", "pattern": "^T[0-9]+$"},
            "when": {"type": "string", "format": "date-time"},
            "short": {"type": "string", "maxLength": 5},
            "color": {"type": "string", "pattern": "^#[0-9a-f]{6}$"},
        }
    },
    "maps": {
        "properties": {
            "a": {"type": "object", "minProperties": 2, "additionalProperties": {"type": "number"}}
        }
    },
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_shape_is_answered_with_a_valid_instance(name: str) -> None:
    schema = {"type": "object", **SCHEMAS[name]}

    Draft202012Validator(schema).validate(answered(schema))


def test_lists_of_a_shape_speak_of_the_task() -> None:
    item = {
        "type": "object",
        "properties": {"title": {"type": "string"}, "description": {"type": "string"}},
        "required": ["title", "description"],
    }
    tasks = {"type": "array", "items": item}
    schema = {"type": "object", "required": ["tasks"], "properties": {"tasks": tasks}}

    titles = [task["title"] for task in answered(schema)["tasks"]]

    assert len(set(titles)) == len(titles) == 2
    assert all("REST API for a todo app" in title for title in titles)


def test_a_play_answers_a_shape_as_told() -> None:
    script = json.dumps({"default": {"structured": {"tasks": []}}})

    assert answered({"type": "object"}, f"x\n```scripted\n{script}\n```") == {"tasks": []}
