"""Whether a replay goes the way of the run that it repeats. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from models.replays import Recorded
from workers.pipelines.decisions import Decision, Dispatch, Failed


def retraced(decision: Decision, record: Sequence[Recorded], place: int, ended: str) -> Decision:
    """The decision, if the record goes on with it; else a Failed that names the difference.

    `place` is how many executions are over, `ended` how the run on record did.
    """
    due = record[place].step_id if place < len(record) else None
    if isinstance(decision, Dispatch):
        if due == decision.step_id:
            return decision
        then = f"it went on with step {due}" if due else f"it ended here, {ended}"
        return _differing(decision, f"the pipeline goes on with step {decision.step_id} now", then)
    if due is None:
        return decision
    how = f"fails now ({decision.error})" if isinstance(decision, Failed) else "ends here now"
    return _differing(decision, f"the pipeline {how}", f"it went on with step {due}")


def _differing(decision: Decision, now: str, then: str) -> Failed:
    step_id = "" if not isinstance(decision, Dispatch) else decision.step_id
    error = f"The replay differs: {now}; on record {then}"
    return Failed(error, step_id, outputs=decision.outputs)
