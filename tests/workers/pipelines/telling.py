"""Words for short stories about runs: steps, outcomes, and what the engine says to them."""

from __future__ import annotations

from models.definitions import AgentSpec, Definition, StepSpec
from workers.pipelines.engine import Caps, Dispatch, Outcome, next_step


def step(step_id, *outputs, **rest) -> StepSpec:
    return StepSpec(id=step_id, agent="ada", input="work", outputs=outputs, **rest)


def pipeline(*steps: StepSpec) -> Definition:
    return Definition("p", "P", "1", "", (AgentSpec("ada", "Ada"),), steps)


def done(step_id, **outputs) -> Outcome:
    return Outcome(step_id, True, outputs)


def broke(step_id, error="it broke", **blame) -> Outcome:
    return Outcome(step_id, False, {}, error, **blame)


def tell(definition, *outcomes, caps=None):
    """Feed the outcomes one by one, insisting that each answers the dispatch before it."""
    for taken, outcome in enumerate(outcomes):
        due = next_step(definition, outcomes[:taken], caps or Caps())
        assert isinstance(due, Dispatch), due
        assert due.step_id == outcome.step_id
    return next_step(definition, outcomes, caps or Caps())


def kinds(decision) -> list[str]:
    return [notice.kind for notice in decision.notices]
