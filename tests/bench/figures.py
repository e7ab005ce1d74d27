"""Figures of measurements: medians, tails, ratios, and the versions they were taken with."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from statistics import median

import psycopg2
import redis

PACKAGES = ("flask", "gunicorn", "gevent", "peewee", "psycopg2-binary", "redis", "dramatiq")


def versions(database_url: str, redis_url: str) -> str:
    """One line that says what was measured on."""
    connection = psycopg2.connect(database_url)
    postgres = connection.get_parameter_status("server_version")
    connection.close()
    with redis.Redis.from_url(redis_url) as client:
        told = client.info("server")
    server = f"Postgres {postgres}, {told.get('server_name', 'redis')} {told['redis_version']}"
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    python = f"Python {platform.python_version()} on {os.cpu_count()} cores"
    return f"{python}; {server}; {packages}; load {os.getloadavg()[0]:.2f}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of the values do not exceed; 0 without any."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def spread(milliseconds: Sequence[float]) -> str:
    """p50, p95, p99 and the worst of latencies."""
    marks = [f"p{round(share * 100)} {percentile(milliseconds, share):.1f}" for share in SHARES]
    return f"{' '.join(marks)} max {max(milliseconds, default=0.0):.1f} ms"


SHARES = (0.5, 0.95, 0.99)


class Contest:
    """Contenders measured in turns, round by round; the first is what the ratios are of."""

    def __init__(self, title: str, first: str = "the floor") -> None:
        self.title = title
        self.first = first
        self.rates: dict[str, list[float]] = {}
        self.latencies: dict[str, list[float]] = {}

    def add(self, name: str, rate: float, milliseconds: Sequence[float] = ()) -> None:
        """One round's figures of a contender."""
        self.rates.setdefault(name, []).append(rate)
        self.latencies.setdefault(name, []).extend(milliseconds)

    def show(self, goal: str = "") -> None:
        """Print a line for each contender."""
        print(f"\n{self.title}" + (f"   (goal: {goal})" if goal else ""))
        floor = median(next(iter(self.rates.values())))
        for name, rates in self.rates.items():
            rate, worst = median(rates), min(rates)
            ratio = f"x{rate / floor:.2f} of {self.first}" if rate != floor else self.first
            latencies = spread(self.latencies[name]) if self.latencies[name] else ""
            figures = f"{rate:8.1f}/s (worst round {worst:.1f})  {latencies}"
            print(f"  {name:44} {figures}  {ratio}", flush=True)
