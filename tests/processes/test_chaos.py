"""Sixty faults in a few minutes: nothing is lost, nothing is done twice (see `chaos`)."""

from __future__ import annotations

import pytest

from tests.processes.chaos.campaign import Campaign, run


@pytest.mark.timeout(600)
def test_sixty_faults_under_load_lose_nothing_and_repeat_nothing() -> None:
    said: list[str] = []
    verdict = run(Campaign(seed=3, faults=60, runs=200, in_flight=40), said.append)
    assert verdict.faulty == {}, "\n".join(said)
    assert verdict.in_time, verdict.line()
