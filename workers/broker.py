"""The broker with a bell, and the table of who performs which task.

Dramatiq's engine (messages, actors, worker threads) on a Redis that carries ids only and may be
emptied at any moment: what is lost here, the sweep asks again. Of Dramatiq's own Redis broker
nothing is left, because of what its defaults do: no retries, no delays, no time limits, no dead
letters (a retry is a row, a delay is `due_at`, a deadline belongs to the job, a failure is a row).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import dramatiq
import peewee
import redis
import structlog
from dramatiq.errors import ActorNotFound, DecodeError
from playhouse.pool import MaxConnectionsExceeded
from redis.backoff import NoBackoff
from redis.retry import Retry

from models import failures
from models.base import db
from models.logs import log
from models.steps import ACTIVE, Step
from tasks import QUEUES, TASKS, Task
from tasks.failures import repeat
from tasks.runs import proceed
from tasks.steps import execute
from workers.bell import BELL_SECONDS, BellConsumer
from workers.moves import EXCHANGE, GIVE_BACK, INHERIT, SEND_ONCE

NAMESPACE = "djinn"
GONE_SECONDS = 10  # without a heartbeat a process is dead, and others see to what it held
LOST = "its worker was lost"
SAME: dict[str, Any] = {"message_id": "once", "message_timestamp": 0}  # equal bytes each time

Performer = Callable[..., None]
PERFORMERS: dict[str, Performer] = {}


def performs(task: Task[Any]) -> Callable[[Performer], Performer]:
    """Say that the decorated function does what `task` asks."""

    def register(performer: Performer) -> Performer:
        PERFORMERS[task.name] = performer
        return performer

    return register


def perform(queue: str, name: str, *args: Any, **kwargs: Any) -> None:
    """Do one asked-for job with a database connection and its name in every log line.

    What raises leaves a row in Postgres, by which it is tried again on the queue it came by, before
    it is acknowledged.
    """
    with structlog.contextvars.bound_contextvars(task=name, args=args):
        try:
            with db.connection_context():
                PERFORMERS[name](*args, **kwargs)
        except Exception as error:
            log.exception("job failed")
            _write_down(queue, name, args, kwargs, repr(error))
            raise


def _write_down(
    queue: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], reason: str
) -> None:
    """Keep at it while Postgres is away: letting go of the job now would lose it."""
    while True:
        try:
            note(queue, name, args, kwargs, reason)
            return
        except (peewee.PeeweeException, MaxConnectionsExceeded) as refused:
            log.warning("failure not written down yet", error=str(refused).strip())
            time.sleep(1)


def note(queue: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], reason: str) -> None:
    """Write a failure down, in the row that a repeated job has already."""
    with db.connection_context():
        if name == repeat.name:
            failures.repeated(args[0], reason)
        else:
            failures.note(queue, name, {"args": args, "kwargs": kwargs}, reason)


class BellBroker(dramatiq.Broker):
    """Dramatiq's engine on two Redis lists per queue; nothing in it polls."""

    def __init__(self, url: str) -> None:
        super().__init__(middleware=[])
        self.process = uuid.uuid4().hex
        self.heartbeats = f"{NAMESPACE}:heartbeats"
        self.queues: set[str] = set()
        url = broker_url(url)
        # without its retries: a fetch that is repeated unseen would forget what the first one took
        once: Any = {"retry": Retry(NoBackoff(), 0), "socket_connect_timeout": 2}
        self.client = redis.Redis.from_url(url, socket_timeout=5, **once)
        self.listener = redis.Redis.from_url(url, socket_timeout=BELL_SECONDS + 5, **once)
        self._exchange = self.client.register_script(EXCHANGE)
        self._give_back = self.client.register_script(GIVE_BACK)
        self._send_once = self.client.register_script(SEND_ONCE)
        self._inherit = self.client.register_script(INHERIT)

    def waiting(self, queue: str) -> str:
        """The list of what waits in a queue."""
        return f"{NAMESPACE}:{queue}"

    def holding(self, queue: str, process: str = "") -> str:
        """The list of what a process, by default this one, has taken from a queue and not done."""
        return f"{NAMESPACE}:held:{process or self.process}:{queue}"

    def length(self, queue: str) -> int:
        """How many requests wait in a queue."""
        return int(self.client.llen(self.waiting(queue)))

    def send(self, queue: str, bodies: Sequence[dict[str, Any]]) -> None:
        """Hand requests of one queue to the workers, in order and in one round trip.

        Those that are to be `first` go before what waits already, those that are to be there
        `once` wait there already or come last.
        """
        place = self.waiting(queue)
        pipeline = self.client.pipeline(transaction=False)
        for push, how in ((pipeline.lpush, "first"), (pipeline.rpush, None)):
            chosen = [body for body in bodies if _how(body) == how]
            if chosen:
                push(place, *[_message(queue, body).encode() for body in chosen])
        again = [_message(queue, body, **SAME).encode() for body in bodies if _how(body) == "once"]
        if again:
            self._send_once([place], again, pipeline)
        pipeline.execute()

    def exchange(self, queue: str, room: int, done: Sequence[bytes]) -> list[bytes]:
        """Acknowledge `done`, give a sign of life, and take up to `room` messages."""
        keys = [self.waiting(queue), self.holding(queue), self.heartbeats]
        taken: list[bytes] = self._exchange(keys, [self.process, room, *done])
        return taken

    def give_back(self, queue: str, bodies: Sequence[bytes]) -> None:
        """Put messages that this process holds before those that wait."""
        if bodies:
            self._give_back([self.waiting(queue), self.holding(queue)], bodies)

    def put_back_orphans(self) -> int:
        """Let others have what processes without a heartbeat held; gives how many were gone.

        Whatever of it killed its process is not to kill the next one at once: a job that lost its
        worker has failed. Steps count their losses themselves, those are put back as they are.
        Looks at lists by name: a search (KEYS) would read the whole logical database. Everything
        is held by an heir meanwhile, so that somebody else goes on if we die or Postgres is away.
        """
        heir = uuid.uuid4().hex
        told: list[Any] = [NAMESPACE, GONE_SECONDS, heir, *QUEUES]
        gone, inherited = self._inherit([self.heartbeats], told)
        try:
            for queue, body in inherited:
                self._settle(heir, queue.decode(), body)
        except (peewee.PeeweeException, MaxConnectionsExceeded) as error:
            log.warning("orphans not settled yet", error=str(error).strip())
        else:
            self.client.zrem(self.heartbeats, heir)
        return int(gone)

    def _settle(self, heir: str, queue: str, body: bytes) -> None:
        held = self.holding(queue, heir)
        try:
            message: dramatiq.Message[Any] = dramatiq.Message.decode(body)
        except DecodeError:
            log.error("message is not readable", queue=queue, body=body[:500])
        else:
            if _counted(message.actor_name, message.args):
                self._give_back([self.waiting(queue), held], [body])
                return
            log.warning("job lost its worker", task=message.actor_name, args=message.args)
            note(queue, message.actor_name, message.args, message.kwargs, LOST)
        self.client.lrem(held, 1, body)  # type: ignore[arg-type]

    def obeys(self) -> bool:
        """Whether Redis does such a thing as taking a message, just now."""
        probe = f"{NAMESPACE}:probe"
        try:
            self.client.lmove(probe, probe, "LEFT", "RIGHT")
        except redis.RedisError:
            return False
        return True

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 0) -> BellConsumer:
        return BellConsumer(self, queue_name, prefetch)

    def declare_queue(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def get_declared_queues(self) -> set[str]:
        return set(self.queues)

    def get_actor(self, actor_name: str) -> dramatiq.Actor[..., None]:
        """The actor of a task; one that a newer version asked for fails by the usual way."""
        try:
            return super().get_actor(actor_name)
        except ActorNotFound:
            return _actor(self, actor_name, next(iter(self.queues)))

    def close(self) -> None:
        """Leave no heartbeat behind, unless something of ours is still to be put back."""
        held = [self.holding(queue) for queue in QUEUES]
        try:
            if not self.client.exists(*held):
                self.client.zrem(self.heartbeats, self.process)
        except redis.RedisError as error:
            log.warning("no farewell to Redis", error=str(error).strip())
        self.client.close()
        self.listener.close()


def _counted(name: str, args: Sequence[Any]) -> bool:
    """Whether a job worked on a step, which counts the workers it loses itself."""
    if name != proceed.name:
        return name == execute.name
    with db.connection_context():
        return Step.select().where((Step.run == args[0]) & Step.state.in_(ACTIVE)).exists()


def _how(body: dict[str, Any]) -> str | None:
    return next((how for how in ("first", "once") if body.get(how)), None)


def _message(queue: str, body: dict[str, Any], **more: Any) -> dramatiq.Message[None]:
    return dramatiq.Message(
        queue_name=queue,
        actor_name=body["task"],
        args=tuple(body["args"]),
        kwargs=body["kwargs"],
        options={},
        **more,
    )


def broker_url(url: str) -> str:
    """The same server's next logical database: streams have the one that was named."""
    parts = urlsplit(url)
    number = int(parts.path.strip("/") or 0)
    return urlunsplit(parts._replace(path=f"/{number + 1}"))


def declare_actors(broker: BellBroker, queue: str) -> None:
    """Make every declared task an actor of `broker`: any of them may be asked for on any queue."""
    for name in TASKS:
        _actor(broker, name, queue)


def _actor(broker: BellBroker, name: str, queue: str) -> dramatiq.Actor[..., None]:
    def act(*args: Any, **kwargs: Any) -> None:
        perform(queue, name, *args, **kwargs)

    made: dramatiq.Actor[..., None] = dramatiq.actor(
        actor_name=name, queue_name=queue, broker=broker
    )(act)
    return made
