"""When which fault strikes: a pure function of the seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

SHORTEST, LONGEST = 2.0, 5.0  # seconds between two faults


@dataclass(frozen=True)
class Planned:
    """One fault: seconds after the beginning, its name, and the seed of its own dice."""

    at: float
    fault: str
    seed: int


def plan(seed: int, faults: int, names: Sequence[str], pace: float = 1.0) -> list[Planned]:
    """So many faults in order of time: every name once before any name comes again.

    `pace` stretches the time between them, for a machine that needs so many times as long.
    """
    dice = random.Random(f"schedule {seed}")
    at, bag, planned = 0.0, list[str](), list[Planned]()
    for _ in range(faults):
        if not bag:
            bag = sorted(names)
            dice.shuffle(bag)
        at += pace * dice.uniform(SHORTEST, LONGEST)
        planned.append(Planned(round(at, 3), bag.pop(), dice.getrandbits(32)))
    return planned
