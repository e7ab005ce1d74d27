"""Asking for forks: runs that share what another one did before a step, and pay for none of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models import budgets, idempotency, runs, steps
from models.base import db
from models.errors import Conflict
from models.events import Happening
from models.principals import Principal
from models.runs import Run
from models.steps import Step
from tasks.occasions import FOR_EXECUTORS
from tasks.runs import first_of_visit, kept, left_by, locked, move_on

SAME = (  # not the task nor its branch: the source brings its work there
    *("priority", "kind", "pipeline_id", "task", "project_name", "project_id"),
    *("agent_id", "workspace_type", "workspace_snapshot"),
)
TOLD = (  # of `meta`: the order; what else is there, such as a plan, only the source owes
    *("spawn_executor", "planner_agent_id", "project_id", "task_id", "deviation_rules"),
    *("timeout_seconds", "memory_injection", "starts", *FOR_EXECUTORS),
)


def fork(principal: Principal, source: Run, form: Mapping[str, Any], key: str | None = None) -> Run:
    """Make a run that goes on from `form["from_step"]` of another one, and ask for it.

    The step (or the execution) begins its latest visit anew; by default it is the last one worked
    on. It may spend as much as the other one, unless the form says otherwise, and its work is for
    a branch of its own. Conflict for a replay, NotFound for a step that was not worked on.
    """
    run_id = runs.id_like(source)
    with db.atomic():
        if key is not None:
            bound = idempotency.claim(principal.id, key, {**form, "fork": source.id}, run_id)
            if bound != run_id:
                return kept(bound)
        source = locked(source.id)
        if source.kind == runs.REPLAY:
            raise Conflict(
                f"Run {source.id} is a replay; fork {source.origin_id}, which it repeats"
            )
        first = _first(source, form.get("from_step"))
        shared = _before(source, first)
        run = _drafted(source, form, shared, id=run_id, owner_id=principal.id)
        run.add()
        budgets.limit(run, budgets.inherited(source, form))
        _share(run, source, shared, first)
        move_on(run)
    return run


def _first(source: Run, from_step: str | None) -> Step | None:
    """The execution the fork begins with instead; None where nothing was worked on."""
    if from_step is not None:
        return first_of_visit(source, from_step)
    executions = Step.of(source)
    return first_of_visit(source, executions[-1].id) if executions else None


def _before(source: Run, first: Step | None) -> Sequence[Step]:
    """What is over and went before: failures too, on which the way taken may rest."""
    if first is None:
        return []
    over = (steps.COMPLETED, steps.FAILED)
    return [step for step in Step.of(source) if step.number < first.number and step.state in over]


def _drafted(source: Run, form: Mapping[str, Any], shared: Sequence[Step], **columns: Any) -> Run:
    same = {name: getattr(source, name) for name in SAME}
    outputs, commit = left_by(shared)
    said = {name: form.get(name) or getattr(source, name) for name in _SAID}
    meta = {name: source.meta[name] for name in TOLD if name in source.meta}
    known: dict[str, Any] = {"origin_id": source.id, "meta": {**meta, "forked_from": source.id}}
    known["version"] = source.version_id
    return Run(**columns, **same, **said, **known, outputs=outputs, workspace_commit=commit)


def _share(run: Run, source: Run, shared: Sequence[Step], first: Step | None) -> None:
    """Have the run begin with copies of these executions, and tell of them."""
    told = {"pipelineId": run.pipeline_id, "taskDescription": run.task, "forkedFrom": source.id}
    happenings: list[Happening] = [
        ("run_created", {**told, "fromStep": first.step_id if first else None})
    ]
    for step in shared:
        changes = {"id": Step.id.default(), "run": run.id, "attempt": run.attempt}
        origin: dict[str, Any] = {"origin_id": step.origin_id or step.id, "session_id": None}
        copy = Step(**step.__data__ | changes | origin | _FREE)
        copy.add()
        happenings.append(_told(copy))
    run.record(*happenings)


def _told(step: Step) -> Happening:
    about = {"stepId": step.step_id, "agentId": step.agent_id, "executionId": step.id}
    shared = {**about, "shared": True}
    if step.state == steps.COMPLETED:
        return "step_complete", {**shared, "outputs": step.outputs, "commitHash": step.commit}
    return "step_failed", {**shared, "error": step.error, "retryCount": step.retry}


_SAID = ("model_override", "human_context")
_FREE: dict[str, Any] = {"lease_id": None, "leased_until": None, "waits_for": None}
