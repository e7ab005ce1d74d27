"""Durable runs of one step per second, engine only, beside DBOS and LangGraph on Postgres.

    python -m tests.bench.durable_runs [--rounds 5] [--seconds 5] [--threads N] [--at-once 64]

Ours: this process asks for runs (tasks.runs.start), the real clock, short and agents processes
work them off; a run counts once its row says `completed`. No HTTP, but all that a run is: outbox,
broker, lease, model call, ledger, events, timeline. So many are under way at any moment; who asks
and who looks whether they ended takes its share of the two cores, as with the peers: DBOS starts
workflows on threads or through its queue, LangGraph runs on threads, each in one process.
Our workers have as many threads as the product gives them, unless N says otherwise.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager

from models import base
from models.base import db
from models.config import Settings
from models.pipelines import Pipeline
from models.principals import Principal
from tasks import runs
from tests.bench.figures import Contest
from tests.bench.peers import installed, own_database, peer
from tests.bench.processors import spent
from tests.bench.stage import measured
from tests.processes.product import Product, until

CALLER = Principal("usr_bench", "user")
FORM = {"task": "Say what it was", "model_override": "scripted/demo"}
LOOK_SECONDS = 0.01


def main() -> None:
    """Measure in turns and print."""
    chosen = argparse.ArgumentParser(description=__doc__)
    chosen.add_argument("--rounds", type=int, default=5)
    chosen.add_argument("--seconds", type=float, default=5)
    chosen.add_argument("--threads", type=int, default=Settings.worker_threads)
    chosen.add_argument("--at-once", type=int, default=64)
    chosen.add_argument("--peers", help="keep their environment in this folder")
    given = chosen.parse_args()
    with (
        installed(given.peers) as python,
        measured(WORKER_THREADS=str(given.threads)) as running,
        connected(running) as url,
        peer(python, "dbos_steps", own_database(url, "dbos")) as dbos,
        peer(python, "langgraph_steps", own_database(url, "langgraph")) as langgraph,
    ):
        contenders = {
            "DBOS, on threads": lambda seconds: dbos.ask("crowd", seconds, 16),
            "DBOS, through its queue": lambda seconds: dbos.ask("queued", seconds, 64),
            "LangGraph + Postgres, 16 threads": lambda seconds: langgraph.ask("crowd", seconds, 16),
            "ours": lambda seconds: ended_per_second(seconds, given.at_once),
        }
        contest = Contest("durable runs of one step, engine only", "DBOS, on threads")
        for measure in contenders.values():
            measure(2)  # warm
        for _ in range(given.rounds):
            for name, measure in contenders.items():
                contest.add(name, measure(given.seconds))
        contest.show(">= 1000/s")
        print_shares(running, given)


@contextmanager
def connected(running: Product) -> Iterator[str]:
    """This process asks the product's database itself while the block lasts."""
    url = running.environment["DATABASE_URL"]
    base.connect(url, 2)
    with db.connection_context():
        yield url
    db.close_all()


def ended_per_second(seconds: float, at_once: int) -> float:
    """Keep so many runs under way for so long, then let the last ones end."""
    pipeline = Pipeline.get_by_id("bench")
    under_way: set[str] = set()
    ended = 0
    began = time.perf_counter()
    while (taken := time.perf_counter() - began) < seconds:
        while len(under_way) < at_once:
            under_way.add(runs.start(CALLER, pipeline, FORM).id)
        time.sleep(LOOK_SECONDS)
        over = completed(under_way)
        under_way -= over
        ended += len(over)
    until(lambda: completed(under_way) == under_way)
    return ended / taken


def completed(run_ids: set[str]) -> set[str]:
    """Which of these runs are over."""
    text = "SELECT id FROM runs WHERE id = ANY(%s) AND state = 'completed'"
    return {run_id for (run_id,) in db.execute_sql(text, (list(run_ids),))}


def print_shares(running: Product, given: argparse.Namespace) -> None:
    """What each of our runs takes of the processors, process by process."""
    named = {process.pid: name for name, process in running.processes.items()}
    before, began = spent(named), time.perf_counter()
    rate = ended_per_second(given.seconds, given.at_once)
    count = rate * (time.perf_counter() - began)
    print(f"\nprocessor time of each of our runs ({rate:.0f}/s), ms")
    for name, seconds in sorted(spent(named).items()):
        print(f"  {name:20} {(seconds - before.get(name, 0.0)) * 1000 / count:6.2f}")


if __name__ == "__main__":
    main()
