"""LangGraph with its Postgres checkpointer: nodes of a graph. Arguments: a database's URL."""

from __future__ import annotations

import itertools
import sys
import threading
import time
import uuid
from typing import Any, TypedDict

from conversation import answer
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import END, START, StateGraph
from psycopg_pool import ConnectionPool

THREADS = 16


class State(TypedDict):
    summary: str
    tokens: int


def act(state: State) -> State:
    """A model that answers at once."""
    return {"summary": "Said what it was", "tokens": 120}


def graph(saver: PostgresSaver, count: int) -> Any:
    """So many nodes, one after the other."""
    built = StateGraph(State)
    names = [f"act_{number}" for number in range(count)]
    for name in names:
        built.add_node(name, act)
    for source, target in itertools.pairwise([START, *names, END]):
        built.add_edge(source, target)
    return built.compile(checkpointer=saver)


def invoked(compiled: Any) -> float:
    """Milliseconds of one run of the graph, each node committed before the next begins."""
    began = time.perf_counter()
    thread = {"configurable": {"thread_id": uuid.uuid4().hex}}
    compiled.invoke({"summary": "", "tokens": 0}, thread, durability="sync")
    return (time.perf_counter() - began) * 1000


def steps(count: int) -> list[float]:
    """Milliseconds per node of graphs of ten, `count` nodes in all."""
    return [invoked(ten) / 10 for _ in range(count // 10)]


def runs(count: int) -> list[float]:
    """Milliseconds of each of `count` graphs of one node, one after the other."""
    return [invoked(single) for _ in range(count)]


def crowd(seconds: float, at_once: int) -> float:
    """Graphs of one node ended per second, on so many threads of this process."""
    ends = time.perf_counter() + seconds
    counts = [0] * at_once

    def run(place: int) -> None:
        while time.perf_counter() < ends:
            invoked(single)
            counts[place] += 1

    threads = [threading.Thread(target=run, args=(place,)) for place in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


settings = {"autocommit": True, "prepare_threshold": 0}
with ConnectionPool(sys.argv[1], max_size=THREADS, kwargs=settings) as pool:
    checkpoints = PostgresSaver(pool)
    checkpoints.setup()
    ten, single = graph(checkpoints, 10), graph(checkpoints, 1)
    answer(steps=steps, runs=runs, crowd=crowd)
