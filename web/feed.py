"""The live stream, read once per process and handed to everybody who listens."""

from __future__ import annotations

import threading
import time
from typing import Any

import peewee
import psycopg2
import redis
from playhouse.pool import MaxConnectionsExceeded

from models import callers, runs, streams, swarms
from models.base import db
from models.errors import TooMany, Unavailable
from models.logs import log
from models.principals import Principal
from models.projects import memberships, outsiders
from models.runs import Run
from web.audience import FAREWELL, Audience, Listener, Stream
from web.items import GAP, NUDGE, OPEN, Item, items_of, shown
from web.positions import START, Entry, entry_of, written

MOST = 10_000  # listeners in one process
MOST_EACH = 200  # of them, of one person or agent
AGAIN_SECONDS = 10  # until one of theirs may have ended
BLOCK_MS = 1_000
READ = 500  # entries in one turn
ASKED = 500  # runs in one question
COUNTED = frozenset({"run_created", "run_updated", "run_status_changed"})
AWAY = (
    peewee.OperationalError,
    peewee.InterfaceError,
    psycopg2.InterfaceError,  # an answer was still to be read
    MaxConnectionsExceeded,
)


class Feed:
    """Threads run while somebody listens; nothing is opened before."""

    def __init__(self, redis_url: str | None) -> None:
        self.redis_url = redis_url
        self.audience = Audience()
        self.recheck_seconds = 2.0
        self._lock = threading.Lock()
        self._position: Entry | None = None
        self._turn: object | None = None  # which pair of threads is at work; None when none is
        self._deaf = not redis_url  # nobody tells us what happens
        self._closing = False
        self._known: dict[str | None, int] = {}  # numbers of runs at the last recheck
        self._counts: dict[str | None, tuple[float, int]] = {}

    def admit(self, principal: Principal) -> None:
        """Refuse whom this process has no room for; nobody takes the places of all others.

        Services, and everybody where accounts are off, may have as many as there is room for.
        """
        if len(self.audience) >= MOST:
            raise Unavailable("As many streams are open here as this process can hold")
        if principal.kind in ("user", "agent"):
            callers = [one.stream.principal.id for one in self.audience.listeners()]
            if callers.count(principal.id) >= MOST_EACH:
                told = f"You have {MOST_EACH} streams open here, which is the most"
                raise TooMany(told, after=AGAIN_SECONDS)

    def join(self, stream: Stream, fd: int, opening: bytes) -> None:
        """Tell a client the stream, from now on, over a socket that is ours from now on."""
        listener = Listener(stream, fd)
        with self._lock:
            starting = self._turn is None
            turn = self._turn = self._turn or object()
        if starting and self.redis_url:
            self._pin()  # before the first listener hears anything
        self.audience.join(listener, opening)
        if starting:
            self._start(turn)
        if self._closing:
            self.audience.dismiss([listener], FAREWELL)

    def close(self) -> None:
        """End every stream: this process is about to stop."""
        self._closing = True
        self.audience.dismiss(self.audience.listeners(), FAREWELL)

    def since(self, entry: Entry, limit: int, about: str | None = None) -> list[Item]:
        """The first entries after one, at most `limit`, of them those about one run if named."""
        rows: Any = self._client().xrange(streams.KEY, f"({written(entry)}", "+", count=limit)
        if about is not None:
            rows = [row for row in rows if about.encode() in row[1][streams.FIELD]]
        return items_of(rows)

    def holds(self, entry: Entry) -> bool:
        """Whether everything after this entry is still in Redis."""
        oldest = self._client().xrange(streams.KEY, count=1)
        return bool(oldest) and entry_of(oldest[0][0].decode()) <= entry

    def newest(self) -> Entry:
        """The last entry that Redis holds."""
        newest = self._client().xrevrange(streams.KEY, count=1)
        return entry_of(newest[0][0].decode()) if newest else START

    def answers(self) -> bool:
        """Whether Redis is there."""
        return streams.answers(self.redis_url)

    def running_runs(self, principal: Principal) -> int:
        """How many runs that the caller may see are running, as last counted; asks nobody."""
        return self._counts.get(_sight(principal), (0.0, 0))[1]

    def count_for(self, principals: list[Principal]) -> None:
        """Count the running runs that each may see; a count stays good for a second."""
        now = time.monotonic()
        for principal in {_sight(principal): principal for principal in principals}.values():
            if now - self._counts.get(_sight(principal), (-1.0, 0))[0] > 1:
                with db.connection_context():
                    mine = Run.visible_to(principal).where(Run.state == runs.RUNNING)
                    self._counts[_sight(principal)] = now, mine.count()

    def _client(self) -> Any:
        return streams.client(self.redis_url or "")

    def _start(self, turn: object) -> None:
        if self.redis_url:
            threading.Thread(
                target=self._read, args=(turn,), daemon=True, name="stream-reader"
            ).start()
        threading.Thread(
            target=self._recheck, args=(turn,), daemon=True, name="stream-recheck"
        ).start()

    def _pin(self) -> None:
        try:
            self._position = self.newest()
        except redis.RedisError as error:
            log.warning("live stream unavailable", error=str(error))

    def _goes_on(self, turn: object) -> bool:
        """Whether anybody still listens; the threads end when not, and others begin later."""
        with self._lock:
            if self._turn is turn and not len(self.audience):
                self._turn = self._position = None
            return self._turn is turn

    def _read(self, turn: object) -> None:
        unheard = self._position is None  # what happened since the first one listens
        while self._goes_on(turn):
            try:
                if self._position is None:
                    self._position = self.newest()
                if unheard or (self._deaf and not self.holds(self._position)):
                    self.audience.hand_out([GAP])
                self._deaf = unheard = False
                self._read_on(turn, self._position)
            except redis.RedisError as error:
                log.warning("live stream interrupted", error=str(error))
                self._deaf = True
                time.sleep(1)
            except Exception:  # everybody else may not go deaf of what somebody cannot read
                log.exception("live stream broke")
                self._deaf = unheard = True
                time.sleep(1)

    def _read_on(self, turn: object, since: Entry) -> None:
        position = {streams.KEY: written(since)}
        for _, entries in self._client().xread(position, count=READ, block=BLOCK_MS) or []:
            if not self._goes_on(turn):
                return
            if len(entries) == READ and not self.holds(since):  # so late that some were gone
                self.audience.hand_out([GAP])
            self._position = entry_of(entries[-1][0].decode())  # read once, whatever is in them
            items = items_of(entries)
            self._count_for(items)
            self.audience.hand_out(items)
        time.sleep(0)  # when the stream never runs dry, others want a turn

    def _count_for(self, items: list[Item]) -> None:
        """Some events tell their readers how many runs are running."""
        counted = [item for item in items if item.body and item.body["type"] in COUNTED]
        hearing = self.audience.hearing({topic for item in counted for topic in item.topics})
        try:
            self.count_for([one.stream.principal for one in hearing if not one.stream.topic])
        except AWAY as error:
            log.warning("runs not counted", error=str(error).strip())

    def _recheck(self, turn: object) -> None:
        """Look in Postgres for what we did not hear of: events, and rights that were taken away."""
        while self._goes_on(turn):
            time.sleep(self.recheck_seconds)
            listening = self.audience.listeners()
            known, self._known = self._known, {}
            try:
                for start in range(0, len(listening), ASKED):
                    some = listening[start : start + ASKED]
                    self._nudge([one for one in some if one.stream.topic], known)
                    self._end_swarms([one for one in some if swarm_of(one)])
                    self._dismiss_outsiders(some)
                self._follow_projects()
            except AWAY as error:
                log.warning("recheck skipped", error=str(error).strip())
            except Exception:  # whose rights are taken away must not listen on because of it
                log.exception("recheck broke")

    def _nudge(self, listening: list[Listener], known: dict[str | None, int]) -> None:
        """Wake who follows a run that went on without us hearing of it, or is gone, or is unsure.

        What the last recheck did not know of is on its way: under load thousands wait for it.
        """
        idle = [one for one in listening if one.held is None and one.connection.idle]
        with db.connection_context():
            followed = list({one.stream.topic for one in idle})
            query = "SELECT id, event_seq FROM runs WHERE id = ANY(%s)"
            numbers = dict(db.execute_sql(query, (followed,)).fetchall())
        self._known.update(numbers)
        missed = numbers if self._deaf else known
        for one in idle:
            topic, seq = one.stream.topic, one.stream.seq
            if topic not in numbers or missed.get(topic, 0) > seq or one.stream.unsure:
                self.audience.tell(one, NUDGE)

    def _end_swarms(self, listening: list[Listener]) -> None:
        """Have streams of swarms that are over say so, where nobody told us."""
        if listening:
            with db.connection_context():
                over = swarms.over({swarm_of(one) for one in listening})
            for one in listening:
                if swarm_of(one) in over:
                    one.stream.behind = True
                    self.audience.tell(one, NUDGE)

    def _dismiss_outsiders(self, listening: list[Listener]) -> None:
        """End the streams whose callers are not who they were, or may no longer see their run."""
        principals = {one.stream.principal for one in listening}
        common = {who.id for who in principals if not who.is_admin}
        with db.connection_context():
            welcome = callers.alive(principals)
            strange = outsiders(Run, {_look(one) for one in listening if _look(one)[1] in common})
        gone = [one for one in listening if one.stream.principal not in welcome]
        self.audience.dismiss(gone + [one for one in listening if _look(one) in strange])

    def _follow_projects(self) -> None:
        """Streams of everything show the projects that their callers work on by now."""
        opened = self.audience.hearing([OPEN])
        with db.connection_context():
            joined = memberships(list({one.stream.principal.id for one in opened}))
        for one in opened:
            who = one.stream.principal
            topics = shown(who, joined.get(who.id, ()))
            if topics != one.stream.topics:
                self.audience.follow(one, topics)


def swarm_of(listener: Listener) -> str:
    """The swarm that is followed, if it is one."""
    return str(getattr(listener.stream, "swarm_id", ""))


def _look(listener: Listener) -> tuple[str, str]:
    """What is followed, and by whom."""
    return listener.stream.topic or "", listener.stream.principal.id


def _sight(principal: Principal) -> str | None:
    """Callers with the same sight see the same runs."""
    return None if principal.is_admin else principal.id
