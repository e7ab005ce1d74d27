"""Comparing what was asked for with what has become of it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from models import base
from models.invariants import breaches
from tests.processes.chaos import mind, watching
from tests.processes.chaos.library import SWARM
from tests.processes.chaos.load import OVER
from tests.processes.chaos.mind import Scene
from tests.processes.chaos.model import PaidModel
from tests.processes.chaos.scenery import Scenery
from tests.processes.chaos.stage import Outages
from tests.processes.chaos.verdict import P99_GOAL, Verdict
from tests.processes.chaos.watching import Recovery, ownerless
from tests.servers.provider import Answer

ABOUT_FILES = re.compile(r"workspace|no space|disk|No such file", re.IGNORECASE)
RUN = re.compile(r"\b(run|pulse_exec)_[0-9a-f]+")
SLOW = 3.0  # seconds after which a recovery is told of
CALL_TOKENS = sum(Answer.tokens)  # what the model counts for each call
GRACE = 5.0  # seconds in which an acknowledged cancel must have stopped the agent
NEAR = 30.0  # seconds in which a step fails, after its three retries, that has lost its files
RUNS = """
    SELECT id, state, event_seq, error, completed_at / 1e3::float8 FROM runs
    UNION ALL SELECT id, state, 0, coalesce(
        (SELECT string_agg(key || ': ' || error, '; ') FROM swarm_tasks
         WHERE swarm_id = swarms.id AND error IS NOT NULL),
        error), completed_at / 1e3::float8 FROM swarms"""
MERGES = """
    SELECT id, completed_at / 1e3::float8, merges FROM swarms
    WHERE state = 'completed' AND merges IS NOT NULL"""
EXECUTORS = "SELECT swarm_id, run_id FROM swarm_tasks WHERE run_id IS NOT NULL"
ANEW = """
    SELECT run_id, step_id, later.retry, earlier.error, earlier.completed_at / 1e3::float8
    FROM steps AS later JOIN steps AS earlier USING (run_id, attempt, step_id, visit)
    WHERE earlier.execution = later.execution - 1"""
INTERRUPTED = """
    SELECT count(*) FROM sessions JOIN steps ON steps.id = execution_id
    WHERE sessions.run_id = %s AND attempt = %s AND step_id = %s AND visit = %s AND retry = %s
      AND execution = %s AND sessions.state IN ('failed', 'cancelled')"""
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
FINISHED = """
    SELECT run_id, attempt, step_id, visit, retry, execution FROM steps
    WHERE state = 'completed' AND agent_id = 'doer'"""


def judge(scenery: Scenery, verdict: Verdict, cursor: Any) -> Verdict:
    """The verdict of a campaign that has come to rest."""
    stage, load, watch = scenery.stage, scenery.load, scenery.watch
    cursor.execute(RUNS)
    runs = {row[0]: row[1:] for row in cursor.fetchall()}
    verdict.runs = len(runs)
    verdict.lost = list(_lost(scenery, runs, verdict))
    _judge_merges(verdict, scenery.disk, cursor)
    cursor.execute(ANEW)
    verdict.retried = list(begun_anew(cursor.fetchall(), scenery.disk))
    cursor.execute(MARKERS)
    verdict.double_runs = [f"{marker}: {count} runs" for marker, count in cursor.fetchall()]
    verdict.duplicate_acts = [f"{key}: {count}" for key, count in stage.sink.doubles().items()]
    cursor.execute(FINISHED)
    verdict.missing_acts = [key for key in _owed(cursor.fetchall()) if not stage.sink.known(key)]
    cursor.execute(EXECUTORS)
    called = stage.model.calls_of_runs()
    latest = last_signs(stage.sink.latest, called, cursor.fetchall())
    verdict.acts_after_cancel = list(_late_acts(scenery, runs, latest))
    verdict.unknown_outcomes = len(stage.model.unknown)
    _judge_calls(verdict, stage.model, cursor)
    _judge_streams(verdict, scenery, runs)
    found = ownerless(cursor)
    verdict.ownerless = [f"{what}: {row}" for what, rows in found.items() for row in rows]
    verdict.complaints = [f"{count} x {told}" for told, count in load.complaints.items()]
    for recovery in watch.recoveries:
        seconds = recovery.claimed_at - _counted_from(recovery, scenery)
        clean = seconds == recovery.seconds
        (verdict.recoveries if clean else verdict.compound).append(max(0.0, seconds))
    verdict.kills = watch.kills
    verdict.drains, verdict.late = scenery.drains, scenery.late
    _judge_budgets(verdict, called, cursor)
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


def _counted_from(recovery: Recovery, scenery: Scenery) -> float:
    """When there was all that it takes: a clock that sees it, workers for the rest, both stores."""
    start, end = recovery.killed_at, recovery.claimed_at
    return scenery.settled(start, end, P99_GOAL, "clock", "short", recovery.queue)


def slow_recoveries(scenery: Scenery) -> Iterator[str]:
    """The take-overs that took longest: since when they count, and since when they did not."""
    for recovery in scenery.watch.recoveries:
        since = _counted_from(recovery, scenery)
        seconds = recovery.claimed_at - since
        if seconds > SLOW:
            when = f"counted from {since - scenery.began:.1f}"
            killed = f"worker killed {since - recovery.killed_at:.1f} s before"
            told = f"{recovery.step} of {recovery.queue} taken over after {seconds:.1f} s"
            yield f"{told}, {when}, {killed}"


def _lost(scenery: Scenery, runs: dict[str, Any], verdict: Verdict) -> Iterator[str]:
    """Runs that did not end as they had to."""
    for asked in scenery.load.asked:
        state, _, error, at = runs.get(asked.id, ("gone", 0, "", None))
        if state in asked.expected and asked.reason in (error or ""):
            continue
        if state == "failed" and for_want_of_files(error, at, scenery.disk):
            verdict.closed += 1
            continue
        yield f"{asked.id} ({asked.form.get('pipeline_id', asked.kind)}) is {state}: {error}"
    known = {asked.id for asked in scenery.load.asked}
    for run_id, (state, *_) in runs.items():
        if run_id not in known and state not in OVER:  # an executor of a swarm, or nobody's
            yield f"{run_id} is {state}"


def for_want_of_files(error: str | None, at: float | None, disk: Outages) -> bool:
    """Whether something failed, at that time, because a disk was full or the files were gone."""
    return bool(at and ABOUT_FILES.search(error or "") and disk.touch(at - NEAR, at))


def begun_anew(rows: list[tuple[Any, ...]], disk: Outages) -> Iterator[str]:
    """The steps done again from scratch, paid acts and all, for no want of files."""
    for run, step, retry, error, at in rows:
        if not for_want_of_files(error, at, disk):
            yield f"{step} of {run} was begun anew (retry {retry}): {error}"


def _judge_merges(verdict: Verdict, disk: Outages, cursor: Any) -> None:
    """A swarm that went well has brought its branches together; each changed files of its own."""
    cursor.execute(MERGES)
    for swarm, at, merges in cursor.fetchall():
        for merge in merges:
            verdict.merges += 1
            error = merge.get("error") or ("conflicts" if merge["conflicts"] else None)
            if error and not for_want_of_files(error, at, disk):
                verdict.lost.append(f"{swarm} was not merged: {merge}")


def _owed(rows: list[tuple[Any, ...]]) -> Iterator[str]:
    """The acts that the finished steps say they have done."""
    for run, attempt, step, visit, retry, execution in rows:
        scene = Scene(run, attempt, step, visit, retry, execution, 0, "", False)
        yield from mind.acts_of(scene)


def last_signs(
    acted: dict[str, float], called: dict[str, list[float]], executors: list[tuple[str, str]]
) -> dict[str, float]:
    """When each run, and each swarm by its executors, acted or asked a model for the last time."""
    latest = defaultdict(float, {run_id: max(times) for run_id, times in called.items()})
    for run_id, at in acted.items():
        latest[run_id] = max(latest[run_id], at)
    for swarm_id, run_id in executors:
        latest[swarm_id] = max(latest[swarm_id], latest[run_id])
    return latest


def _late_acts(scenery: Scenery, runs: dict[str, Any], latest: dict[str, float]) -> Iterator[str]:
    """Acts and paid calls after a cancel; executors of a swarm are told by a job."""
    for asked in scenery.load.asked:
        cancelled = asked.cancelled_at if runs.get(asked.id, ("",))[0] == "cancelled" else None
        if cancelled and latest[asked.id] > cancelled + GRACE:
            told = scenery.settled(cancelled, latest[asked.id], GRACE, "short", "clock")
            if asked.kind != SWARM or latest[asked.id] > told + GRACE:
                yield f"{asked.id} acted {latest[asked.id] - cancelled:.1f} s after its cancel"


def _breaches(url: str) -> Iterator[str]:
    """What the product's own checker of invariants finds."""
    base.connect(url, 2)
    with base.db.connection_context():
        for breach in breaches():
            yield f"{breach.invariant}: {', '.join(breach.rows)}"
    base.db.close_all()


