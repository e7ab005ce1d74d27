"""One campaign: the stage is set, the load runs, faults strike as planned, then all is judged."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.processes.chaos import schedule
from tests.processes.chaos.faults import FAULTS
from tests.processes.chaos.faults_stores import OUTAGES, free_disk
from tests.processes.chaos.faults_workers import poisoner
from tests.processes.chaos.followers import Followers
from tests.processes.chaos.judging import judge, slow_recoveries, stories
from tests.processes.chaos.load import Load
from tests.processes.chaos.scenery import Impossible, Missed, Scenery
from tests.processes.chaos.schedule import Planned
from tests.processes.chaos.stage import Stage, stage
from tests.processes.chaos.verdict import Verdict
from tests.processes.chaos.watching import Watch

AT_ONCE = 16  # faults
TRIES = 4  # to strike, where the moment was not right
AGAIN = 3.0  # seconds between them
SHOWN = 5  # runs whose story is told
Say = Callable[[str], object]


@dataclass(frozen=True)
class Campaign:
    """What is to be done; `minutes` ends the faults and the load early."""

    seed: int
    faults: int
    runs: int
    in_flight: int = 80
    clients: int = 50
    minutes: float | None = None
    only: tuple[str, ...] = ()
    pace: float = 1.0  # how many times as far faults are apart
    rest: float = 90.0  # seconds in which everything must come to rest at the end

    def plan(self) -> list[Planned]:
        return schedule.plan(self.seed, self.faults, self.only or tuple(FAULTS), self.pace)


def run(campaign: Campaign, say: Say) -> Verdict:
    """Run it all; nothing is left running afterwards, whatever happens."""
    with stage() as scene, _people(scene, campaign) as scenery:
        say(f"seed={campaign.seed}; everything is up in {scene.folder}")
        verdict = Verdict()
        _strike(scenery, campaign, verdict, say)
        _come_to_rest(scenery, campaign, say)
        with scene.database() as connection, connection.cursor() as cursor:
            judge(scenery, verdict, cursor)
            for line in stories(cursor, verdict, scenery.began, SHOWN):
                say(line)
            for line in slow_recoveries(scenery):
                say(f"note: {line}")
        for ended in scene.fleet.ended:
            say(f"note: {ended}")
    return verdict


@contextmanager
def _people(scene: Stage, campaign: Campaign) -> Iterator[Scenery]:
    """Those who use the product and those who watch it."""
    with ExitStack() as stack:
        load = Load(campaign.seed, campaign.in_flight, scene.fleet.urls)
        watch = stack.enter_context(Watch(scene.database, load.observe))
        scene.fleet.on_loss = watch.worker_lost
        stack.enter_context(load)
        followers = Followers(campaign.seed, campaign.clients, load.fresh.pop, scene.fleet.urls)
        stack.enter_context(followers)
        scenery = Scenery(scene, load, followers, watch)
        scene.model.poisons = poisoner(scenery)
        stack.callback(scenery.leaving.set)
        yield scenery


def _strike(scenery: Scenery, campaign: Campaign, verdict: Verdict, say: Say) -> None:
    """Let the faults strike when their time has come, and count by kind how many did."""
    began, scenery.began = time.monotonic(), time.time()
    ends = began + 60 * campaign.minutes if campaign.minutes else float("inf")
    locks = {need: threading.Lock() for fault in FAULTS.values() for need in fault.needs}
    due: list[tuple[str, Future[str]]] = []
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fault") as pool:
        try:
            for planned in campaign.plan():
                _wait_until(scenery, min(began + planned.at, ends))
                for _, ended in due:
                    if ended.done():
                        ended.result()  # one that went wrong spoils whatever would follow
                if time.monotonic() >= ends:
                    break
                due.append((planned.fault, pool.submit(_one, scenery, planned, locks, say, began)))
            told = [(fault, ended.result()) for fault, ended in due]
        finally:
            scenery.leaving.set()
    verdict.struck.update(fault for fault, word in told if not isinstance(word, Missed))
    could = {fault for fault, word in told if not isinstance(word, Impossible)}
    verdict.idle = sorted(could - verdict.struck.keys())


def _one(
    scenery: Scenery, planned: Planned, locks: dict[str, threading.Lock], say: Say, began: float
) -> str:
    """Let one fault strike, if need be by a second try; gives what it tells."""
    fault, dice = FAULTS[planned.fault], random.Random(planned.seed)
    with ExitStack() as alone:
        for need in fault.needs:
            alone.enter_context(locks[need])
        for _ in range(TRIES):
            at = time.monotonic() - began
            try:
                told = fault.act(scenery, dice)
            except OUTAGES as error:
                told = Missed(f"could not: {str(error).strip()}")
            seconds = time.monotonic() - began - at
            when = f"{planned.at:8.1f} s  {at:7.1f} s +{seconds:4.1f}"
            missed = "MISSED, " if isinstance(told, Missed) else ""
            say(f"{when}  {planned.fault:4} {fault.title}: {missed}{told}")
            if not missed or isinstance(told, Impossible):
                break
            time.sleep(AGAIN)
    return told


def _wait_until(scenery: Scenery, moment: float) -> None:
    while (left := moment - time.monotonic()) > 0:
        free_disk(scenery)
        time.sleep(min(left, 2.0))


def _come_to_rest(scenery: Scenery, campaign: Campaign, say: Say) -> None:
    """Ask for what is still owed of the load, then wait until nothing moves."""
    load = scenery.load
    left = scenery.began + 60 * campaign.minutes - time.time() if campaign.minutes else float("inf")
    ends = time.monotonic() + left
    while len(load.asked) < campaign.runs and time.monotonic() < ends:
        _wait_until(scenery, time.monotonic() + 0.5)
    load.stop_asking()
    say(f"{len(load.asked)} runs asked for, {len(load.open)} under way; coming to rest")
    deadline = time.monotonic() + campaign.rest
    while not (load.quiet and not scenery.followers.following):
        if time.monotonic() > deadline:
            told = f"{len(load.open)} runs and {len(scenery.followers.following)} streams are open"
            say(f"not at rest after {campaign.rest:.0f} s: {told}")
            break
        time.sleep(0.2)
    scenery.followers.leave()
