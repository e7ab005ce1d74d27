"""SKILL.md: front matter that says what a skill is for, and a body that teaches it.

The texts come from strangers. What is YAML is read within bounds; front matter that is none, such
as an unquoted `description: Use when: ...`, is read line by line, because many are written so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from models.grammar_yaml import Node, load

LARGEST = 256 * 1024  # bytes of a SKILL.md, and of a skill's content
LARGEST_HEAD = 16 * 1024
LARGEST_FILE = 1024 * 1024
LARGEST_FILES = 16 * 1024 * 1024  # bytes of all files of a skill together
MOST_FILES = 100
LONGEST_ID, LONGEST_DESCRIPTION, LONGEST_TAG, LONGEST_PATH = 64, 1024, 64, 256
MOST_TAGS = 20
MOST_PARTS = 8  # of a path
MOST_TRIES = 20
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
ID = re.compile(rf"[a-z0-9][a-z0-9-]{{0,{LONGEST_ID - 1}}}")
FENCE = "---"
MAIN = "skill.md"  # in lower case
_LINE = re.compile(r"([A-Za-z][\w-]*)[ \t]*:(?:[ \t]+(.*))?")
_CODE = re.compile(r"(`{3,}|~{3,}).*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ufffd\ud800-\udfff]")


@dataclass(frozen=True)
class Sketch:
    """What a text says; `error` tells why it is no skill, None when it is one."""

    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    enabled: bool = True
    content: str = ""
    error: str | None = None


def slug(name: str) -> str:
    """The id that a name stands for."""
    return re.sub(r"[^a-z0-9-]", "-", name.strip().lower())[:LONGEST_ID]


def parse(text: str) -> Sketch:
    """Read a SKILL.md; never raises."""
    if len(text.encode(errors="replace")) > LARGEST:
        return Sketch(error=f"The text is larger than {LARGEST // 1024} KiB")
    head, body = parted(text)
    if head is None:
        return Sketch(content=tidy(body), error="There is no front matter between two lines ---")
    if len(head) > LARGEST_HEAD:
        return Sketch(error=f"The front matter is longer than {LARGEST_HEAD} characters")
    return _judged(_read(head), tidy(body))


def parted(text: str) -> tuple[str | None, str]:
    """The front matter (None without one) and the body, with plain ends of lines."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if lines[0].rstrip() == FENCE:
        for place, line in enumerate(lines[1:], 1):
            if line.rstrip() == FENCE:
                return "\n".join(lines[1:place]), "\n".join(lines[place + 1 :])
    return None, "\n".join(lines)


def tidy(body: str) -> str:
    """A body without blank lines around it and with plain ends of lines."""
    plain = body.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"\A(?:[^\S\n]*\n)+", "", plain).rstrip()


def written(sketch: Sketch) -> str:
    """The SKILL.md of a skill; `parse` reads the same out of it."""
    head = {
        "name": sketch.name,
        "description": sketch.description,
        "tags": list(sketch.tags),
        "enabled": sketch.enabled,
    }
    dumped = yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=10_000)
    return f"{FENCE}\n{dumped}{FENCE}\n\n{sketch.content}\n"


def bare(text: str) -> str:
    """A body without the front matter that somebody left on top of it."""
    head, body = parted(text)
    return text if head is None or not _read(head).get("name") else body


def extract(text: str) -> Sketch | None:
    """The first SKILL.md that stands in a longer text, fenced as code or bare; None without one."""
    plain = text[:LARGEST].replace("\r\n", "\n").replace("\r", "\n")
    lines = [line.rstrip() for line in plain.split("\n")]
    fences = [place for place, line in enumerate(lines) if line == FENCE]
    for place in fences[:MOST_TRIES]:
        code = _CODE.fullmatch(lines[place - 1]) if place else None
        after = lines[place + 1 :]
        end = after.index(code[1]) if code and code[1] in after else len(after)
        sketch = parse("\n".join([FENCE, *after[:end]]))
        if sketch.name:
            return sketch
    return None


def path_fault(path: str) -> str | None:
    """Why no companion file may have this path; None when one may."""
    parts = path.split("/")
    if not path or len(path) > LONGEST_PATH or len(parts) > MOST_PARTS:
        return f"A path has 1 to {LONGEST_PATH} characters and at most {MOST_PARTS} parts"
    if _CONTROL.search(path) or any(part.strip() in {"", ".", ".."} for part in parts):
        return "A path is relative and leads neither up nor nowhere"
    return "SKILL.md is the skill itself" if path.lower() == MAIN else None


def _read(head: str) -> dict[str, Any]:
    root, problems = load(head) if head.strip() else (None, [])
    if root is None or problems or not root.fields:
        return _by_line(head)
    return {key.lower(): _value(node) for key, node in root.fields.items()}


def _value(node: Node) -> Any:
    if node.items:
        return [str(item.text) for item in node.items if item.text is not None]
    return node.value if isinstance(node.value, bool | list | dict) else node.text


def _by_line(head: str) -> dict[str, Any]:
    """Keys at the beginnings of lines, with what follows on the line."""
    found: dict[str, Any] = {}
    for line in head.split("\n"):
        if told := _LINE.fullmatch(line.rstrip()):
            found[told[1].lower()] = _plain((told[2] or "").strip())
    return found


def _plain(value: str) -> Any:
    if value.startswith("[") and value.endswith("]"):
        return [_unquoted(part.strip()) for part in value[1:-1].split(",")]
    return {"true": True, "false": False}.get(value.lower(), _unquoted(value))


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value


def _judged(told: dict[str, Any], content: str) -> Sketch:
    name, described = _text(told.get("name")), _text(told.get("description"))
    tags, enabled = _tags(told.get("tags"), name), told.get("enabled", True)
    faults = {
        "name must be small letters, digits and dashes, at most 40": not NAME.fullmatch(name),
        f"description must say in 1 to {LONGEST_DESCRIPTION} characters what it is for": (
            not 0 < len(described) <= LONGEST_DESCRIPTION
        ),
        f"tags are at most {MOST_TAGS} words of at most {LONGEST_TAG} characters": tags is None,
        "enabled must be true or false": not isinstance(enabled, bool),
        "there is nothing after the front matter": not content,
    }
    error = next((fault for fault, found in faults.items() if found), None)
    return Sketch(name, described, tags or (), enabled is not False, content, error)


def _text(value: Any) -> str:
    """A text in one line."""
    return " ".join(value.split()) if isinstance(value, str) else ""


def _tags(value: Any, name: str) -> tuple[str, ...] | None:
    """The tags, the name where none are told; None for what are no tags."""
    told = value.split(",") if isinstance(value, str) else value or []
    if not isinstance(told, list) or len(told) > MOST_TAGS:
        return None
    words = tuple(dict.fromkeys(filter(None, map(_text, told)))) or ((name,) if name else ())
    return words if all(len(word) <= LONGEST_TAG for word in words) else None
