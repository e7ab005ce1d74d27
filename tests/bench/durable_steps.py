"""What it costs to make an act durable: one step of ours beside DBOS and LangGraph on Postgres.

python -m tests.bench.durable_steps [--rounds 5] [--count 200] [--peers FOLDER]

An act of ours is a model answer that comes at once: claimed before and sealed after, with its
call row, its events and the request that sends them out, under the run's lock and the lease. A run
of one step is made, advanced, claimed, prompted, answered, sealed and ended, one after the other
in this process, with no broker in between; its peers are called directly as well.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Generator

from models.accounts import Principal
from models.base import db
from models.pipelines import Pipeline
from models.runs import Run
from models.steps import Step
from tasks import runs
from tests.bench.figures import Contest
from tests.bench.peers import Peer, installed, own_database, peer
from tests.bench.stage import engine
from workers.agents.events import Ending, Event, Replied, TurnStarted
from workers.agents.transcript import Transcript
from workers.jobs import runs as run_jobs
from workers.jobs import steps as step_jobs
from workers.llm import open_model
from workers.llm.base import Message, Reply, Text, Usage

CALLER = Principal("usr_bench", "user")
FORM = {"task": "Say what it was", "model_override": "scripted/demo"}
REPLY = Reply(Message("assistant", (Text('{"summary": "Said"}'),)), Usage(100, 20), "end", "demo")
Measure = Callable[[int], list[float]]


def main() -> None:
    """Measure in turns and print."""
    chosen = argparse.ArgumentParser(description=__doc__)
    chosen.add_argument("--rounds", type=int, default=5)
    chosen.add_argument("--count", type=int, default=200)
    chosen.add_argument("--peers", help="keep their environment in this folder")
    given = chosen.parse_args()
    with (
        installed(given.peers) as python,
        engine() as url,
        peer(python, "dbos_steps", own_database(url, "dbos")) as dbos,
        peer(python, "langgraph_steps", own_database(url, "langgraph")) as langgraph,
        db.connection_context(),
    ):
        compare("one durable step", "steps", acts, (dbos, langgraph), given).show(
            "p50 <= 1.5 ms, p99 <= 5 ms"
        )
        compare("a run of one step", "runs", whole_runs, (dbos, langgraph), given).show()


def compare(
    title: str, question: str, ours: Measure, peers: tuple[Peer, Peer], given: argparse.Namespace
) -> Contest:
    """Ours and both peers in turns; each is warmed up first."""
    dbos, langgraph = peers
    contenders: dict[str, Measure] = {
        "DBOS": lambda count: dbos.ask(question, count),
        "LangGraph + Postgres": lambda count: langgraph.ask(question, count),
        "ours": ours,
    }
    contest = Contest(title, "DBOS")
    for measure in contenders.values():
        measure(50)
    for _ in range(given.rounds):
        for name, measure in contenders.items():
            taken = measure(given.count)
            contest.add(name, 1000 * len(taken) / sum(taken), taken)
    return contest


def acts(count: int) -> list[float]:
    """Milliseconds from asking a model that answers at once to its sealed answer, each."""
    run, step = begun()
    taken: list[float] = []

    def conversation() -> Generator[Event, None, Ending]:
        for turn in range(1, count + 1):
            began = time.perf_counter()
            yield TurnStarted(turn)
            yield Replied(turn, REPLY, 0.0, 120)
            taken.append((time.perf_counter() - began) * 1000)
        return Ending("completed")

    model = open_model("scripted/demo", {}, None)
    Transcript(run, step, model, os.environ["REDIS_URL"]).follow(conversation())
    runs.cancel(run.id)
    return taken


def whole_runs(count: int) -> list[float]:
    """Milliseconds of each of `count` runs of one step."""
    pipeline = Pipeline.get_by_id("bench")
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        run = runs.start(CALLER, pipeline, FORM)
        run_jobs.advance(run.id, 1)
        (step,) = Step.of(run)
        step_jobs.execute(step.id)
        taken.append((time.perf_counter() - began) * 1000)
    assert Run.get_by_id(run.id).state == "completed"
    return taken


def begun() -> tuple[Run, Step]:
    """A run and its claimed step."""
    run = runs.start(CALLER, Pipeline.get_by_id("bench"), FORM)
    run_jobs.advance(run.id, 1)
    (step,) = Step.of(run)
    claimed = step_jobs.claim(step.id)
    assert claimed is not None
    return claimed


if __name__ == "__main__":
    main()
