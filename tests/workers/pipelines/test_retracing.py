"""Whether a replay goes the way of its record, as far as no shipped pipeline shows it."""

from __future__ import annotations

from models.replays import Ended, Recorded
from models.runs import COMPLETED
from workers.pipelines.decisions import Finished
from workers.pipelines.retracing import retraced

RECORD = [Recorded("exec_1", "DO")]


def test_outputs_that_differ_in_the_end_are_named() -> None:
    now = Finished({"answer": "42"})
    assert retraced(now, RECORD, 1, Ended(COMPLETED, outputs={"answer": "42"})) == now
    assert retraced(now, RECORD, 1, Ended(COMPLETED)) == now  # nobody wrote them down
    failed = retraced(now, RECORD, 1, Ended(COMPLETED, outputs={"answer": "41"}))
    assert getattr(failed, "error", None) == (
        'The replay differs: the output answer differs: on record "41", now "42"'
    )
