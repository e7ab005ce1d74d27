"""A run as a person follows it: a frozen picture, folded from its events one by one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from workers.pipelines.loops import NoList, read_items

TAIL = 4000  # characters of streaming text that are kept
OVER = ("completed", "failed", "cancelled")

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Spent:
    """Tokens and US dollars; `approximate` when any price was unknown or guessed."""

    calls: int = 0
    input: int = 0
    output: int = 0
    cost: float = 0.0
    approximate: bool = False

    def plus(self, call: Event) -> Spent:
        return Spent(
            self.calls + 1,
            self.input + int(call.get("input_tokens") or 0),
            self.output + int(call.get("output_tokens") or 0),
            self.cost + float(call.get("cost_total") or 0),
            self.approximate or bool(call.get("cost_approximate")),
        )


@dataclass(frozen=True)
class StepView:
    """One step of the run, whichever execution of it came last. Times are epoch milliseconds."""

    id: str
    agent: str = ""
    state: str = "waiting"
    model: str = ""
    executions: int = 0
    started: int | None = None
    ended: int | None = None
    worked: int = 0  # milliseconds of earlier executions
    doing: str = ""
    note: str = ""
    error: str = ""
    commit: str = ""
    over: str = ""  # the output whose items the step works through
    items: int | None = None
    items_done: int = 0
    items_failed: int = 0
    spent: Spent = field(default_factory=Spent)

    def elapsed(self, now: int) -> int:
        """Milliseconds of work in all executions up to `now`."""
        if self.started is None:
            return self.worked
        return self.worked + max(0, (self.ended or now) - self.started)

    @property
    def scripted(self) -> bool:
        return self.model.startswith("scripted/")


@dataclass(frozen=True)
class View:
    """A whole run; `after` is the only way forward."""

    run_id: str
    pipeline: str = ""
    task: str = ""
    state: str = "pending"
    steps: tuple[StepView, ...] = ()
    created: int | None = None
    started: int | None = None
    ended: int | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    speaking: str = ""
    text: str = ""

    @classmethod
    def of(cls, run: Mapping[str, Any], plan: Sequence[Mapping[str, Any]] = ()) -> View:
        """The view before its first event; `plan` is the pipeline's steps as the API tells them."""
        steps = tuple(
            StepView(str(step["id"]), str(step.get("agent", "")), over=_over(step)) for step in plan
        )
        return cls(run["id"], run.get("pipeline_id", ""), run.get("task", ""), steps=steps)

    def after(self, event: Event) -> View:
        """The view once `event` has happened; an event nobody knows changes nothing."""
        fold = _FOLDS.get(kind_of(event))
        return fold(self, event) if fold else self

    @property
    def over(self) -> bool:
        return self.state in OVER

    @property
    def spent(self) -> Spent:
        """All steps together."""
        each = [step.spent for step in self.steps]
        return Spent(
            sum(one.calls for one in each),
            sum(one.input for one in each),
            sum(one.output for one in each),
            sum(one.cost for one in each),
            any(one.approximate for one in each),
        )

    def elapsed(self, now: int) -> int:
        """Milliseconds since the run was created, up to its end."""
        begun = self.created or self.started
        return max(0, (self.ended or now) - begun) if begun else 0

    def step(self, step_id: str) -> StepView:
        known = (step for step in self.steps if step.id == step_id)
        return next(known, StepView(step_id))

    def changing(self, step_id: str, **changes: Any) -> View:
        """With that step changed, or added when it is new."""
        if not step_id:
            return self
        changed = replace(self.step(step_id), **changes)
        if changed.id not in {step.id for step in self.steps}:
            return replace(self, steps=(*self.steps, changed))
        steps = tuple(changed if step.id == step_id else step for step in self.steps)
        return replace(self, steps=steps)


def kind_of(event: Event) -> str:
    """The event's lower-case name, also from a server that puts the older names first."""
    name = str(event.get("type", ""))
    return name if name == name.lower() else str(event.get("legacyType", name)).lower()


def _over(step: Mapping[str, Any]) -> str:
    loop = step.get("loop")
    return str(loop.get("over", "")) if isinstance(loop, Mapping) else ""


def _step_of(event: Event) -> str:
    return str(event.get("stepId") or event.get("step_id") or "")


def _created(view: View, event: Event) -> View:
    """A run begins, or begins again: whatever an earlier attempt showed is gone."""
    steps = tuple(StepView(step.id, step.agent, over=step.over) for step in view.steps)
    fresh = View(view.run_id, view.pipeline, view.task, steps=steps)
    return replace(
        fresh,
        pipeline=event.get("pipelineId") or view.pipeline,
        task=event.get("taskDescription") or event.get("task") or view.task,
        created=event.get("timestamp"),
    )


def _run_started(view: View, event: Event) -> View:
    return replace(view, state="running", started=event.get("timestamp"))


