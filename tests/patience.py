"""Promises about time, on a machine that others use too."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, act: Callable[[], T], tries: int = 5) -> T:
    """What an act gives that takes less than so many seconds, as it must in one of a few tries.

    Whoever waits for something takes too long each time; whom the machine did not let run, once.
    """
    taken = []
    for _ in range(tries):
        began = time.monotonic()
        answer = act()
        taken.append(time.monotonic() - began)
        if taken[-1] < seconds:
            return answer
    raise AssertionError(f"this never took less than {seconds} s, but {taken}")
