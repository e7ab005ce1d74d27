"""What can be asked: a task is a name, a queue and the shape of its arguments; workers do it.

`enqueue` writes to the outbox in the caller's transaction, so a request exists exactly when the
rows it speaks of do. Queues are duration classes: `short` (under a second), `agents` (minutes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, ParamSpec

from models import outbox
from models.failures import key_of

P = ParamSpec("P")

QUEUES = ("short", "agents", "executors", "chats", "media")
ECHO_MS = 60_000  # after which what Redis has forgotten is asked for again
TASKS: dict[str, Task[Any]] = {}


@dataclass(frozen=True)
class Task(Generic[P]):
    """Something a worker can be asked to do; arguments are ids and plain JSON."""

    name: str
    queue: str
    declaration: Callable[P, None]

    def on(self, queue: str) -> Task[P]:
        """The same task, asked for on another queue."""
        return replace(self, queue=_known(queue))

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Ask for it once the current transaction commits."""
        outbox.ask(self.queue, self._body(args, kwargs))

    def enqueue_at(self, due_at: int, *args: P.args, **kwargs: P.kwargs) -> None:
        """Ask for it, to be handed out not before `due_at` (epoch milliseconds)."""
        outbox.ask(self.queue, self._body(args, kwargs), due_at=due_at)

    def enqueue_twice(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Ask for it, and once more later, for what no row remembers: Redis may forget the first.

        The second one waits in Postgres; whoever does it must find that it is done.
        """
        self.enqueue(*args, **kwargs)
        outbox.ask_later(self.queue, self._body(args, kwargs), ECHO_MS)

    def enqueue_once(self, key: str, *args: P.args, **kwargs: P.kwargs) -> None:
        """Ask for it unless what was asked so with the same key is still waiting for a worker."""
        body = {**self._body(args, kwargs), "once": True}
        failure = key_of(self.name, {"args": body["args"], "kwargs": kwargs})
        outbox.ask_again(self.queue, body, f"{self.name}:{key}", failure)

    def enqueue_first(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Ask for it before all that waits: somebody had begun with it already."""
        outbox.ask(self.queue, {**self._body(args, kwargs), "first": True})

    def _body(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return {"task": self.name, "args": list(args), "kwargs": kwargs}


def task(queue: str) -> Callable[[Callable[P, None]], Task[P]]:
    """Declare a task; its name is `module.function`."""
    _known(queue)

    def declare(declaration: Callable[P, None]) -> Task[P]:
        name = f"{declaration.__module__.removeprefix('tasks.')}.{declaration.__name__}"
        TASKS[name] = declared = Task(name, queue, declaration)
        return declared

    return declare


def _known(queue: str) -> str:
    if queue not in QUEUES:
        raise ValueError(f"unknown queue {queue}")
    return queue
