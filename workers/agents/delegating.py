"""Handing work to others: what an act of an agent launches, and what comes back of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from models import ledger, runs, swarms
from models.base import db
from models.errors import DomainError
from models.runs import Run
from models.steps import Step
from models.swarms import Swarm, SwarmTask
from tasks import executors
from tasks import swarms as swarm_tasks
from workers.agents.tools.base import Awaited
from workers.workspaces import Saved, Start


@dataclass(frozen=True)
class Outcome:
    """What the agent is told, and the files that those who did the work have left."""

    text: str
    branches: tuple[Start, ...] = ()


def launch(run: Run, step: Step, delegated: Awaited) -> str | None:
    """Ask for the swarm or executor of an act, once however often it is tried; gives its id.

    Called in the transaction that lets go of the step. They begin with the planner's files. None
    where they cannot be had: that is the act's outcome then, as the agent hears when it goes on.
    """
    execution_id, seq = _act(delegated.asked_by)
    try:
        with db.atomic():
            delegate_id = _launched(run, step, delegated)
    except DomainError as error:
        ledger.come_to(execution_id, seq, f"It was not begun: {error}")
        return None
    ledger.launched(execution_id, seq, delegate_id)
    return delegate_id


def _launched(run: Run, step: Step, delegated: Awaited) -> str:
    form = _led({**delegated.arguments, "agent_id": step.agent_id}, run.meta.get("executor_model"))
    form = _bounded(form, run.meta.get("executor_timeout_sec"))
    base = delegated.base
    starts = [{"branch": "base", "commit": base.commit, "snapshot": base.snapshot}] if base else []
    known = {"asked_by": delegated.asked_by, "parent_id": run.id}
    if delegated.kind == "swarm":
        return str(swarm_tasks.launch(run.owner_id, form, **known, starts=starts).id)
    return str(executors.spawn(run.owner_id, form, **known, meta={"starts": starts}).id)


def _led(form: dict[str, Any], model: str | None) -> dict[str, Any]:
    """The order, carried out by the model that the planner's routine names, unless it names one."""
    if model is None:
        return form
    if "tasks" in form:
        led = [{**each, "model": each.get("model") or model} for each in form["tasks"]]
        return {**form, "tasks": led}
    return {**form, "model_override": form.get("model_override") or model}


def _bounded(form: dict[str, Any], seconds: int | None) -> dict[str, Any]:
    """The order, with the time that the planner's routine gives executors, whatever it asks for."""
    if seconds is None:
        return form
    if "tasks" in form:
        whole = max(seconds, form.get("global_timeout_seconds") or 0)
        timed = [{**each, "timeout_seconds": seconds} for each in form["tasks"]]
        return {**form, "tasks": timed, "global_timeout_seconds": whole}
    return {**form, "timeout_seconds": seconds}


def outcome(asked_by: str, launched: str | None = None) -> Outcome | None:
    """What came of the swarm or executor that an act asked for; None until it has ended.

    `launched` is its id, if the act has come so far: one that is there no more was deleted.
    """
    if (text := executors.result_for(asked_by)) is not None:
        return Outcome(text, _left_by(Run.find(executors.id_of(asked_by))))
    if (text := swarm_tasks.result_for(asked_by)) is not None:
        return Outcome(text, _left_by_tasks(asked_by))
    if launched and Run.find(launched) is None and Swarm.find(launched) is None:
        return Outcome("It was deleted before you heard of it: nobody knows what came of it.")
    refusal = ledger.word_of(*_act(asked_by))
    return Outcome(refusal) if refusal else None


def _act(asked_by: str) -> tuple[str, int]:
    """The execution and the number of the act that has this name."""
    execution_id, _, seq = asked_by.rpartition(":")
    return execution_id, int(seq)


def _left_by(run: Run | None) -> tuple[Start, ...]:
    if run is None or run.state != runs.COMPLETED:
        return ()
    return _start(str(run.task_branch), run.workspace_commit, run.workspace_snapshot)


def _left_by_tasks(asked_by: str) -> tuple[Start, ...]:
    """The branches of tasks that were done and on which nothing was built further."""
    swarm = swarms.asked(asked_by)
    tasks = SwarmTask.of(swarm) if swarm else ()
    done = [task for task in tasks if task.state == swarms.COMPLETED]
    built_on = {key for task in done for key in task.dependencies}
    tips = [task for task in done if task.key not in built_on]
    return tuple(
        start for task in tips for start in _start(task.branch, task.commit, task.snapshot)
    )


def _start(name: str, commit: str | None, snapshot: str | None) -> tuple[Start, ...]:
    return (Start(name, Saved(commit, snapshot)),) if commit and snapshot else ()
