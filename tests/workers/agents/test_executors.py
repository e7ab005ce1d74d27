"""Executors: what they are offered, what they are told, and how delegating looks to a planner."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from models.agents import Agent
from tasks.executors import TOOLS, definition
from tests.workers.agents.conftest import MakeToolbox
from tests.workers.agents.recital import Reciter, call, opening, says
from workers.agents.events import Ending, Event, Limits, Nudged
from workers.agents.loop import converse
from workers.agents.prompts import Brief, assemble
from workers.agents.tools.base import Awaited
from workers.halting import Halt
from workers.llm import open_model

YUKI = Agent(id="yukihiro", name="Yukihiro", config={})
PINNED = definition(YUKI, 300)
BRIEF = Brief("pulse_exec_1", PINNED.steps[0], PINNED, "Mend it", "Mend it", tools=TOOLS)
TASK = {
    "key": "A",
    "title": "Make A",
    "project_id": "p1",
    "task_id": "T1",
    "execution_prompt": "Make A",
}


def names(box: Any) -> set[str]:
    return {spec.name for spec in box.specs}


def test_an_executor_has_endings_of_its_own_and_cannot_delegate(toolbox: MakeToolbox) -> None:
    offered = names(toolbox(allowed=TOOLS))
    assert {"executor_complete", "executor_fail", "bash"} <= offered
    assert not offered & {"complete", "fail", "spawn_executor", "swarm_execute"}


def test_delegation_is_offered_by_name_alone(toolbox: MakeToolbox) -> None:
    assert not names(toolbox()) & {"spawn_executor", "swarm_execute", "executor_complete"}
    named = names(toolbox(allowed=["swarm_execute"]))
    assert named == {"swarm_execute", "complete", "fail"}


def test_a_report_is_taken_as_it_is_and_a_failure_too(toolbox: MakeToolbox) -> None:
    box = toolbox(allowed=TOOLS)
    told = {"status": "partial", "summary": " Half of it ", "blocked_by": "rain"}
    assert not box.run(call("executor_complete", **told), Halt()).is_error
    assert box.verdict.kind == "completed"
    assert box.verdict.outputs["summary"] == "Half of it"
    assert box.verdict.outputs["commit_hashes"] == ""
    box = toolbox(allowed=TOOLS)
    assert box.run(call("executor_complete", status="done", summary="x"), Halt()).is_error
    box.run(call("executor_fail", error="no wood", details="looked"), Halt())
    assert (box.verdict.kind, box.verdict.error) == ("failed", "no wood")
    assert box.verdict.outputs["details"] == "looked"


def test_delegating_asks_others_once_the_order_makes_sense(toolbox: MakeToolbox) -> None:
    box = toolbox(allowed=["swarm_execute", "spawn_executor"])
    with pytest.raises(Awaited) as asked:
        box.run(call("swarm_execute", tasks=[TASK]), Halt())
    assert (asked.value.kind, asked.value.arguments["max_concurrent"]) == ("swarm", 3)
    order = {key: value for key, value in TASK.items() if key not in {"key", "title"}}
    with pytest.raises(Awaited) as asked:
        box.run(call("spawn_executor", **order), Halt())
    assert (asked.value.kind, asked.value.arguments["timeout_seconds"]) == ("executor", 300)


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        ({"key": "a..b"}, "'a..b' cannot be a key"),
        ({"key": "A\n"}, "cannot be a key"),
        ({"key": "a b"}, "do not fit"),
        ({"dependencies": ["A"]}, 'Invalid DAG: task "A" depends on itself'),
        ({"dependencies": ["B"]}, 'Invalid DAG: task "A" depends on unknown task "B"'),
        ({"timeout_seconds": 5}, "do not fit"),
    ],
)
def test_orders_without_sense_are_answered_at_once(
    toolbox: MakeToolbox, task: dict[str, Any], answer: str
) -> None:
    box = toolbox(allowed=["swarm_execute"])
    result = box.run(call("swarm_execute", tasks=[{**TASK, **task}]), Halt())
    assert result.is_error
    assert answer in result.text


def test_an_executor_is_nudged_by_the_names_of_its_own_endings(toolbox: MakeToolbox) -> None:
    model = Reciter([says("I am thinking."), says("All is well.")])
    talk = converse(model, toolbox(allowed=TOOLS), opening(), Limits(), Halt())
    events: list[Event] = []
    ending: Ending | None = None
    while ending is None:
        try:
            events.append(next(talk))
        except StopIteration as done:
            ending = done.value
    (nudge,) = [event for event in events if isinstance(event, Nudged)]
    assert "`executor_complete`" in nudge.text
    assert "`executor_fail`" in nudge.text
    assert ending.kind == "text"


def test_the_system_prompt_ends_with_the_rules_for_leaving_the_order() -> None:
    system = assemble(BRIEF)[0].text
    assert "`executor_complete`" in system
    assert "`complete`" not in system
    usual = system.partition("# WHEN THE ORDER DOES NOT FIT\n")[2]
    for rule in ("mend it on the spot", "guard", "keeps you from going on", "blocked_by"):
        assert rule in usual
    assert "three attempts" in usual
    assert "Nothing beyond the order" in usual
    own = assemble(replace(BRIEF, rules="Never touch the chimney."))[0].text
    assert own.endswith("this goes first:\nNever touch the chimney.")
    assert "WHEN THE ORDER" not in assemble(replace(BRIEF, tools=("read",)))[0].text


def test_work_that_could_not_be_merged_is_named() -> None:
    user = assemble(replace(BRIEF, left_out=("feat/T-B at commit abc: A.txt",)))[1].text
    assert "# Work that is missing\n" in user
    assert "- feat/T-B at commit abc: A.txt" in user
    assert "Work that is missing" not in assemble(BRIEF)[1].text


def test_the_scripted_model_brings_an_order_to_its_end(toolbox: MakeToolbox) -> None:
    model, box = open_model("scripted/demo", {}, None), toolbox(allowed=TOOLS)
    talk = converse(model, box, assemble(BRIEF), Limits(), Halt())
    assert list(talk)
    assert box.verdict.kind == "completed"
    assert box.verdict.outputs["status"] == "success"
