"""The outbox: what committed is handed on, in order, at least once, when it is due."""

from __future__ import annotations

import threading

import pytest
import redis

from models import base, events, outbox, streams
from tasks.steps import execute
from workers.broker import BellBroker, broker_url
from workers.relay import Relay


def waiting() -> list[str]:
    rows = base.db.execute_sql("SELECT body->>'n' FROM outbox ORDER BY id")
    return [number for (number,) in rows]


def take(limit: int) -> list[str]:
    with base.db.atomic():
        return [body.get("n", "") for _, body in outbox.take(limit)]


def ask(number: int, **more: object) -> None:
    outbox.ask("short", {"n": str(number)}, **more)


def test_requests_come_out_in_the_order_they_were_made(database: str) -> None:
    for number in range(5):
        ask(number)
    assert take(3) == ["0", "1", "2"]
    assert take(3) == ["3", "4"]
    assert take(3) == []


def test_a_request_stays_inside_until_it_is_due(database: str) -> None:
    ask(1, due_at=base.now_ms() + 60_000)
    ask(2, due_at=base.now_ms() - 1)
    assert take(10) == ["2"]
    assert waiting() == ["1"]


def test_a_request_with_a_key_waits_once(database: str) -> None:
    execute.enqueue_once("k", "exec_1")
    execute.enqueue_once("k", "exec_1")
    assert len(waiting()) == 1
    take(1)
    execute.enqueue_once("k", "exec_1")
    assert len(waiting()) == 1


def test_what_was_rolled_back_is_never_handed_on(database: str) -> None:
    with pytest.raises(RuntimeError), base.db.atomic():
        ask(1)
        raise RuntimeError("the process dies here")
    assert take(10) == []


def test_a_relay_that_dies_before_it_commits_leaves_everything(database: str) -> None:
    ask(1)
    with pytest.raises(RuntimeError), base.db.atomic():
        assert len(outbox.take(10)) == 1
        raise RuntimeError("the process dies here")
    assert take(10) == ["1"]


def test_two_relays_share_the_work_without_a_double(database: str) -> None:
    for number in range(200):
        ask(number)
    taken: list[str] = []

    def relay() -> None:
        with base.db.connection_context():
            while batch := take(7):
                taken.extend(batch)

    threads = [threading.Thread(target=relay) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken, key=int) == [str(number) for number in range(200)]


def test_redis_being_away_loses_nothing(database: str, stream: str) -> None:
    execute.enqueue("exec_1")
    nowhere = "redis://127.0.0.1:1/0"
    with pytest.raises(redis.ConnectionError):
        Relay(nowhere, BellBroker(nowhere)).pass_on()
    broker = BellBroker(stream)
    assert Relay(stream, broker).pass_on() == 1
    with redis.Redis.from_url(broker_url(stream)) as client:
        assert client.llen("djinn:agents") == 1


def test_events_go_to_the_stream_and_jobs_to_the_broker(database: str, stream: str) -> None:
    events.announce("usr_anna", ("run_deleted", {"runId": "run_1"}))
    execute.enqueue("exec_1")
    assert Relay(stream, BellBroker(stream)).pass_on() == 2
    ((_, fields),) = streams.client(stream).xrange(streams.KEY)
    (body,) = streams.decoded([(b"1-0", fields)])
    assert (body["type"], body["owner"], body["seq"]) == ("run_deleted", "usr_anna", None)


def test_a_relay_that_dies_before_it_commits_tells_the_streams_nothing_twice(
    database: str, stream: str
) -> None:
    relay = Relay(stream, BellBroker(stream))
    events.announce("usr_anna", ("run_deleted", {"runId": "run_1"}))
    with pytest.raises(RuntimeError), base.db.atomic():
        assert relay.pass_on() == 1
        raise RuntimeError("the process dies here")
    events.announce("usr_anna", ("run_deleted", {"runId": "run_2"}))
    assert relay.pass_on() == 2
    told = streams.decoded(streams.client(stream).xrange(streams.KEY))
    assert [body["run"] for body in told] == ["run_1", "run_2"]


def test_the_streams_remember_no_more_than_they_keep(
    stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "KEPT", 2)
    for number in (1, 2, 3, 2, 1):
        streams.publish_once(stream, [{"n": number}])
    told = streams.decoded(streams.client(stream).xrange(streams.KEY))
    assert [body["n"] for body in told] == [1, 2, 3, 1]
    assert streams.client(stream).zcard(streams.TOLD) == 2


def test_no_number_and_no_nesting_that_is_told_holds_up_the_rest(
    database: str, stream: str
) -> None:
    deep: object = []
    for _ in range(400):
        deep = [deep]
    events.announce("usr_anna", ("said", {"huge": 10**30, "deep": deep}))
    events.announce("usr_anna", ("said", {"huge": 1}))
    assert Relay(stream, BellBroker(stream)).pass_on() == 2
    strange, plain = streams.decoded(streams.client(stream).xrange(streams.KEY))
    assert (strange["data"]["huge"], strange["data"]["deep"]) == (1e30, deep)
    assert plain["data"] == {"huge": 1}
