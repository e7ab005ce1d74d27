"""Marked secrets: where they are put, and where they must not be found."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import redis

from models.base import db

TABLE = Path(__file__).parent / "secrets.txt"
SOUNDS = re.compile(r"pass|secret|token|key|value|cookie|credential|code|extra|private", re.I)
ISSUED = {"key", "accessToken", "refreshToken", "pendingToken", "secret", "recoveryCodes"}
COOKIE = ".example.org\tTRUE\t/\tTRUE\t0\tsession\t{}\n"


@dataclass(frozen=True)
class Place:
    """Somewhere a secret is taken: `field` is `json.`, `query.` ... and the path to it."""

    method: str
    rule: str
    field: str

    def __str__(self) -> str:
        return f"{self.method} {self.rule} {self.field}"


@dataclass(frozen=True)
class Upload:
    """A file to be sent, each time anew."""

    text: str

    def opened(self) -> tuple[BytesIO, str]:
        return BytesIO(self.text.encode()), "cookies.txt"


@dataclass
class Flock:
    """The secrets that are about, each with what it is."""

    known: dict[str, str] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)  # by the one answer that made it

    def new(self, what: str) -> str:
        """A secret that nobody else has; long and mixed enough for whoever judges passwords."""
        canary = f"Canary{secrets.token_hex(20)}Z9"
        self.known[canary] = what
        return canary

    def found_in(self, text: str) -> list[str]:
        """What of it stands in a text, plainly or in a spelling that anybody can undo."""
        return [
            what
            for canary, what in (self.known | self.shown).items()
            if any(spelt in text for spelt in spellings(canary))
        ]

    def issue(self, body: Any, what: str) -> None:
        """Keep in mind what an answer issues: it is never to be seen again."""
        if isinstance(body, dict):
            for name, value in body.items():
                for each in value if isinstance(value, list) else [value]:
                    if name in ISSUED and isinstance(each, str) and len(each) >= 8:
                        self.shown.setdefault(each, f"{name} of {what}")


def spellings(canary: str) -> Iterator[str]:
    """The secret itself, in hex, and in base64 at whatever place of a longer text it stands."""
    raw = canary.encode()
    yield canary
    yield raw.hex()
    for shift in range(3):
        coded = base64.b64encode(bytes(shift) + raw).decode()
        yield coded[4 if shift else 0 : -4]


def table() -> dict[str, dict[str, list[str]]]:
    """The lines of the table by their first word: {kind: {what: to whom}}."""
    found: dict[str, dict[str, list[str]]] = {"secret": {}, "plain": {}, "shows": {}}
    for line in TABLE.read_text().splitlines():
        kind, *words = line.partition("#")[0].split() or [""]
        if kind == "shows":
            found[kind][" ".join(words[:2])] = words[2:]
        elif kind:
            found[kind][words[0]] = []
    return found


def places(document: dict[str, Any]) -> Iterator[Place]:
    """Everything the API takes whose name sounds of secrets."""
    for path, item in document["paths"].items():
        rule = path.replace("{", "<").replace("}", ">")
        for method, operation in item.items():
            if method == "parameters":
                continue
            for name in _taken(document, operation, item.get("parameters", [])):
                if SOUNDS.search(name.rpartition(".")[2]):
                    yield Place(method.upper(), rule, name)


def _taken(document: Any, operation: Any, shared: list[Any]) -> Iterator[str]:
    for parameter in [*operation.get("parameters", []), *shared]:
        yield f"{parameter['in']}.{parameter['name']}"
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        for path in _fields(document, content.get("schema", {})):
            yield f"{kind.rpartition('/')[2]}.{path}"


def _fields(document: Any, schema: Any, before: str = "") -> Iterator[str]:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for word in ("anyOf", "oneOf", "allOf"):
        for choice in schema.get(word, []):
            yield from _fields(document, choice, before)
    yield from _fields(document, schema["items"], before) if "items" in schema else ()
    for name, inner in schema.get("properties", {}).items():
        yield before + name
        yield from _fields(document, inner, f"{before}{name}.")


def requests(place: Place, example: Mapping[str, Any], canary: str) -> Iterator[dict[str, Any]]:
    """The place filled with the secret, once as it should be and then as nobody should."""
    where, _, name = place.field.partition(".")
    if where == "query":
        yield {"query_string": {name: canary}}
        return
    if where == "form-data":
        for text in (COOKIE.format(canary), canary):
            told = {"name": "x", **example, name: Upload(text)}
            yield {"data": told, "content_type": "multipart/form-data"}
        return
    proper = {"CANARY": canary} if isinstance(example.get(name), dict) else canary
    for value in (proper, [canary], {"x": [canary]}, f"{canary}\x00", f"{canary} " * 3000):
        yield {"json": {**example, name: value}}
    yield {"json": {key: [] for key in example} | {name: canary}}  # all else is wrong
    yield {"data": f'{{"{name}": "{canary}", ', "content_type": "application/json"}


def texts_of_database() -> Iterator[tuple[str, str]]:
    """Every table, and all that stands in it."""
    query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    for (name,) in db.execute_sql(query).fetchall():
        rows = db.execute_sql(f'SELECT told::text FROM "{name}" AS told').fetchall()  # noqa: S608
        yield f"table {name}", "\n".join(row[0] for row in rows)


def texts_of_redis(urls: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Every key, and all that stands under it."""
    reading = {
        "string": lambda client, key: client.get(key),
        "list": lambda client, key: client.lrange(key, 0, -1),
        "set": lambda client, key: client.smembers(key),
        "hash": lambda client, key: client.hgetall(key),
        "zset": lambda client, key: client.zrange(key, 0, -1),
        "stream": lambda client, key: client.xrange(key),
    }
    for url in urls:
        with redis.Redis.from_url(url, decode_responses=True) as client:
            for key in client.scan_iter():
                yield f"Redis {key}", f"{key} {reading[client.type(key)](client, key)}"


def texts_of_files(folder: Path) -> Iterator[tuple[str, str]]:
    """Every file below a folder."""
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            yield f"file {file.name}", file.read_bytes().decode("latin-1")
