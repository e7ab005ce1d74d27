"""`python -m tests.processes.chaos`: kill everything, again and again, and see what is lost."""

from __future__ import annotations

import argparse
import random
import signal
import sys

from tests.processes.chaos.campaign import Campaign, run
from tests.processes.chaos.faults import FAULTS

LEAVE = (signal.SIGINT, signal.SIGTERM)


def main() -> int:
    """Run one campaign; exit code 0 when it passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.processes.chaos")
    parser.add_argument("--faults", type=int, default=60)
    parser.add_argument("--runs", type=int, default=300, help="ask for at least so many")
    parser.add_argument("--in-flight", type=int, default=24, help="runs at the same time")
    parser.add_argument("--clients", type=int, default=50, help="clients that follow runs")
    parser.add_argument("--seed", type=int, help="the same seed gives the same schedule")
    parser.add_argument("--minutes", type=float, help="no fault strikes later than that")
    parser.add_argument("--pace", type=float, default=1.0, help="2: faults are twice as far apart")
    parser.add_argument("--only", nargs="*", default=(), choices=FAULTS, metavar="FAULT")
    told = parser.parse_args()
    for number in LEAVE:
        signal.signal(number, _interrupt)
    seed = random.SystemRandom().randrange(10**6) if told.seed is None else told.seed
    campaign = Campaign(
        seed=seed,
        faults=told.faults,
        runs=told.runs,
        in_flight=told.in_flight,
        clients=told.clients,
        minutes=told.minutes,
        pace=told.pace,
        only=tuple(told.only),
    )
    print(f"seed={seed} faults={told.faults} runs={told.runs} pace={told.pace:g}", flush=True)
    verdict = run(campaign, lambda line: print(line, flush=True))
    for name, found in verdict.faulty.items():
        for line in found[:20]:
            print(f"{name}: {line}")
    print(verdict.line())
    return 0 if verdict.passed else 1


def _interrupt(*_: object) -> None:
    """Leave, once: a second signal must not leave half of it running."""
    for number in LEAVE:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
