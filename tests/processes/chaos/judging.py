"""Comparing what was asked for with what has become of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from models import base
from models.invariants import breaches
from tests.processes.chaos import mind
from tests.processes.chaos.load import OVER
from tests.processes.chaos.mind import Scene
from tests.processes.chaos.model import PaidModel
from tests.processes.chaos.scenery import Scenery
from tests.processes.chaos.stage import Stage
from tests.processes.chaos.verdict import Verdict
from tests.processes.chaos.watching import Recovery, ownerless
from tests.servers.provider import Answer

ABOUT_FILES = re.compile(r"workspace|no space|disk|No such file", re.IGNORECASE)
RUN = re.compile(r"\b(run|pulse_exec)_[0-9a-f]+")
SLOW = 3.0  # seconds after which a recovery is told of
CALL_TOKENS = sum(Answer.tokens)  # what the model counts for each call
GRACE = 5.0  # seconds in which an acknowledged cancel must have stopped the agent
RUNS = """
    SELECT id, state, event_seq, error FROM runs
    UNION ALL SELECT id, state, 0, coalesce(
        (SELECT string_agg(key || ': ' || error, '; ') FROM swarm_tasks
         WHERE swarm_id = swarms.id AND error IS NOT NULL),
        error, merges::text) FROM swarms"""
INTERRUPTED = """
    SELECT count(*) FROM sessions WHERE execution_id IS NOT NULL
      AND state IN ('failed', 'cancelled')"""
BUDGETS = """
    SELECT run_id, limit_tokens, spent_tokens + reserved_tokens FROM budgets
    WHERE run_id IS NOT NULL AND limit_tokens IS NOT NULL"""
MARKERS = """
    SELECT marker, count(*) FROM (
        SELECT substring(task FROM 'chaos-[0-9]{6}-[0-9]+') AS marker FROM runs
        WHERE kind = 'pipeline'
        UNION ALL SELECT title FROM swarm_tasks) AS asked
    GROUP BY marker HAVING count(*) > 1"""
HISTORY = """
    SELECT type, created_at, coalesce(data->>'reason', data->>'error', data->>'executionId', '')
    FROM events
    WHERE run_id = %s AND type NOT LIKE 'tool%%' AND type NOT LIKE 'llm%%' ORDER BY seq"""
LET_GO = """
    SELECT min(completed_at) FROM sessions
    WHERE execution_id = %s AND completed_at BETWEEN %s AND %s"""
WAITS = """
    SELECT queued.run_id, queued.data->>'stepId', queued.created_at, min(begun.created_at)
    FROM events AS queued JOIN events AS begun ON begun.run_id = queued.run_id
        AND begun.type = 'step_started' AND begun.data->>'stepId' = queued.data->>'stepId'
        AND begun.seq > queued.seq
    WHERE queued.type = 'step_queued' GROUP BY 1, 2, 3
    ORDER BY min(begun.created_at) - queued.created_at DESC LIMIT %s"""
FINISHED = """
    SELECT run_id, attempt, step_id, visit, retry, execution FROM steps
    WHERE state = 'completed' AND agent_id = 'doer'"""
SEALED = """
    SELECT sealed_at FROM ledger JOIN steps ON steps.id = execution_id
    WHERE run_id = %s AND attempt = %s AND step_id = %s AND visit = %s AND retry = %s
      AND execution = %s AND ledger.kind = 'model' ORDER BY seq"""


def judge(scenery: Scenery, faults: int, cursor: Any) -> Verdict:
    """The verdict of a campaign that has come to rest."""
    stage, load, watch = scenery.stage, scenery.load, scenery.watch
    cursor.execute(RUNS)
    runs = {row[0]: row[1:] for row in cursor.fetchall()}
    verdict = Verdict(faults=faults, runs=len(runs))
    verdict.lost = list(_lost(scenery, runs, verdict))
    cursor.execute(MARKERS)
    verdict.double_runs = [f"{marker}: {count} runs" for marker, count in cursor.fetchall()]
    verdict.duplicate_acts = [f"{key}: {count}" for key, count in stage.sink.doubles().items()]
    cursor.execute(FINISHED)
    verdict.missing_acts = [key for key in _owed(cursor.fetchall()) if not stage.sink.known(key)]
    verdict.acts_after_cancel = list(_late_acts(scenery, runs))
    verdict.unknown_outcomes = len(stage.model.unknown)
    _judge_calls(verdict, stage.model, cursor)
    _judge_streams(verdict, scenery, runs)
    found = ownerless(cursor)
    verdict.ownerless = [f"{what}: {row}" for what, rows in found.items() for row in rows]
    verdict.complaints = [f"{count} x {told}" for told, count in load.complaints.items()]
    for recovery in watch.recoveries:
        clean = _stood_by(recovery, stage)
        (verdict.recoveries if clean else verdict.compound).append(recovery.seconds)
    verdict.drains, verdict.late = scenery.drains, scenery.late
    _judge_budgets(verdict, stage.model.calls_of_runs(), cursor)
    verdict.breaches = list(_breaches(stage.postgres.url))
    return verdict


def stories(cursor: Any, verdict: Verdict, began: float, count: int) -> Iterator[str]:
    """What the history tells of runs with which something is wrong: when (s), and what happened."""
    lines = [line for found in verdict.faulty.values() for line in found]
    for run_id in dict.fromkeys(found[0] for line in lines if (found := RUN.search(line))):
        if (count := count - 1) < 0:
            break
        cursor.execute(HISTORY, (run_id,))
        told = [
            f"{at / 1000 - began:.1f} {kind} {why or ''}" for kind, at, why in cursor.fetchall()
        ]
        yield f"story of {run_id}: {'; '.join(told)}"


def waits(cursor: Any, began: float, count: int) -> Iterator[str]:
    """The steps that waited longest for a worker, with when they began to."""
    cursor.execute(WAITS, (count,))
    for run, step, queued, begun in cursor.fetchall():
        seconds, since = (begun - queued) / 1000, queued / 1000 - began
        yield f"{step} of {run} waited {seconds:.1f} s from {since:.1f}"


def _stood_by(recovery: Recovery, stage: Stage) -> bool:
    """Whether another worker and a clock were there to take over all the time, and both stores."""
    start, end = recovery.killed_at, recovery.claimed_at
    missing = any(stage.fleet.nobody(kind, start, end) for kind in (recovery.queue, "clock"))
    return not missing and not stage.outages.touch(start, end)


def slow_recoveries(scenery: Scenery, cursor: Any) -> Iterator[str]:
    """The take-overs that took longest, and when it was seen that the worker was gone."""
    stage, began = scenery.stage, scenery.began
    for recovery in scenery.watch.recoveries:
        start, end = recovery.killed_at, recovery.claimed_at
        if recovery.seconds > SLOW and _stood_by(recovery, stage):
            cursor.execute(LET_GO, (recovery.step, start * 1000, end * 1000))
            (let_go,) = cursor.fetchall()[0]
            told = "nobody knows when" if let_go is None else f"{let_go / 1000 - start:.1f} s"
            when = f"after its worker's end at {start - began:.1f}"
            took = f"taken over {recovery.seconds:.1f} s {when}"
            yield f"{recovery.step} of {recovery.queue} let go {told}, {took}"


def _lost(scenery: Scenery, runs: dict[str, Any], verdict: Verdict) -> Iterator[str]:
    """Runs that did not end as they had to."""
    for asked in scenery.load.asked:
        state, _, error = runs.get(asked.id, ("gone", 0, ""))
        if state in asked.expected and asked.reason in (error or ""):
            continue
        if state == "failed" and scenery.disk_trouble and ABOUT_FILES.search(error or ""):
            verdict.closed += 1
            continue
        yield f"{asked.id} ({asked.form.get('pipeline_id', asked.kind)}) is {state}: {error}"
    known = {asked.id for asked in scenery.load.asked}
    for run_id, (state, _, _) in runs.items():
        if run_id not in known and state not in OVER:  # an executor of a swarm, or nobody's
            yield f"{run_id} is {state}"


def _owed(rows: list[tuple[Any, ...]]) -> Iterator[str]:
    """The acts that the finished steps say they have done."""
    for run, attempt, step, visit, retry, execution in rows:
        scene = Scene(run, attempt, step, visit, retry, execution, 0, "", False)
        yield from mind.acts_of(scene)


def _late_acts(scenery: Scenery, runs: dict[str, Any]) -> Iterator[str]:
    for asked in scenery.load.asked:
        latest = scenery.stage.sink.latest.get(asked.id, 0.0)
        cancelled = asked.cancelled_at if runs.get(asked.id, ("",))[0] == "cancelled" else None
        if cancelled and latest > cancelled + GRACE:
            yield f"{asked.id} acted {latest - cancelled:.1f} s after its cancel"


def _breaches(url: str) -> Iterator[str]:
    """What the product's own checker of invariants finds."""
    base.connect(url, 2)
    with base.db.connection_context():
        for breach in breaches():
            yield f"{breach.invariant}: {', '.join(breach.rows)}"
    base.db.close_all()