def _queued(view: View, event: Event) -> View:
    step = view.step(_step_of(event))
    agent = event.get("agentId") or step.agent
    return view.changing(step.id, agent=agent, state="queued", doing="", **_banked(step))


def _step_started(view: View, event: Event) -> View:
    step = view.step(_step_of(event))
    view = replace(view, speaking=step.id, text="", state="running")
    return view.changing(
        step.id,
        state="running",
        agent=event.get("agentId") or step.agent,
        model=event.get("model") or step.model,
        executions=step.executions + 1,
        error="",
        doing="",
        **(_banked(step) | {"started": event.get("timestamp")}),
    )


def _banked(step: StepView) -> dict[str, Any]:
    """The time of an execution that is over moves to `worked`, once."""
    if step.started is None or step.ended is None:
        return {"worked": step.worked, "started": step.started, "ended": step.ended}
    return {"worked": step.worked + step.ended - step.started, "started": None, "ended": None}


def _ended(state: str) -> Callable[[View, Event], View]:
    def fold(view: View, event: Event) -> View:
        step = view.step(_step_of(event))
        again = state == "failed" and event.get("willRetry")
        changes = {
            "state": "retrying" if again else state,
            "ended": event.get("timestamp"),
            "error": event.get("error") or event.get("reason") or "",
            "commit": event.get("commitHash") or step.commit,
            "note": "" if state == "completed" else step.note,
            "doing": "",
        }
        handed = event.get("outputs") or {}
        known = replace(view, outputs={**view.outputs, **handed})
        return _counted(known.changing(step.id, **changes), handed)

    return fold


def _counted(view: View, outputs: Mapping[str, Any]) -> View:
    """Loops learn their length from the output they work through."""
    for step in view.steps:
        if step.over and step.over in outputs:
            length = length_of(outputs[step.over])
            view = view.changing(step.id, items=length, items_done=0, items_failed=0)
    return view


def length_of(value: Any) -> int | None:
    """How many items a loop will find in this output; None when it is no list."""
    try:
        return len(read_items("", value if isinstance(value, str) else json.dumps(value)))
    except NoList:
        return None


def _retrying(view: View, event: Event) -> View:
    changes: dict[str, Any] = {"note": str(event.get("feedback") or "")}
    if event.get("delay"):  # it is put off, and goes on where it was
        changes |= {"state": "retrying", "ended": event.get("timestamp"), "doing": ""}
    return view.changing(_step_of(event), **changes)


def _item(view: View, event: Event) -> View:
    step = view.step(_step_of(event))
    failed = kind_of(event) == "loop_item_failed"
    done, lost = step.items_done + (not failed), step.items_failed + failed
    return view.changing(step.id, items_done=done, items_failed=lost)


def _spoke(view: View, event: Event) -> View:
    text = view.text if view.speaking == _step_of(event) else ""
    tail = (text + str(event.get("chunk", "")))[-TAIL:]
    doing = "thinking" if kind_of(event) == "agent_thinking" else "writing"
    spoken = replace(view, speaking=_step_of(event), text=tail)
    return spoken.changing(_step_of(event), doing=doing)


def _called(view: View, event: Event) -> View:
    doing = str(event.get("toolName", "")) if kind_of(event) == "tool_call_start" else ""
    return view.changing(_step_of(event), doing=doing)


def _charged(view: View, event: Event) -> View:
    """A model's answer is whole: what it says next begins on a line of its own."""
    step = view.step(_step_of(event))
    text = view.text.rstrip("\n") + "\n" if view.text else ""
    return replace(view, text=text).changing(step.id, spent=step.spent.plus(event))


def _status(view: View, event: Event) -> View:
    """Pause and resume have no event of their own."""
    status = event.get("status")
    return replace(view, state=status) if status in ("paused", "running") else view


def _complete(view: View, event: Event) -> View:
    """The outputs that count, in the order in which they came to be."""
    final = event.get("outputs") or view.outputs
    outputs = {key: final[key] for key in view.outputs if key in final} | dict(final)
    return replace(view, state="completed", ended=event.get("timestamp"), outputs=outputs)


def _failed(view: View, event: Event) -> View:
    state = "cancelled" if event.get("cancelled") else "failed"
    return replace(view, state=state, ended=event.get("timestamp"), error=event.get("error") or "")


_FOLDS: Mapping[str, Callable[[View, Event], View]] = {
    "run_created": _created,
    "run_started": _run_started,
    "run_status_changed": _status,
    "step_queued": _queued,
    "step_started": _step_started,
    "step_complete": _ended("completed"),
    "step_failed": _ended("failed"),
    "step_cancelled": _ended("cancelled"),
    "step_retrying": _retrying,
    "loop_item_complete": _item,
    "loop_item_failed": _item,
    "agent_output": _spoke,
    "agent_thinking": _spoke,
    "tool_call_start": _called,
    "tool_call_end": _called,
    "llm_call": _charged,
    "run_complete": _complete,
    "run_failed": _failed,
}
