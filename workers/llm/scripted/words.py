"""What the script writes: files, outputs and list items that speak of the task at hand."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workers.llm.scripted.scenes import Scene

CHOICE = re.compile(r"exactly one of (?P<values>.+)", re.IGNORECASE)
VERB = re.compile(
    r"^(please )?(build|create|make|write|implement|design|add|plan|fix|develop|set up) (me )?",
    re.IGNORECASE,
)
CODE = re.compile(r"IMPLEMENT|BUILD|CODE|FIX|EXECUTE|REFACTOR")
TEST = re.compile(r"TEST|VALIDATE|VERIFY|QA")
REVIEW = re.compile(r"REVIEW|AUDIT")
RELEASE = re.compile(r"DEPLOY|RELEASE")
PARTS = ("Lay the foundation of {}", "Build the core of {}", "Round off {}")
LONGEST = 80  # characters of a subject


@dataclass(frozen=True)
class Theme:
    """The scene as material for texts."""

    scene: Scene

    @property
    def subject(self) -> str:
        """What the work is about, without its verb: `a REST API for a todo app`."""
        about = self.scene.item or self.scene.task or self.scene.said
        line = VERB.sub("", about.strip().partition("\n")[0]).strip().rstrip(".:")
        return line[:LONGEST].strip() or "the task"

    @property
    def slug(self) -> str:
        """The subject as a file name that is a Python identifier."""
        words = re.findall(r"[a-z0-9]+", self.subject.lower())
        words = words[1:] if words[0:1] in (["a"], ["an"], ["the"]) else words
        short = "_".join(words)[:40].strip("_")
        return short if short and not short[0].isdigit() else f"part_{short}".rstrip("_")

    def title(self, number: int) -> str:
        """A title for the item `number` (from 0) of some list."""
        named = PARTS[number] if number < len(PARTS) else f"Part {number + 1} of {{}}"
        return named.format(self.subject)

    def files(self) -> dict[str, str]:
        """The files this step leaves, the most telling one first."""
        step = self.scene.step.upper()
        if CODE.search(step):
            return {
                f"src/{self.slug}.py": self._module(),
                f"tests/test_{self.slug}.py": self._test(),
            }
        if TEST.search(step):
            return {f"tests/check_{self.slug}.py": self._module()}
        if REVIEW.search(step):
            return {f"docs/reviews/{self.slug}.md": self._page()}
        if RELEASE.search(step):
            return {"docs/runbook.md": self._page(), "CHANGELOG.md": self._page()}
        name = re.sub(r"[^a-z0-9]+", "-", step.lower()).strip("-") or "notes"
        return {f"docs/{name}.md": self._page()}

    def _signature(self) -> str:
        return f"Step {self.scene.step}, execution {self.scene.execution}, by scripted/demo."

    def _page(self) -> str:
        heading = f"{self.scene.step.replace('_', ' ').title()}: {self.subject}"
        return (
            f"# {heading}\n\n{self._signature()}\n\n"
            f"Status: draft\n\n- Aim: {self.subject}\n- Done when: the checks of this step pass\n"
        )

    def _module(self) -> str:
        return (
            f'"""{_quotable(self.subject)}\n\n{self._signature()}\n"""\n\nSTATUS = "draft"\n\n\n'
            f"def describe() -> str:\n    return {json.dumps(self.subject)}\n"
        )

    def _test(self) -> str:
        return (
            f'"""{self._signature()}"""\n\nfrom pathlib import Path\n\n\n'
            f"def test_{self.slug}_can_be_described():\n"
            f'    source = Path(__file__).parents[1] / "src" / "{self.slug}.py"\n'
            f'    assert "def describe" in source.read_text()\n'
        )

    def outputs(self) -> dict[str, str]:
        """A value for every output the step declares, of the form its hint asks for."""
        declared = dict(self.scene.outputs) | {
            key: "" for key in self.scene.missing if key not in self.scene.outputs
        }
        return {key: self._output(key, hint) for key, hint in declared.items()}

    def _output(self, key: str, hint: str) -> str:
        choice = CHOICE.search(hint)
        if choice:
            return choice["values"].split("|")[0].strip().strip("`\"'.")
        if "JSON array" in hint:
            return json.dumps(self.items("task"), ensure_ascii=False)
        if key.endswith("_json"):
            plural = key.removesuffix("_json").rpartition("_")[2]
            items = self.items(plural.rstrip("s"))
            return json.dumps({plural: items}, ensure_ascii=False)
        if key == "files_changed":
            return "\n".join(self.files())
        if "title" in key:
            return self.subject
        name = key.replace("_", " ").capitalize()
        return f"{name} for {self.subject}: see {next(iter(self.files()))}. {self._signature()}"

    def items(self, kind: str) -> list[Mapping[str, Any]]:
        """Two work items as our pipelines describe them."""
        return [self._work_item(kind, number) for number in range(2)]

    def _work_item(self, kind: str, number: int) -> Mapping[str, Any]:
        key = f"T{number + 1}"
        parent = {} if kind == "task" else {"parent_key": key}
        return {
            "key": key if kind == "task" else f"{key}.1",
            **parent,
            "title": self.title(number),
            "description": f"{self.title(number)}, small enough to be checked on its own.",
            "acceptance_criteria": [f"{self.title(number)}: its test passes"],
            "priority": f"P{number + 1}",
            "work_type": "feature",
            "estimated_hours": 2,
            "dependencies": [] if number == 0 or kind != "task" else ["T1"],
            "tags": ["demo"],
        }


def _quotable(text: str) -> str:
    return text.replace("\\", "/").replace('"', "'")