def _judge_budgets(verdict: Verdict, calls: dict[str, list[float]], cursor: Any) -> None:
    """No limit is passed, neither by what was written down nor by what the model was asked for."""
    cursor.execute(BUDGETS)
    for run_id, limit, spent in cursor.fetchall():
        verdict.budgeted += 1
        taken = len(calls.get(run_id, ())) * CALL_TOKENS
        if max(spent, taken) > limit:
            verdict.overspent.append(f"{run_id}: {limit} allowed, {spent} counted, {taken} taken")


def _judge_calls(verdict: Verdict, model: PaidModel, cursor: Any) -> None:
    """No answer that was written down is asked for again, and what was in flight only once."""
    for scene, turns in model.repeats().items():
        answers = watching.stored(cursor, scene)
        in_flight = 0
        for turn, times in turns.items():
            again = asked_though_known(times, answers.get(turn))
            in_flight += len(times) - 1 - len(again)
            verdict.repeated_calls += [f"{scene.sitting}:{turn} {told}" for told in again]
        cursor.execute(INTERRUPTED, scene.place)
        (interrupted,) = cursor.fetchone()
        verdict.repeated_in_flight += in_flight
        if in_flight > interrupted:
            told = f"{in_flight} calls asked again in flight, {interrupted} sessions interrupted"
            verdict.repeated_calls.append(f"{scene.sitting}: {told}")


def asked_though_known(times: Sequence[float], stored: float | None) -> list[str]:
    """The calls among those (the first is none) that came when the answer was written down."""
    return [
        f"asked at {times[0]:.1f}, written down at {stored:.1f}, asked again at {asked:.1f}"
        for asked in times[1:]
        if stored is not None and stored < asked
    ]


def _judge_streams(verdict: Verdict, scenery: Scenery, runs: dict[str, Any]) -> None:
    followers = scenery.followers
    verdict.streams, verdict.cuts = len(followers.seen), followers.cuts
    for seen in followers.seen:
        verdict.sse_gaps += seen.gaps
        verdict.sse_doubles += seen.doubles
        state, number, *_ = runs.get(seen.asked.id, ("gone", 0))
        if not seen.ended and state in OVER:
            verdict.sse_gaps.append(f"{seen.asked.id}: no end after {seen.last} of {number}")
        elif seen.last != number and not seen.asked.restarted:
            verdict.sse_gaps.append(f"{seen.asked.id}: ended after {seen.last} of {number}")
