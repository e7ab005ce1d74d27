"""Whether a replay goes the way of the run that it repeats. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from models.replays import Ended, Recorded
from models.runs import CANCELLED, COMPLETED, FAILED
from workers.agents import differences
from workers.pipelines.decisions import Decision, Dispatch, Failed, Finished


def retraced(decision: Decision, record: Sequence[Recorded], place: int, ended: Ended) -> Decision:
    """The decision, if the record goes on with it; else a Failed that names the difference.

    `place` is how many executions are over, `ended` how the run on record did. Where that one was
    called off this one ends, too, whatever was to come.
    """
    due = record[place].step_id if place < len(record) else None
    if due is None and ended.state == CANCELLED:
        return Failed(str(ended.error), "", outputs=decision.outputs)
    difference = _difference(decision, due, ended)
    if difference is None:
        return decision
    step_id = decision.step_id if isinstance(decision, Dispatch) else ""
    return Failed(f"The replay differs: {difference}", step_id, outputs=decision.outputs)


def _difference(decision: Decision, due: str | None, ended: Ended) -> str | None:
    """How the way on differs or, where both end, what came of it; None when nothing does."""
    if isinstance(decision, Dispatch):
        same, now = decision.step_id == due, f"goes on with step {decision.step_id} now"
    else:
        end = _end(decision)
        same, now = due is None and str(end) == str(ended), f"ends here now, {end}"
    if not same:
        then = f"it went on with step {due}" if due else f"it ended here, {ended}"
        return f"the pipeline {now}; on record {then}"
    if isinstance(decision, Finished) and ended.outputs is not None:
        return differences.outputs(ended.outputs, decision.outputs)
    return None


def _end(decision: Finished | Failed) -> Ended:
    return Ended(FAILED, decision.error) if isinstance(decision, Failed) else Ended(COMPLETED)
