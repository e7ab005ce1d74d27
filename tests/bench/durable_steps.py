"""What it costs to make an act durable: one step of ours beside DBOS and LangGraph on Postgres.

python -m tests.bench.durable_steps [--rounds 5] [--count 200] [--peers FOLDER]

An act of ours is a model answer that comes at once: claimed in the ledger before, sealed there
after (together with the next claim), with its call row, its events and the requests that send them
out, under the run's lock and the lease. A run of one step is made, advanced, claimed, prompted,
answered, sealed and ended in this process, with no broker in between; peers are called directly.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

from models.base import db
from models.pipelines import Pipeline
from models.principals import Principal
from models.runs import Run
from models.steps import Step
from tasks import runs
from tests.bench.figures import Contest
from tests.bench.peers import Peer, installed, own_database, peer
from tests.bench.stage import engine
from workers.agents.acts import Acts
from workers.agents.events import Answer, Asking, Ending, Replied, Talk
from workers.agents.journal import Journal
from workers.agents.transcript import Transcript
from workers.agents.voice import Voice
from workers.halting import Halt
from workers.jobs import runs as run_jobs
from workers.jobs import steps as step_jobs
from workers.llm import open_model
from workers.llm.base import Message, Options, Reply, Text, Usage

CALLER = Principal("usr_bench", "user")
FORM = {"task": "Say what it was", "model_override": "scripted/demo"}
ASKED = Asking((Message("user", (Text("Say what it was"),)),), (), Options())
SAID = Message("assistant", (Text('{"summary": "Said"}'),))
ANSWER = Answer(Reply(SAID, Usage(100, 20), "end", "demo"), 0.0, 120)
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
    """Milliseconds that each act of one execution holds up its conversation."""
    run, step = begun()
    taken: list[float] = []

    def conversation() -> Talk[Ending]:
        for turn in range(1, count + 1):
            began = time.perf_counter()
            yield ASKED
            yield Replied(turn, ANSWER)
            taken.append((time.perf_counter() - began) * 1000)
        return Ending("completed")

    model = open_model("scripted/demo", {}, None)
    voice = Voice(run, step, os.environ["REDIS_URL"])
    transcript = Transcript(run, step, model, Journal.read(step.id), voice)
    transcript.open((SAID,), {})
    transcript.follow(conversation(), Acts(), Halt())
    transcript.commit()
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
