"""Asking for swarms: launch, cancel, and what the end of an executor's run asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models import activities, board, branches, budgets, dag, events, idempotency, swarms
from models.agents import Agent
from models.base import NOW, database_ms, db, dumps
from models.dag import Node
from models.errors import Conflict, Invalid
from models.projects import worked_on
from models.runs import Run
from models.swarms import Swarm, SwarmTask
from tasks import outcomes, task
from tasks.steps import awaken

UNMERGED_MS = 60_000  # after which a merge counts as lost
PREVIEW = 500  # characters of an output that an event repeats


@task(queue="short")
def advance(swarm_id: str) -> None:
    """Take in the tasks that have ended, start those that may begin, end the swarm."""


@task(queue="short")
def stop_executors(swarm_id: str) -> None:
    """Cancel the runs of tasks that the swarm has cancelled."""


@task(queue="executors")
def merge(swarm_id: str) -> None:
    """Bring the branches of each task together, then end the swarm."""


def launch(
    owner_id: str | None,
    form: Mapping[str, Any],
    asked_by: str | None = None,
    key: str | None = None,
    **made_for: Any,
) -> Swarm:
    """Make a swarm and ask for it; Invalid when its tasks cannot be done, NotFound without agent.

    The same `asked_by` (an act of a planner) or idempotency key gives the same swarm. `made_for`
    are further columns: the planner's run (`parent_id`), the files to begin with (`starts`).
    """
    agent = Agent.find(form["agent_id"])
    if agent is None:
        raise Agent.missing(form["agent_id"])
    tasks = drafted(owner_id, form)
    with db.atomic():
        swarm = _made(owner_id, agent, form, asked_by=asked_by, **made_for)
        if key is not None:
            bound = idempotency.claim(owner_id or "", key, {**form, "swarm": True}, swarm.id)
            if bound != swarm.id:
                return _known(bound)
        kept = swarms.asked(asked_by) if asked_by else None
        return kept or _asked_for(swarm, tasks, budgets.limits_of(form))


def cancel(swarm_id: str, reason: str = "Cancelled by a person") -> Swarm:
    """End an active swarm and all its executors; one that is over is a Conflict."""
    with db.atomic():
        swarm = Swarm.locked(swarm_id)
        if swarm is None:
            raise Swarm.missing(swarm_id)
        if swarm.over:
            raise Conflict(f"Swarm {swarm.id} is over (it is {swarm.state})")
        call_off(swarm, SwarmTask.of(swarm), swarms.CANCELLED, reason)
    return swarm


def call_off(swarm: Swarm, tasks: Sequence[SwarmTask], state: str, reason: str) -> None:
    """End the swarm before its tasks have ended; the caller holds its lock."""
    for each in tasks:
        if each.state not in swarms.TASK_OVER:
            each.move(swarms.CANCELLED, error=reason, completed_at=NOW)
    end(swarm, tasks, state, reason)
    stop_executors.enqueue(swarm.id)


def end(
    swarm: Swarm, tasks: Sequence[SwarmTask], state: str, error: str | None = None, **told: Any
) -> None:
    """Write down how a swarm ended and tell whoever waits for it; the caller holds its lock."""
    swarm.move(state, error=error, completed_at=NOW, **told)
    outcomes.swarm_ended(swarm, tasks)
    summary = swarms.summary(swarm, tasks)
    short = {**summary, "taskResults": [_short(result) for result in summary["taskResults"]]}
    if state == swarms.COMPLETED:
        tell(swarm, "swarm_complete", summary=short)
    else:
        tell(swarm, "swarm_failed", error=error, summary=short)
    tally = {name: summary[name] for name in ("totalTasks", "completed", "failed", "skipped")}
    outcome = {"swarmId": swarm.id, "status": "success" if state == swarms.COMPLETED else "failed"}
    ended = {**outcome, **tally, "durationMs": summary["totalDurationMs"]}
    activities.note(swarm.agent_id, swarm.owner_id, swarm.parent_id, ("swarm_completed", ended))
    if swarm.asked_by:
        awaken.enqueue(_execution(swarm.asked_by))


def tell(swarm: Swarm, kind: str, **data: Any) -> None:
    """Tell the streams of a swarm's progress."""
    told = kind, {"swarmId": swarm.id, **data}
    events.announce(swarm.owner_id, told, project_id=swarm.project_id)


def run_ended(run: Run) -> None:
    """A run is over or about to be deleted: ask for whatever waits for that.

    It only asks, and so takes no lock; a swarm is locked before its runs, never after.
    """
    if swarm_id := run.meta.get("swarm_id"):
        advance.enqueue(swarm_id)
    elif asked_by := run.meta.get("asked_by"):
        awaken.enqueue(_execution(asked_by))


