"""A valid instance of a JSON Schema, with texts that speak of the task where there is room.

Source: https://json-schema.org/draft/2020-12 (the part that providers accept in tools and answers).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workers.llm.scripted.words import Theme

Schema = Mapping[str, Any]
DEEPEST = 8  # beyond it only what is required is made, so that recursive schemas end
FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "email": "demo@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
LINKS = re.compile(r"depend|blocked|require")
CANDIDATES = ("T{n}", "t{n}", "{n}", "a{n}", "demo", "demo-{n}", "DEMO", "1.0.{n}", "#00000{n}")


@dataclass(frozen=True)
class _Place:
    """Where in the instance we are: the key, the index of the nearest list, how deep."""

    key: str = ""
    number: int = 0
    depth: int = 0

    def inside(self, key: str) -> _Place:
        return _Place(key, self.number, self.depth + 1)

    def item(self, number: int) -> _Place:
        return _Place(self.key, number, self.depth + 1)


def instance(schema: Schema, theme: Theme) -> Any:
    """Something that the schema accepts."""
    return _Maker(schema, theme).make(schema, _Place())


class _Maker:
    def __init__(self, root: Schema, theme: Theme) -> None:
        self._root = root
        self._theme = theme

    def make(self, schema: Schema | bool, place: _Place) -> Any:
        if isinstance(schema, bool):
            return self._theme.subject
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        return self._of_type(schema, place)

    def _resolved(self, schema: Schema) -> Schema:
        """The schema with its reference followed and its alternatives decided."""
        for _ in range(DEEPEST):
            if "$ref" in schema:
                schema = {**self._at(schema["$ref"]), **_without(schema, "$ref")}
            elif "allOf" in schema:
                schema = _merged([_without(schema, "allOf"), *map(self._resolved, schema["allOf"])])
            elif "anyOf" in schema or "oneOf" in schema:
                name = "anyOf" if "anyOf" in schema else "oneOf"
                choices = [choice for choice in schema[name] if choice.get("type") != "null"]
                schema = _merged([_without(schema, name), (choices or schema[name])[0]])
            else:
                break
        return schema

    def _at(self, reference: str) -> Schema:
        found: Any = self._root
        for name in reference.removeprefix("#").strip("/").split("/"):
            found = found[name.replace("~1", "/").replace("~0", "~")] if name else found
        schema: Schema = found
        return schema

    def _of_type(self, schema: Schema, place: _Place) -> Any:
        kinds = schema.get("type") or _guessed(schema)
        kinds = [kinds] if isinstance(kinds, str) else kinds
        kind = next((kind for kind in kinds if kind != "null"), "null")
        makers: Mapping[str, Callable[[Schema, _Place], Any]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "integer": self._number,
            "number": self._number,
            "boolean": lambda _schema, _place: True,
        }
        return makers[kind](schema, place) if kind in makers else None

    def _object(self, schema: Schema, place: _Place) -> dict[str, Any]:
        properties = schema.get("properties", {})
        # Where nothing is required everything is made: an empty answer says nothing.
        wanted = schema.get("required", list(properties) if place.depth < DEEPEST // 2 else [])
        made = {key: self.make(properties.get(key, True), place.inside(key)) for key in wanted}
        for number in range(schema.get("minProperties", 0) - len(made)):
            more = schema.get("additionalProperties", True)
            made[f"key_{number + 1}"] = self.make(more, place.inside("key"))
        return made

    def _array(self, schema: Schema, place: _Place) -> list[Any]:
        least = schema.get("minItems", 0)
        usual = 0 if LINKS.search(place.key) or place.depth > DEEPEST else 2
        count = max(least, min(usual, schema.get("maxItems", usual)))
        fixed = schema.get("prefixItems", [])
        schemas = [*fixed, *[schema.get("items", True)] * max(0, count - len(fixed))]
        made = [self.make(each, place.item(number)) for number, each in enumerate(schemas)]
        if not schema.get("uniqueItems"):
            return made
        distinct = [value for number, value in enumerate(made) if value not in made[:number]]
        return distinct if len(distinct) >= least else self._distinct(schema, made)

    def _distinct(self, schema: Schema, made: list[Any]) -> list[Any]:
        """Values that look alike but must not be: other members of the enum where there is one."""
        items = self._resolved(schema.get("items", {}))
        return list(items.get("enum", made))[: len(made)]

    def _string(self, schema: Schema, place: _Place) -> str:
        if schema.get("format") in FORMATS:
            return FORMATS[schema["format"]]
        if "pattern" in schema:
            named = [each.format(n=place.number + 1) for each in CANDIDATES]
            texts = [*named, self._text(place)]
            return next((text for text in texts if re.search(schema["pattern"], text)), texts[0])
        text = self._text(place)
        least = schema.get("minLength", 0)
        if len(text) < least:
            text = (f"{text} " * (least // (len(text) + 1) + 1))[:least]
        return text[: schema.get("maxLength", len(text))]

    def _text(self, place: _Place) -> str:
        key = place.key.lower()
        title = self._theme.title(place.number)
        if key in {"key", "id"}:
            return f"T{place.number + 1}"
        if key.startswith("parent"):
            return "T1"
        if "title" in key or "name" in key:
            return title
        if "tag" in key or "label" in key:
            return f"demo-{place.number + 1}"
        if "description" in key or "summary" in key:
            return f"{title}, small enough to be checked on its own."
        return f"{title} ({key.replace('_', ' ')})" if key else title

    def _number(self, schema: Schema, place: _Place) -> float:
        """A whole number within the bounds where there is one, and a different one each time."""
        step = schema.get("multipleOf", 1)
        low, high = _bounds(schema)
        if low == -math.inf:
            low = min(1.0, high)
        value = math.ceil(low / step) * step
        value += place.number * step if value + place.number * step <= high else 0
        if value > high:
            value = (low + high) / 2  # only a fraction fits
        return int(value) if value == int(value) else value


def _bounds(schema: Schema) -> tuple[float, float]:
    """The least and the greatest value allowed."""
    whole = schema.get("type") == "integer"
    margin = 1 if whole else 1e-6
    lows = [schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf) + margin]
    highs = [schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf) - margin]
    return max(lows), min(highs)


def _guessed(schema: Schema) -> str:
    """The type of a schema that names none."""
    if "properties" in schema or "required" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    return "number" if "minimum" in schema or "maximum" in schema else "string"


def _merged(schemas: list[Schema]) -> Schema:
    merged: dict[str, Any] = {}
    for schema in schemas:
        both = {
            "properties": {**merged.get("properties", {}), **schema.get("properties", {})},
            "required": [*merged.get("required", []), *schema.get("required", [])],
        }
        merged = {**merged, **schema, **{key: value for key, value in both.items() if value}}
    return merged


def _without(schema: Schema, key: str) -> Schema:
    return {name: value for name, value in schema.items() if name != key}