def _judge_budgets(verdict: Verdict, calls: Counter[str], cursor: Any) -> None:
    """No limit is passed, neither by what was written down nor by what the model was asked for."""
    cursor.execute(BUDGETS)
    for run_id, limit, spent in cursor.fetchall():
        verdict.budgeted += 1
        taken = calls[run_id] * CALL_TOKENS
        if max(spent, taken) > limit:
            verdict.overspent.append(f"{run_id}: {limit} allowed, {spent} counted, {taken} taken")


def _judge_calls(verdict: Verdict, model: PaidModel, cursor: Any) -> None:
    """A call asked again is excused when its first answer had not been sealed by then.

    Each session that lost its worker, or was told to stop, may have had one call in flight.
    """
    for key, times in model.repeats().items():
        run, step, numbers, turn = key.rsplit(":", 3)
        attempt, visit, retry, execution = map(int, numbers.split("."))
        cursor.execute(SEALED, (run, attempt, step, visit, retry, execution))
        sealed = [row[0] for row in cursor.fetchall()][int(turn) : int(turn) + 1]
        for asked in times[1:]:
            if sealed and sealed[0] is not None and sealed[0] / 1000 < asked:
                when = f"at {asked:.1f}, first at {times[0]:.1f}, sealed at {sealed[0] / 1000:.1f}"
                verdict.repeated_calls.append(f"{key} asked again though sealed, {when}")
            else:
                verdict.repeated_in_flight += 1
    cursor.execute(INTERRUPTED)
    excused = cursor.fetchall()[0][0] + model.troubled
    if verdict.repeated_in_flight > excused:
        verdict.repeated_calls.append(
            f"{verdict.repeated_in_flight} asked again in flight, {excused} sessions interrupted"
        )


def _judge_streams(verdict: Verdict, scenery: Scenery, runs: dict[str, Any]) -> None:
    followers = scenery.followers
    verdict.streams, verdict.cuts = len(followers.seen), followers.cuts
    for seen in followers.seen:
        verdict.sse_gaps += seen.gaps
        verdict.sse_doubles += seen.doubles
        state, number, _ = runs.get(seen.asked.id, ("gone", 0, ""))
        if not seen.ended and state in OVER:
            verdict.sse_gaps.append(f"{seen.asked.id}: no end after {seen.last} of {number}")
        elif seen.last != number and not seen.asked.restarted:
            verdict.sse_gaps.append(f"{seen.asked.id}: ended after {seen.last} of {number}")