def result_for(asked_by: str) -> str | None:
    """What the planner is told of the swarm that this act launched; None while it is at work."""
    swarm = swarms.asked(asked_by)
    if swarm is None or not swarm.over:
        return None
    tasks = SwarmTask.of(swarm)
    skipped = [each.key for each in tasks if each.state == swarms.SKIPPED]
    told = {"swarm_id": swarm.id, "status": swarm.state, "error": swarm.error}
    more = {"skippedTasks": skipped, "merges": swarm.merges or []}
    return dumps({**told, **swarms.summary(swarm, tasks), **more})


def sweep(older_than_ms: int) -> None:
    """Ask again for what swarms wait for, where a request got lost on its way."""
    with db.atomic():
        for swarm_id in swarms.stalled(older_than_ms):
            advance.enqueue_once(swarm_id, swarm_id)
        for swarm_id in swarms.unmerged(UNMERGED_MS):
            merge.enqueue_once(swarm_id, swarm_id)
        for swarm_id in swarms.forsaken():
            stop_executors.enqueue_once(swarm_id, swarm_id)


def drafted(owner_id: str | None, form: Mapping[str, Any]) -> list[SwarmTask]:
    """The rows for the tasks of a request; Invalid names everything that is wrong with them."""
    known = board.free_branches({told["task_id"] for told in form["tasks"]}, owner_id)
    firsts: dict[str, str] = {}
    tasks: list[SwarmTask] = []
    for number, told in enumerate(form["tasks"]):
        named = branches.task_branch(told["task_id"], told["title"])
        named = known.get((told["project_id"], told["task_id"]), named)
        branch = branches.executor_branch(firsts.setdefault(told["task_id"], named), told["key"])
        needs = list(dict.fromkeys(told.get("dependencies") or ()))
        ready = swarms.PENDING if needs else swarms.READY
        row = {**told, "dependencies": needs}
        row["branch"] = branches.another(branch, [each.branch for each in tasks])
        tasks.append(SwarmTask(number=number, state=ready, **row))
    refuse_impossible(tasks)
    return tasks


def refuse_impossible(nodes: Sequence[Node]) -> None:
    """Raise Invalid when tasks depend on each other in a way that nobody can follow."""
    problems = dag.problems(nodes)
    if problems:
        faults = [
            {"loc": ["body", "tasks", each.index, each.name], "msg": each.message, "type": "dag"}
            for each in problems
        ]
        told = "; ".join(each.message for each in problems)
        raise Invalid(f"Invalid DAG: {told}", errors=faults)


def _made(owner_id: str | None, agent: Agent, form: Mapping[str, Any], **made_for: Any) -> Swarm:
    seconds = form.get("global_timeout_seconds") or 1800
    return Swarm(
        id=Swarm.id.default(),
        owner_id=owner_id,
        agent_id=agent.id,
        project_id=worked_on(owner_id, [task["project_id"] for task in form["tasks"]]),
        max_concurrent=form.get("max_concurrent") or 3,
        deviation_rules=form.get("deviation_rules") or "",
        global_timeout_seconds=seconds,
        deadline=database_ms() + seconds * 1000,
        **made_for,
    )


def _asked_for(swarm: Swarm, tasks: Sequence[SwarmTask], limits: Mapping[str, Any]) -> Swarm:
    swarm.add()
    budgets.limit_swarm(swarm.id, limits)
    for each in tasks:
        each.swarm = swarm.id
        each.add()
    began = {"swarmId": swarm.id, "totalTasks": len(tasks), "maxConcurrent": swarm.max_concurrent}
    activities.note(swarm.agent_id, swarm.owner_id, swarm.parent_id, ("swarm_started", began))
    about = {"agentId": swarm.agent_id, "projectId": tasks[0].project_id}
    tell(swarm, "swarm_launched", **about, totalTasks=len(tasks))
    advance.enqueue(swarm.id)
    advance.enqueue_at(swarm.deadline, swarm.id)
    return swarm


def _known(swarm_id: str) -> Swarm:
    swarm = Swarm.find(swarm_id)
    if swarm is None:
        raise Conflict(f"This Idempotency-Key led to {swarm_id}, which is no swarm any more")
    return swarm


def _execution(asked_by: str) -> str:
    """The step execution that an act belongs to."""
    return asked_by.rpartition(":")[0]


def _short(result: Mapping[str, Any]) -> dict[str, Any]:
    outputs = {key: value[:PREVIEW] for key, value in (result.get("outputs") or {}).items()}
    return {**result, "outputs": outputs} if outputs else dict(result)
