"""SKILL.md: what is written is what is read, and nothing that strangers write breaks the reader."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from models.skill_texts import (
    LONGEST_DESCRIPTION,
    MOST_TAGS,
    NAME,
    Sketch,
    extract,
    parse,
    parted,
    path_fault,
    tidy,
    written,
)

LETTERS = some.characters(exclude_categories=["Cs"], exclude_characters="\0\r")
LINES = some.text(LETTERS, min_size=1, max_size=80).map(lambda text: " ".join(text.split()))
TAGS = some.lists(LINES.filter(bool).map(lambda tag: tag[:64].strip()), max_size=MOST_TAGS)
SKETCHES = some.builds(
    Sketch,
    name=some.from_regex(NAME, fullmatch=True),
    description=LINES.filter(lambda line: 0 < len(line) <= LONGEST_DESCRIPTION),
    tags=TAGS.map(lambda tags: tuple(dict.fromkeys(filter(None, tags))) or ("x",)),
    enabled=some.booleans(),
    content=some.text(LETTERS, min_size=1).map(tidy).filter(bool),
)
HEADS = some.sampled_from(
    ["---", "name: a", "description: b: c", "tags: [a, b]", "tags:", "- a", "enabled: no", "```"]
)


@given(SKETCHES)
def test_what_is_written_is_read_again(sketch: Sketch) -> None:
    assert parse(written(sketch)) == sketch


@given(SKETCHES)
def test_the_ends_of_lines_make_no_difference(sketch: Sketch) -> None:
    assert parse(written(sketch).replace("\n", "\r\n")) == sketch


@given(SKETCHES, LINES)
def test_it_is_found_in_a_longer_text(sketch: Sketch, before: str) -> None:
    if before.strip() != "---" and not sketch.content.endswith("```"):
        assert extract(f"{before}\n{written(sketch)}") == sketch


@given(some.one_of(some.text(), some.lists(HEADS | some.text(max_size=20)).map("\n".join)))
def test_nothing_breaks_the_reader(text: str) -> None:
    sketch = parse(text)
    assert sketch.error is not None or NAME.fullmatch(sketch.name)
    extract(text)
    head, body = parted(text)
    assert head is None or len(head) + len(body) <= len(text)


@given(some.text(), some.text())
def test_no_path_leads_out_of_its_folder(first: str, second: str) -> None:
    path = f"{first}/{second}"
    if path_fault(path) is None:
        parts = path.split("/")
        assert not path.startswith("/") and ".." not in parts and "" not in parts
