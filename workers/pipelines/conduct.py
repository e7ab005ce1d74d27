"""Acting on what the engine decides: the one place where runs move on.

Every function is called inside a transaction that holds the run's row lock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from models import activities, chats, replays, runs, sessions, steps
from models.base import NOW, db
from models.errors import DomainError
from models.events import Happening
from models.inbox import SYSTEM
from models.pipelines import definition_of
from models.runs import Run
from models.steps import Step
from tasks import inbox, turns
from tasks.endings import run_ended
from tasks.steps import ask_for, release_hands
from workers.pipelines.engine import Dispatch, Failed, Finished, Notice, Outcome, next_step
from workers.pipelines.retracing import retraced

Decision = Dispatch | Finished | Failed


def advance(run: Run) -> Step | None:
    """Dispatch the run's next step or end it; nothing while it is paused or a step is active.

    Gives the step that waits for somebody now, which the caller asks for or takes.
    """
    if run.kind == runs.CHAT:
        turns.advance(run)
        return None
    if run.state == runs.PENDING:
        run.move(runs.RUNNING, started_at=NOW)
        run.record(("run_started", {"pipelineId": run.pipeline_id, "attempt": run.attempt}))
        run.announce_state()
    if run.state != runs.RUNNING:
        return None
    executions = Step.of(run)
    active = [step for step in executions if step.state in steps.ACTIVE]
    if not active:
        return _follow(run, _decide(run, executions), executions)
    return next((step for step in active if step.state == steps.QUEUED), None)


def complete(run: Run, step: Step, **result: Any) -> None:
    """End a step well: outputs, text, commit, model; then move the run on."""
    step.move(steps.COMPLETED, step.holding(), completed_at=NOW, **result)
    if run.kind == runs.CHAT:
        _turned(run, step, chats.COMPLETED)
        return
    executions = Step.of(run)
    decision = _decide(run, executions)
    told = {**_of(step), "outputs": step.outputs, "commitHash": step.commit}
    run.record(("step_complete", told), session_id=step.session_id)
    _close(run, step, sessions.COMPLETED)
    _go_on(run, step, decision, executions)


def fail(run: Run, step: Step, error: str, **result: Any) -> None:
    """End a step badly; the engine decides whether it is tried again."""
    result = {"error": error, "completed_at": NOW, **result}
    step.move(steps.FAILED, step.holding(), **result)
    if run.kind == runs.CHAT:
        _turned(run, step, chats.FAILED)
        return
    executions = Step.of(run)
    decision = _decide(run, executions)
    again = isinstance(decision, Dispatch) and decision.step_id == step.step_id
    told = {**_of(step), "error": error, "retryCount": step.retry, "willRetry": again}
    run.record(("step_failed", told), session_id=step.session_id)
    _close(run, step, sessions.FAILED)
    _go_on(run, step, decision, executions)


def quarantine(run: Run, step: Step, why: str) -> None:
    """End a run whose step broke its worker again and again; only a person starts it anew.

    A chat goes on without the answer that did.
    """
    if run.kind != runs.CHAT:
        run.put(quarantined=True)
    fail(run, step, f"quarantined: {why}", final=True)


def _turned(run: Run, step: Step, state: str) -> None:
    """A turn of a chat has ended, whose session lives on."""
    _close(run, step, state)  # sessions of agents end in the same words
    turns.settled(run, step, state, step.error)


def _decide(run: Run, executions: Sequence[Step]) -> Decision:
    over = [step for step in executions if step.state in (steps.COMPLETED, steps.FAILED)]
    decision = next_step(definition_of(run.version_id), [_outcome(step) for step in over])
    if run.kind != runs.REPLAY:
        return decision
    if run.error:  # a difference, which nothing in the definition can make good
        return Failed(run.error, over[-1].step_id, outputs=decision.outputs)
    return retraced(decision, replays.record_of(run), len(over), replays.ended(run))


def _outcome(step: Step) -> Outcome:
    return Outcome(
        step_id=step.step_id,
        succeeded=step.state == steps.COMPLETED,
        outputs=step.outputs,
        error=step.error or "",
        final=step.final,
    )


def _go_on(run: Run, step: Step, decision: Decision, executions: Sequence[Step]) -> None:
    _tell(run, decision.notices)
    following = _follow(run, decision, executions) if run.state == runs.RUNNING else None
    if following is not None:
        ask_for(following)
    release_hands([step])


def _tell(run: Run, notices: Sequence[Notice]) -> None:
    """Say what an outcome brought about: once, as it comes, however often one goes on from it.

    What a pipeline has to say to an agent is left in its inbox, if there is such an agent; a replay
    only says that it was said.
    """
    if notices:
        run.record(*[_told(notice) for notice in notices])
    for notice in notices:
        if notice.kind == "agent_message" and run.kind != runs.REPLAY:
            with suppress(DomainError):
                inbox.send(run, SYSTEM, notice.data["to"], notice.data["message"])


def _follow(run: Run, decision: Decision, executions: Sequence[Step]) -> Step | None:
    """Act on the decision; gives the step that waits for somebody now."""
    if isinstance(decision, Dispatch):
        return _dispatch(run, decision, executions)
    if isinstance(decision, Finished):
        _finish(run, decision)
    else:
        _give_up(run, decision, executions)
    return None


def _dispatch(run: Run, decision: Dispatch, executions: Sequence[Step]) -> Step:
    definition = definition_of(run.version_id)
    spec = definition.step(decision.step_id)
    step = Step(
        id=Step.id.default(),
        run=run.id,
        attempt=run.attempt,
        number=_last_number(run) + 1,
        step_id=spec.id,
        agent_id=spec.agent,
        position=definition.steps.index(spec),
        visit=decision.visit,
        retry=decision.retry,
        execution=decision.execution,
        max_retries=spec.max_retries,
        tries=_lost_before(decision, executions),
        priority=run.priority,
        inputs=dict(decision.outputs),
        loop=asdict(decision.loop) if decision.loop else None,
        feedback=list(decision.feedback),
        human_context=_note_for(run, spec.id),
        queue=steps.queue_of(run),
    )
    step.add()
    run.put(current_step=spec.id, outputs=dict(decision.outputs), updated_at=NOW)
    run.record(("step_queued", _of(step)))
    return step


def _lost_before(decision: Dispatch, executions: Sequence[Step]) -> int:
    """How many workers the step has lost where its last try got stuck: it stays suspected."""
    earlier = [step for step in executions if step.step_id == decision.step_id]
    if not (decision.retry and earlier):
        return 0
    last = earlier[-1].copied()
    last.absolve()
    return last.tries


def _last_number(run: Run) -> int:
    """Numbers go on where superseded executions ended, so that each is used once."""
    text = "SELECT coalesce(max(number), 0) FROM steps WHERE run_id = %s AND attempt = %s"
    return int(db.now(text, (run.id, run.attempt)).fetchone()[0])


def _note_for(run: Run, step_id: str) -> str | None:
    """What a person said when restarting this step; said once."""
    note: Mapping[str, Any] = run.meta.get("note") or {}
    if note.get("step") != step_id:
        return None
    run.put(meta={key: value for key, value in run.meta.items() if key != "note"})
    return note.get("text")


def _finish(run: Run, decision: Finished) -> None:
    run.move(runs.COMPLETED, outputs=dict(decision.outputs), completed_at=NOW, current_step=None)
    duration = (run.completed_at or 0) - (run.started_at or run.created_at)
    run.record(("run_complete", {"outputs": run.outputs, "durationMs": duration}))
    run.announce_state()
    run_ended(run)


def _give_up(run: Run, decision: Failed, executions: Sequence[Step]) -> None:
    outputs = dict(decision.outputs)
    if run.ordered and executions:  # its only step may have failed with a report
        outputs |= executions[-1].outputs
    run.move(runs.FAILED, error=decision.error, outputs=outputs, completed_at=NOW)
    failure = {"error": decision.error, "stepId": decision.step_id, "cancelled": False}
    failure["quarantined"] = run.quarantined
    run.record(("run_failed", failure))
    run.announce_state()
    run_ended(run)


def _close(run: Run, step: Step, state: str) -> None:
    """End the step's session and write its agent's timeline."""
    sessions.close([step.id], state, step.error)
    taken = (step.completed_at or 0) - (step.started_at or step.created_at)
    about = {"runId": run.id, "stepId": step.step_id}
    session = {"sessionId": step.session_id, "durationMs": taken}
    if state == sessions.COMPLETED:
        work = ("work_complete", {**about, "outputs": step.outputs, "durationMs": taken})
        ended = ("session_completed", {**session, "outputPreview": (step.text or "")[:200]})
    else:
        work = ("work_failed", {**about, "error": step.error})
        ended = ("session_failed", {**session, "error": step.error})
    activities.note(step.agent_id, run.owner_id, run.id, work, ended)


def _of(step: Step) -> dict[str, Any]:
    return {
        "stepId": step.step_id,
        "agentId": step.agent_id,
        "executionId": step.id,
        "sessionId": step.session_id,
    }


def _told(notice: Notice) -> Happening:
    return notice.kind, {"stepId": notice.step_id, **notice.data}
