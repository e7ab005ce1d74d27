"""Sixty faults in a few minutes: nothing is lost, nothing is done twice (see `chaos`)."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.processes.chaos.campaign import Campaign, run


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_sixty_faults_under_load_lose_nothing_and_repeat_nothing(
    record_property: Callable[[str, object], None],
) -> None:
    said: list[str] = []
    campaign = Campaign(seed=3, faults=60, runs=150, in_flight=12, clients=25)
    began = time.monotonic()
    verdict = run(campaign, said.append)
    seconds = time.monotonic() - began
    # how long recoveries took says as much of the machine as of the product: told, not judged
    record_property("verdict", verdict.line())
    assert verdict.faulty == {}, "\n".join([*said, verdict.line()])
    measured = (verdict.recoveries, verdict.compound, verdict.drains, verdict.cuts)
    assert all((*measured, verdict.budgeted, verdict.merges)), verdict.line()
    assert seconds <= 360
