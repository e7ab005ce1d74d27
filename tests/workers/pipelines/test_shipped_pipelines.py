"""The shipped pipelines on the engine: where they go when all is well, and when it is not."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from models import grammar
from models.definitions import Definition, StepSpec
from workers.pipelines.engine import Dispatch, Finished, Outcome, next_step
from workers.pipelines.templates import Facts, render, variables

SHIPPED = sorted((Path(grammar.__file__).parent / "library" / "pipelines").glob("*.yml"))
TASKS = json.dumps([{"key": key, "title": f"Build {key}"} for key in ("T1", "T2", "T3")])

Play = Mapping[str, Sequence[Mapping[str, str]]]


def read(name: str) -> Definition:
    path = next(path for path in SHIPPED if path.stem == name)
    definition = grammar.parse(path.read_text()).definition
    assert definition is not None
    return definition


def well_done(step: StepSpec) -> dict[str, str]:
    """What a step hands over on its good path."""
    good = {key: TASKS if key == "task_breakdown_json" else "done" for key in step.outputs}
    if step.result_key:
        good[step.result_key] = next(iter(step.on_result))
    return good


def walked(definition: Definition, play: Play | None = None) -> list[str]:
    """The steps a run executes (with the item in a loop) until it is finished.

    `play` overrides what the nth execution of a step hands over.
    """
    outcomes: list[Outcome] = []
    path: list[str] = []
    decision = next_step(definition, outcomes)
    while isinstance(decision, Dispatch):
        step = definition.step(decision.step_id)
        turns = (play or {}).get(step.id, ())
        said = turns[decision.execution - 1] if decision.execution <= len(turns) else {}
        item = f" {json.loads(decision.loop.item)['key']}" if decision.loop else ""
        path.append(f"{step.id}{item}")
        outcomes.append(Outcome(step.id, True, {**well_done(step), **said}))
        decision = next_step(definition, outcomes)
    assert isinstance(decision, Finished)
    return path


@pytest.mark.parametrize("name", [path.stem for path in SHIPPED])
def test_a_shipped_pipeline_finishes_in_its_last_step_when_every_step_succeeds(name: str) -> None:
    definition = read(name)

    assert walked(definition)[-1] == definition.steps[-1].id


def test_engineering_reworks_the_item_that_was_found_wanting() -> None:
    path = walked(
        read("engineering"),
        {
            "REVIEW": [{"review_result": "CHANGES_REQUESTED"}],
            "TEST": [{}, {"test_result": "FAIL"}],
        },
    )

    assert path == [
        *["SPEC", "DESIGN", "UX"],
        *["IMPLEMENT T1", "REVIEW T1", "IMPLEMENT T1", "REVIEW T1", "TEST T1"],
        *["IMPLEMENT T2", "REVIEW T2", "TEST T2", "IMPLEMENT T2", "REVIEW T2", "TEST T2"],
        *["IMPLEMENT T3", "REVIEW T3", "TEST T3"],
        "DEPLOY",
    ]


def test_a_failed_release_is_repaired_by_the_tasks_it_hands_over() -> None:
    repairs = json.dumps([{"key": "R1", "title": "Read the port from the environment"}])
    failed = {"deploy_result": "FAIL", "task_breakdown_json": repairs}

    path = walked(read("engineering"), {"DEPLOY": [failed]})

    assert path[-5:] == ["DEPLOY", "IMPLEMENT R1", "REVIEW R1", "TEST R1", "DEPLOY"]


def test_a_bug_goes_back_until_the_fix_is_confirmed() -> None:
    failed = {"validation_result": "FAIL"}

    path = walked(read("bugfix"), {"VALIDATE": [failed, failed]})

    assert path == ["FIX", "VALIDATE"] * 3


def test_an_issue_gets_its_pull_request_only_after_a_pass() -> None:
    path = walked(read("resolve"), {"VALIDATE": [{"validation_result": "FAIL"}]})

    assert path == ["ANALYZE", "IMPLEMENT", "VALIDATE", "IMPLEMENT", "VALIDATE", "PR"]


@pytest.mark.parametrize("name", [path.stem for path in SHIPPED])
def test_prompts_read_well_when_nothing_but_a_task_is_given(name: str) -> None:
    task = "Add a search field"
    for step in read(name).steps:
        facts = Facts(task, "run_1", step.id, step.agent, 1)
        text = render(step.input, variables(facts))
        assert not re.search(r"#(?!\w)|``|\(\)|: *\.", text), step.id
        assert "{" + "{" not in text
