"""Following a run to its end, in a terminal, in a pipe, or as JSON lines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing as closed
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.live import Live

from workers import drawing
from workers.remote import Rejected, Remote
from workers.terminal import View

FRAMES_PER_SECOND = 8


@dataclass(frozen=True)
class Manner:
    """How to show a run: JSON lines on stdout, or for people with or without the model's words."""

    json: bool = False
    stream: bool = False


def now_ms() -> int:
    """This machine's clock, in epoch milliseconds."""
    return int(time.time() * 1000)


def follow(remote: Remote, run: dict[str, Any], manner: Manner) -> View:
    """Show the run until it is over and return its last view; raises Unreachable or Rejected."""
    view = View.of(run, _plan(remote, run))
    console = Console()
    with _screen(console, manner, view) as show, closed(remote.events(run["id"])) as events:
        for event in events:
            view = view.after(event)
            show(event, view)
    if not manner.json:
        detail = remote.get(f"/v1/runs/{run['id']}")
        told = drawing.summary(view, detail, now_ms())
        console.print(told, soft_wrap=not console.is_terminal)
    return view


def _plan(remote: Remote, run: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps the pipeline names, so that what is still to come shows too."""
    try:
        steps = remote.get(f"/v1/pipelines/{run['pipeline_id']}").get("steps")
    except Rejected:  # the pipeline may have been removed since
        return []
    return [step for step in steps or [] if isinstance(step, dict) and step.get("id")]


@contextmanager
def _screen(console: Console, manner: Manner, view: View) -> Iterator[Any]:
    if manner.json:
        yield _json_line
    elif console.is_terminal:
        with _Live(console, manner, view) as live:
            yield live.show
    else:
        yield _Plain(manner).show


def _json_line(event: dict[str, Any], _: View) -> None:
    sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
    sys.stdout.flush()


class _Plain:
    """One line per event; with `stream`, the model's words in between."""

    def __init__(self, manner: Manner) -> None:
        self.stream = manner.stream
        self.midline = False

    def show(self, event: dict[str, Any], view: View) -> None:
        if self.stream and event.get("chunk"):
            sys.stdout.write(event["chunk"])
            self.midline = not event["chunk"].endswith("\n")
        elif line := drawing.plain(event, view):
            sys.stdout.write(("\n" if self.midline else "") + line + "\n")
            self.midline = False
        sys.stdout.flush()


class _Live:
    """The picture, redrawn by a thread of its own so that clocks go on between events."""

    def __init__(self, console: Console, manner: Manner, view: View) -> None:
        self.view = view
        self._stream = manner.stream
        self._live = Live(
            console=console,
            get_renderable=lambda: drawing.render(self.view, now_ms(), self._stream),
            refresh_per_second=FRAMES_PER_SECOND,
            vertical_overflow="ellipsis",
        )

    def __enter__(self) -> _Live:
        self._live.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._live.vertical_overflow = "visible"  # the last picture stays whole
        self._live.__exit__(*exception)

    def show(self, _: dict[str, Any], view: View) -> None:
        self.view = view
