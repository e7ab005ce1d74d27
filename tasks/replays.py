"""Asking for replays: runs that repeat another one with every answer from its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models import idempotency, pipelines, replays, runs
from models.agents import Agent
from models.base import db
from models.errors import Conflict
from models.pipelines import Pipeline, definition_of
from models.principals import Principal
from models.runs import Run
from models.steps import Step
from tasks import executors
from tasks.runs import kept, locked, move_on

SAME = (
    *("pipeline_id", "task", "human_context", "project_name", "project_id", "model_override"),
    *("agent_id", "task_id", "task_branch", "workspace_type", "workspace_snapshot"),
)
TOLD = ("deviation_rules",)  # of `meta`: what prompts are made of


def replay(
    principal: Principal, source: Run, form: Mapping[str, Any], key: str | None = None
) -> Run:
    """Make a run that repeats an ended one, and ask for it.

    With `form["definition"]` "current" it goes by the pipeline and the agents of today, with
    "pinned" by those of then. Conflict for a run that is not over or is itself a replay, NotFound
    when its pipeline is gone.
    """
    definition = form.get("definition") or replays.CURRENT
    run_id = Run.id.default()
    with db.atomic():
        if key is not None:
            bound = idempotency.claim(principal.id, key, {**form, "replay": source.id}, run_id)
            if bound != run_id:
                return kept(bound)
        source = locked(source.id)
        _refuse(source)
        run = _drafted(source, definition, id=run_id, owner_id=principal.id)
        run.add()
        told = {"pipelineId": run.pipeline_id, "taskDescription": run.task, "replayOf": source.id}
        run.record(("run_created", {**told, "definition": definition}))
        move_on(run)
    return run


def _refuse(source: Run) -> None:
    if source.kind == runs.REPLAY:
        raise Conflict(f"Run {source.id} is a replay; replay {source.origin_id}, which it repeats")
    if source.active:
        raise Conflict(f"Run {source.id} is {source.state}; it can be replayed once it is over")


def _drafted(source: Run, definition: str, **columns: Any) -> Run:
    same = {name: getattr(source, name) for name in SAME}
    pinned = definition == replays.PINNED
    version = source.version_id if pinned else _version_of_today(source)
    meta = {name: source.meta[name] for name in TOLD if name in source.meta}
    meta |= replays.meta_of(source, Step.of(source), definition)
    about: dict[str, Any] = {"kind": runs.REPLAY, "origin_id": source.id, "meta": meta}
    return Run(**columns, **same, **about, version=version)


def _version_of_today(source: Run) -> str:
    """What the run would be pinned to if it were asked for now."""
    if source.agent_id is not None:
        seconds = definition_of(source.version_id).step(executors.STEP).timeout
        agent = Agent.find(source.agent_id)
        if agent is None:
            raise Agent.missing(source.agent_id)
        return pipelines.pin(executors.definition(agent, seconds or executors.SECONDS))
    pipeline = Pipeline.find(source.pipeline_id)
    if pipeline is None:
        raise Pipeline.missing(source.pipeline_id)
    return pipeline.runnable()
