"""Valid pipelines of any shape, ways to answer them, and playing one against the other."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import strategies as st

from models.definitions import (
    Action,
    AgentSpec,
    Definition,
    Loop,
    Notify,
    OutputSchema,
    StepSpec,
)
from models.grammar_graph import continues, reachable
from workers.pipelines.engine import Caps, Decision, Dispatch, Outcome, next_step

CAPS = Caps(executions=40, visits=4)
KEYS = ("result", "notes", "items", "status")
VALUES = ("PASS", "FAIL", "Again", "on", "1.0")
LISTS = ("[]", '["a"]', '["a", {"b": 1}]', '{"tasks": ["x", "y", "z"]}', "nonsense", "")

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
words = texts.filter(lambda text: text.strip())


def maybe(strategy):
    return st.none() | strategy


@st.composite
def actions(draw, ids):
    move = draw(st.sampled_from(("goto", "goto", "continue", "retry", "nothing")))
    return Action(
        goto=draw(st.sampled_from(ids)) if move == "goto" else None,
        continue_loop=move == "continue",
        retry=move == "retry",
        max_retries=draw(maybe(st.integers(0, 3))) if move == "retry" else None,
        notify=draw(maybe(st.builds(Notify, st.sampled_from(("ada", "bob")), words))),
    )


def loops(ids):
    target = maybe(st.sampled_from(ids))
    return st.builds(
        Loop,
        over=st.sampled_from(("items", "notes")),
        on_each_complete=target,
        on_all_complete=target,
        on_item_fail=st.sampled_from(("fail", "continue")),
    )


@st.composite
def steps(draw, step_id, ids, looping=True):
    target = maybe(st.sampled_from(ids))
    return StepSpec(
        id=step_id,
        agent=draw(st.sampled_from(("ada", "bob"))),
        input=draw(words),
        description=draw(texts),
        outputs=tuple(draw(st.lists(st.sampled_from(KEYS), max_size=3, unique=True))),
        on_complete=draw(target),
        on_result=draw(st.dictionaries(st.sampled_from(VALUES), actions(ids), max_size=3)),
        on_failure=draw(target),
        loop=draw(maybe(loops(ids))) if looping else None,
        model=draw(maybe(words)),
        tools=draw(maybe(st.lists(words, max_size=2, unique=True).map(tuple))),
        max_retries=draw(st.integers(0, 2)),
        timeout=draw(st.integers(1, 86_400)),
        max_turns=draw(st.integers(1, 2000)),
        max_output_tokens=draw(st.integers(1, 100_000)),
        temperature=draw(st.floats(0, 2)),
        thinking_level=draw(maybe(st.sampled_from(("off", "high")))),
        output_schema=draw(maybe(schemas)),
    )


schemas = st.builds(
    OutputSchema,
    name=words,
    schema=st.sampled_from(
        (
            {"type": "object", "properties": {"z": {"type": "string"}, "a": {"enum": [1, "1"]}}},
            {"type": "array", "items": {"type": "number", "minimum": 0.5}},
        )
    ),
    strict=st.booleans(),
    method=st.sampled_from(("response_format", "tool_use")),
)


@st.composite
def definitions(draw, looping=True, most=6):
    """Any valid pipeline of up to `most` steps; dead ends the grammar refuses are mended."""
    ids = [f"S{number}" for number in range(draw(st.integers(1, most)))]
    drawn = [draw(steps(step_id, ids, looping)) for step_id in ids]
    agents = (AgentSpec("ada", "Ada"), AgentSpec("bob", draw(words), persona=draw(maybe(texts))))
    definition = Definition(
        id=draw(st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True)),
        name=draw(words),
        version=draw(words),
        description=draw(texts),
        agents=agents,
        steps=tuple(drawn),
    )
    return without_dead_ends(without_stray_continues(definition))


def without_stray_continues(definition: Definition) -> Definition:
    known = {step.id: step for step in definition.steps}
    firsts = [step.loop.on_each_complete or "" for step in definition.steps if step.loop]
    inside = reachable(known, firsts)

    def tamed(step: StepSpec) -> StepSpec:
        if not continues(step) or step.id in inside:
            return step
        results = {
            value: replace(action, continue_loop=False) for value, action in step.on_result.items()
        }
        return replace(step, on_result=results)

    return replace(definition, steps=tuple(tamed(step) for step in definition.steps))


def without_dead_ends(definition: Definition) -> Definition:
    """Whatever leads nowhere goes on to the next step of the file; the last one may end the run."""
    following = [*(step.id for step in definition.steps[1:]), None]
    mended = [
        step if step.on_complete or has_way_on(step) else replace(step, on_complete=onward)
        for step, onward in zip(definition.steps, following, strict=True)
    ]
    return replace(definition, steps=tuple(mended))


def has_way_on(step: StepSpec) -> bool:
    if step.loop:
        return bool(step.loop.on_each_complete or step.loop.on_all_complete)
    return any(action.goto or action.continue_loop for action in step.on_result.values())


@dataclass(frozen=True)
class Mood:
    """How a step behaves when it is executed."""

    kind: str  # done, failed, final, lacking
    value: str
    items: str

    def outcome(self, step: StepSpec) -> Outcome:
        if self.kind in ("failed", "final"):
            blame = {self.kind: True} if self.kind != "failed" else {}
            return Outcome(step.id, False, {}, "it broke", **blame)
        outputs = dict.fromkeys(step.outputs, self.value)
        outputs |= {key: self.items for key in ("items", "notes") if key in outputs}
        if self.kind == "lacking" and outputs:
            outputs.popitem()
        return Outcome(step.id, True, {**outputs, "extra": self.value})


moods = st.builds(
    Mood,
    kind=st.sampled_from(("done", "done", "done", "done", "failed", "failed", "final", "lacking")),
    value=st.sampled_from((*VALUES, " pass ", "odd", "")),
    items=st.sampled_from(LISTS),
)
tempers = st.lists(moods, min_size=1, max_size=12)

strange_outcomes = st.lists(
    st.builds(
        Outcome,
        step_id=st.sampled_from(("S0", "S1", "S2", "S3", "nowhere")),
        succeeded=st.booleans(),
        outputs=st.dictionaries(st.sampled_from(KEYS), st.sampled_from((*VALUES, *LISTS))),
        error=texts,
        final=st.booleans(),
    ),
    max_size=20,
)


@dataclass(frozen=True)
class Played:
    """A whole run: each decision, and the outcome that was given to it when it was a dispatch."""

    decisions: list[Decision]
    outcomes: list[Outcome]

    @property
    def dispatches(self) -> list[Dispatch]:
        return [each for each in self.decisions if isinstance(each, Dispatch)]


def play(definition: Definition, temper: list[Mood], caps: Caps = CAPS) -> Played:
    """Answer every dispatch with the next mood, over and over, until the run is over."""
    outcomes: list[Outcome] = []
    decisions = [next_step(definition, outcomes, caps)]
    while isinstance(decision := decisions[-1], Dispatch):
        mood = temper[len(outcomes) % len(temper)]
        outcomes.append(mood.outcome(definition.step(decision.step_id)))
        decisions.append(next_step(definition, outcomes, caps))
        assert len(outcomes) <= caps.executions, "the run does not end"
    return Played(decisions, outcomes)
