"""What it all came to: numbers in, one line out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

P50_GOAL, P99_GOAL = 3.0, 5.0  # seconds from a worker's death to the step's next claim
AMID_GOAL = 10.0  # the same from the end of an outage, while all that lost it comes back as well
DRAIN_GOAL = 20.0
MUST_BE_EMPTY = (
    *("lost", "double_runs", "duplicate_acts", "missing_acts", "acts_after_cancel"),
    *("repeated_calls", "sse_gaps", "sse_doubles", "ownerless", "complaints"),
    *("breaches", "overspent", "late", "retried", "idle"),
)
NOTHING = "-"


@dataclass
class Verdict:
    """The counts; whatever must be zero is zero in a campaign that passed.

    `recoveries` are seconds of steps whose worker was killed while another one stood by and
    both stores were there; `compound`, where everybody was killed or a store was away too, are
    counted from when that was over.
    """

    struck: Counter[str] = field(default_factory=Counter)  # how often each kind of fault did
    idle: list[str] = field(default_factory=list)  # kinds that were due, could, and never did
    runs: int = 0
    lost: list[str] = field(default_factory=list)
    double_runs: list[str] = field(default_factory=list)
    duplicate_acts: list[str] = field(default_factory=list)
    missing_acts: list[str] = field(default_factory=list)
    acts_after_cancel: list[str] = field(default_factory=list)
    unknown_outcomes: int = 0
    repeated_calls: list[str] = field(default_factory=list)
    repeated_in_flight: int = 0
    sse_gaps: list[str] = field(default_factory=list)
    sse_doubles: list[str] = field(default_factory=list)
    ownerless: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)
    overspent: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    retried: list[str] = field(default_factory=list)  # steps begun anew that had no need to be
    budgeted: int = 0  # runs that had a limit
    recoveries: list[float] = field(default_factory=list)
    compound: list[float] = field(default_factory=list)
    kills: int = 0  # of workers that may have had steps in hand
    drains: list[float] = field(default_factory=list)
    streams: int = 0
    cuts: int = 0
    merges: int = 0  # of branches of swarms, for a task that several had worked on
    closed: int = 0  # runs that failed with a clear word because a disk was full or gone

    @property
    def faults(self) -> int:
        return self.struck.total()

    @property
    def faulty(self) -> dict[str, list[str]]:
        """What must be empty and is not."""
        return {name: value for name in MUST_BE_EMPTY if (value := getattr(self, name))}

    @property
    def passed(self) -> bool:
        return not self.faulty and self.in_time

    @property
    def in_time(self) -> bool:
        """Whether steps were taken over and workers left as soon as they have to.

        Nobody knows where workers were killed and nothing was measured.
        """
        unknown = self.kills and not self.compound
        taken = self.recoveries or [float("inf") if unknown else 0.0]
        prompt = quantile(taken, 0.5) <= P50_GOAL and quantile(taken, 0.99) <= P99_GOAL
        back = quantile(self.compound or [0.0], 0.99) <= AMID_GOAL
        return prompt and back and max(self.drains, default=0.0) <= DRAIN_GOAL

    def line(self) -> str:
        """The verdict in one line."""
        in_flight = f"(in flight: {self.repeated_in_flight})"
        words = [
            f"faults={self.faults} (of {len(self.struck)} kinds, idle={len(self.idle)})",
            f"runs={self.runs} lost={len(self.lost)} closed={self.closed} merges={self.merges}",
            f"double_runs={len(self.double_runs)} duplicate_acts={len(self.duplicate_acts)}",
            f"missing_acts={len(self.missing_acts)}",
            f"acts_after_cancel={len(self.acts_after_cancel)}",
            f"unknown_outcomes={self.unknown_outcomes}",
            f"repeated_paid_calls={len(self.repeated_calls)} {in_flight}",
            f"retried={len(self.retried)}",
            f"sse_streams={self.streams} sse_cuts={self.cuts}",
            f"sse_gaps={len(self.sse_gaps)} sse_doubles={len(self.sse_doubles)}",
            f"ownerless={len(self.ownerless)} breaches={len(self.breaches)}",
            f"overspent={len(self.overspent)} (of {self.budgeted} with a limit)",
            f"late={len(self.late)} complaints={len(self.complaints)}",
            f"recoveries={len(self.recoveries)}",
            f"recovery_p50={_seconds(self.recoveries, 0.5)}",
            f"recovery_p99={_seconds(self.recoveries, 0.99)}",
            f"(after an outage: {len(self.compound)}, p99={_seconds(self.compound, 0.99)})",
            f"drain_max={_seconds(self.drains, 1.0)}",
            f"-> {'PASS' if self.passed else 'FAIL'}",
        ]
        return " ".join(words)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 100) // 100) - 1)]


def _seconds(values: Sequence[float], share: float) -> str:
    return f"{quantile(values, share):.2f}s" if values else NOTHING
