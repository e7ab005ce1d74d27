"""SKILL.md files as people write them."""

from __future__ import annotations

import pytest

from models.skill_texts import LARGEST, Sketch, extract, parse, path_fault, slug, written

PLAIN = """---
name: tests-first
description: Before you write code
tags: [testing, "two words"]
enabled: false
---

# Tests first

Write the test.
"""


def test_a_skill_is_read() -> None:
    told = parse(PLAIN)
    assert told == Sketch(
        name="tests-first",
        description="Before you write code",
        tags=("testing", "two words"),
        enabled=False,
        content="# Tests first\n\nWrite the test.",
    )
    assert parse(PLAIN.replace("\n", "\r\n")) == told
    assert parse("\ufeff" + PLAIN) == told
    assert parse(written(told)) == told


def test_what_is_not_said_has_a_usual_meaning() -> None:
    told = parse("---\nname: a\ndescription: b\n---\nc")
    assert (told.tags, told.enabled, told.error) == (("a",), True, None)


def test_a_head_that_is_no_yaml_is_read_line_by_line() -> None:
    text = (
        "---\nname: 'a'\ndescription: Use when: it rains\ntags: [x, \"y\"]\nenabled: true\n---\nc"
    )
    told = parse(text)
    assert (told.description, told.tags, told.enabled) == ("Use when: it rains", ("x", "y"), True)
    assert told.error is None


def test_a_description_over_several_lines_becomes_one() -> None:
    told = parse("---\nname: a\ndescription: >-\n  one\n  two\ntags:\n  - x\n---\nc")
    assert (told.description, told.tags) == ("one two", ("x",))


def test_a_line_in_the_body_does_not_end_it() -> None:
    assert parse("---\nname: a\ndescription: b\n---\nc\n---\nd").content == "c\n---\nd"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("# Nothing", "no front matter"),
        ("---\nname: a\ndescription: b\nc", "no front matter"),
        ("---\n---\nc", "name must"),
        ("---\nname: Big\ndescription: b\n---\nc", "name must"),
        (f"---\nname: {'a' * 41}\ndescription: b\n---\nc", "name must"),
        ("---\nname: a\n---\nc", "description must"),
        (f"---\nname: a\ndescription: {'b' * 1025}\n---\nc", "description must"),
        ("---\nname: a\ndescription: b\ntags: {x: y}\n---\nc", "tags are"),
        (f"---\nname: a\ndescription: b\ntags: {list('a' * 21)}\n---\nc", None),
        (f"---\nname: a\ndescription: b\ntags: {list(map(str, range(21)))}\n---\nc", "tags are"),
        ("---\nname: a\ndescription: b\nenabled: maybe\n---\nc", "enabled must"),
        ("---\nname: a\ndescription: b\n---\n \n\n", "nothing after"),
        (f"---\nname: a\ndescription: b\n---\n{'c' * LARGEST}", "larger than"),
        (f"---\nname: a\ndescription: b\n{'# x' * 9_000}\n---\nc", "longer than"),
        ("---\n- a\n- b\n---\nc", "name must"),
        ("---\nname: [a]\ndescription: b\n---\nc", "name must"),
    ],
)
def test_what_is_no_skill_says_why(text: str, why: str | None) -> None:
    error = parse(text).error
    assert (why is None and error is not None) or (error is not None and str(why) in error)


def test_a_bomb_of_aliases_is_not_expanded() -> None:
    levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))
    told = parse(f"---\nname: a\ndescription: b\na0: &a0 [x]\n{levels}\n---\nc")
    assert told.name == "a"


@pytest.mark.parametrize(
    ("path", "fits"),
    [
        *((path, True) for path in ("a.md", "a/b.md", "scripts/run me.sh", ".hidden", "ä.md")),
        *((path, False) for path in ("", "/a", "a//b", "../a", "a/../b", "./a", "a/", "a\\b")),
        *((path, False) for path in ("a\nb", "SKILL.md", "skill.MD", "a" * 257, "/".join("a" * 9))),
        *((path, False) for path in (" /a", "a/ ../b", "a\0b")),
    ],
)
def test_a_companion_stays_beside_its_skill(path: str, fits: bool) -> None:
    assert (path_fault(path) is None) == fits


def test_a_name_is_made_an_id() -> None:
    assert slug("  My Skill!  ") == "my-skill-"
    assert slug("Ä" * 100) == "-" * 64


def test_a_skill_is_found_in_what_a_model_says() -> None:
    said = f"Here it is:\n\n```markdown\n{PLAIN}```\n\nShall I save it?"
    assert extract(said) == parse(PLAIN)
    assert extract(f"Rule:\n---\nand more\n{PLAIN}") == parse(PLAIN)
    assert extract("---\nno skill\n---\n") is None
    assert extract("") is None


def test_many_lines_that_look_like_fences_take_no_time() -> None:
    assert extract("---\n" * 60_000) is None
    assert extract("```\n---\n" * 30_000) is None
