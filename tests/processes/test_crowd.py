"""Many callers at once at one web process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.processes.product import Product


def test_callers_at_the_same_moment_do_not_share_a_database_connection(running: Product) -> None:
    def ask(number: int) -> str:
        return running.run("feature", f"Task {number}")

    with ThreadPoolExecutor(24) as crowd:
        asked = list(crowd.map(ask, range(200)))
    assert len(set(asked)) == 200
    assert {running.get(f"/runs/{run_id}")["id"] for run_id in asked} == set(asked)
    running.client.delete("/v1/runs", params={"before": 2**50})
