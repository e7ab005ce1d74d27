from __future__ import annotations

import pytest

from tests.workers.agents.conftest import MakeToolbox
from tests.workers.agents.recital import Reciter, says
from tests.workers.agents.test_loop import held
from workers.agents.events import Limits, Nudged
from workers.agents.finishing import as_outputs
from workers.llm.base import Reply, Shape


def test_a_small_model_is_held_to_a_shape_and_offered_no_tools(toolbox: MakeToolbox) -> None:
    schema = {
        "type": "object",
        "properties": {"result": {"enum": ["PASS", "FAIL"]}, "items": {"type": "array"}},
        "required": ["result", "items"],
    }
    model = Reciter([says('{"result": "MAYBE"}'), says('{"result": "PASS", "items": ["a"]}')])
    limits = Limits(declared=("result", "items"), shape=Shape("outputs", schema))
    told = held(model, toolbox(), limits)
    assert told.ending.kind == "completed"
    assert told.ending.outputs["result"] == "PASS"
    assert told.ending.outputs["items"] == '["a"]'
    assert "'MAYBE' is not one of" in told.of(Nudged)[0].text
    assert model.heard[0].tools == ()
    assert model.heard[0].options.shape == limits.shape


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (says("not json"), "not valid JSON"),
        (says('{"tasks": []}'), "every list in it is empty"),
        (says('{"tasks": ["a', stop="length"), "cut off at the output limit"),
    ],
)
def test_a_structured_answer_that_never_fits_fails_the_step(
    toolbox: MakeToolbox, reply: Reply, fault: str
) -> None:
    model = Reciter([reply])
    limits = Limits(shape=Shape("plan", {"type": "object"}), declared=("plan",))
    told = held(model, toolbox(), limits)
    assert told.ending.kind == "failed"
    assert fault in told.ending.error
    assert len(model.heard) == 3


def test_a_fence_around_the_json_does_no_harm(toolbox: MakeToolbox) -> None:
    model = Reciter([says('```json\n{"plan": "go"}\n```')])
    limits = Limits(shape=Shape("plan", {"type": "object"}), declared=("plan",))
    assert held(model, toolbox(), limits).ending.outputs["plan"] == "go"


def test_an_answer_whose_fields_are_not_declared_is_stored_whole() -> None:
    value = {"tasks": ["a"]}
    assert as_outputs(value, ["breakdown"])["breakdown"] == '{"tasks": ["a"]}'
    assert as_outputs(value, ["tasks"])["tasks"] == '["a"]'
    assert as_outputs([1], ["list"])["list"] == "[1]"
    assert as_outputs(value, ["a", "b"]) == {"_structured_json": '{"tasks": ["a"]}'}
