"""One run's events over HTTP: in order, each once, whatever happens."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient

from models import base, events, outbox, streams
from models.base import db
from models.config import Settings
from models.runs import Run
from tasks import runs as commands
from tests.beginning import begun, keep_waiting
from tests.processes.product import until
from tests.web.listening import Frame, delta, happen, kinds, listening, messages, numbered
from web import create_app
from web.connections import HELD_FRAMES

Work = Callable[..., int]


def test_a_finished_run_is_told_from_its_first_event_to_its_last(
    owner: FlaskClient, run: str, work: Work
):
    work()
    with listening(owner, f"/v1/events/stream?run_id={run}") as frames:
        told = messages(frames)
        assert list(frames) == []
    assert [frame.id for frame in told] == [str(number + 1) for number in range(len(told))]
    assert (kinds(told)[0], kinds(told)[-1]) == ("run_created", "run_complete")
    assert told[0].data["legacyType"] == "RUN_CREATED"
    assert {frame.data["runId"] for frame in told} == {run}


def test_a_run_is_told_while_it_happens(
    owner: FlaskClient, run: str, settings: Settings, work: Work
):
    with listening(owner, f"/v1/events/stream?run_id={run}") as frames:
        assert kinds(messages(frames, 1)) == ["run_created"]
        delta(settings, run, "Hel")
        (text,) = messages(frames, 1)
        assert (text.data["type"], text.data["chunk"]) == ("agent_output", "Hel")
        assert text.id.startswith("1.")
        work()
        assert kinds(messages(frames))[-1] == "run_complete"


def test_reconnecting_at_any_point_tells_the_rest_exactly_once(
    owner: FlaskClient, run: str, work: Work
):
    work()
    whole = [frame.id for frame in messages_of(owner, run)]
    for cut in random.Random(7).sample(range(len(whole)), 5):
        rest = [frame.id for frame in messages_of(owner, run, whole[cut])]
        assert rest == whole[cut + 1 :]


def messages_of(client: FlaskClient, run: str, after: str | None = None) -> list[Frame]:
    with listening(client, f"/v1/events/stream?run_id={run}", after) as frames:
        return messages(frames)


def test_the_header_wins_and_since_and_after_mean_the_same(
    owner: FlaskClient, run: str, work: Work
):
    work()
    path = f"/v1/events/stream?run_id={run}"
    for address, header in ((f"{path}&since=0", "5"), (f"{path}&since=5", None)):
        with listening(owner, address, header) as frames:
            assert messages(frames)[0].id == "6"
    with listening(owner, f"{path}&after=5") as frames:
        assert messages(frames)[0].id == "6"


def test_resuming_from_a_delta_tells_the_deltas_that_followed_it(
    owner: FlaskClient, run: str, settings: Settings, work: Work
):
    path = f"/v1/events/stream?run_id={run}"
    begun(run)
    with listening(owner, path) as frames:
        seq = Run.get_by_id(run).event_seq
        messages(frames, seq)
        for text in "abc":
            delta(settings, run, text)
        first = messages(frames, 1)[0]
    happen(run, "then")
    body = events.loose("usr_owner", "agent_message", {"runId": run, "message": "then"})
    streams.publish(settings.redis_url, [body | {"seq": seq + 1}])
    with listening(owner, path, first.id) as frames:
        told = messages(frames, 3)
    assert [frame.data.get("chunk") for frame in told] == ["b", "c", None]
    assert told[0].id.startswith(f"{seq}.")
    assert told[2].id == str(seq + 1)


def test_text_that_redis_has_lost_is_skipped_and_the_events_come(
    owner: FlaskClient, run: str, settings: Settings
):
    happen(run, "one")
    with redis.Redis.from_url(settings.redis_url) as client:
        client.flushdb()
    with listening(owner, f"/v1/events/stream?run_id={run}", "1.1700000000000-0") as frames:
        assert [frame.id for frame in messages(frames, 1)] == ["2"]


def test_what_the_stream_skips_is_fetched_from_postgres(
    owner: FlaskClient, run: str, settings: Settings
):
    with listening(owner, f"/v1/events/stream?run_id={run}") as frames:
        messages(frames, 1)
        happen(run, "two", "three")  # nobody relays these
        body = events.loose("usr_owner", "agent_message", {"runId": run, "message": "three"})
        streams.publish(settings.redis_url, [body | {"seq": 3}, body | {"seq": 2}])
        assert [frame.id for frame in messages(frames, 2)] == ["2", "3"]
        delta(settings, run, "after")
        assert messages(frames, 1)[0].data["chunk"] == "after"


def test_a_large_event_is_whole_for_who_follows_its_run_and_small_in_redis(
    owner: FlaskClient, run: str, settings: Settings, work: Work
):
    message = "word " * 50_000
    with listening(owner, f"/v1/events/stream?run_id={run}&follow=true") as frames:
        messages(frames, 1)
        with db.atomic():
            large = ("agent_message", {"from": "eric", "message": message})
            Run.locked(run).record(large, ("agent_message", {"message": "small"}))
        keep_waiting()
        work()
        told = messages(frames, 2)
        assert [frame.id for frame in told] == ["2", "3"]
        assert [frame.data["message"] for frame in told] == [message, "small"]
    with redis.Redis.from_url(settings.redis_url) as client:
        entries = streams.decoded(client.xrange(streams.KEY))
    (cut,) = [entry for entry in entries if not entry.get("whole", True)]
    assert cut["data"] == {"from": "eric", "truncated": True}


def test_without_redis_events_come_from_postgres(settings: Settings, database: str, run: str):
    lonely = replace(settings, redis_url="redis://127.0.0.1:1/0", auth_enabled=False)
    app = create_app(lonely)
    app.extensions["feed"].recheck_seconds = 0.1
    with listening(app.test_client(), f"/v1/events/stream?run_id={run}") as frames:
        messages(frames, 1)
        happen(run, "two", "three")
        assert [frame.id for frame in messages(frames, 2)] == ["2", "3"]


def test_live_only_begins_with_what_comes(owner: FlaskClient, run: str, work: Work):
    with listening(owner, f"/v1/events/stream?run_id={run}&since=$") as frames:
        next(frames)
        work()
        assert kinds(numbered(messages(frames)))[0] == "run_started"


def test_a_restart_goes_on_with_the_numbers(owner: FlaskClient, run: str, work: Work):
    work()
    ended = int(messages_of(owner, run)[-1].id)
    owner.post(f"/v1/runs/{run}/restart")
    with listening(owner, f"/v1/events/stream?run_id={run}") as frames:
        assert len(messages(frames, ended + 1)) == ended + 1  # past the first attempt's end
        work()
        rest = messages(frames)
    assert kinds(rest)[-1] == "run_complete"
    assert numbered(rest)[0].id == str(ended + 2)


def test_whoever_follows_stays_after_the_end(owner: FlaskClient, run: str, work: Work):
    work()
    with listening(owner, f"/v1/events/stream?run_id={run}&follow=true") as frames:
        while messages(frames, 1)[0].data["type"] != "run_complete":
            continue
        owner.post(f"/v1/runs/{run}/restart")
        work()
        assert messages(frames, 1)[0].data["type"] == "run_created"


def test_the_older_path_swaps_the_names_and_stays_open(owner: FlaskClient, run: str, work: Work):
    work()
    with listening(owner, f"/v1/events/stream/{run}?since=0") as frames:
        told = messages(frames, 1)[0]
        assert (told.data["type"], told.data["legacyType"]) == ("RUN_CREATED", "run_created")
        while messages(frames, 1)[0].data["type"] != "RUN_COMPLETE":
            continue
        owner.post(f"/v1/runs/{run}/restart")
        work()
        assert messages(frames, 1)[0].data["type"] == "RUN_CREATED"


def test_a_server_may_speak_the_older_names_everywhere(settings: Settings, database: str, run: str):
    app = create_app(replace(settings, legacy_event_names=True, auth_enabled=False))
    with listening(app.test_client(), f"/v1/events/stream?run_id={run}") as frames:
        assert kinds(messages(frames, 1)) == ["RUN_CREATED"]


def test_a_deleted_run_ends_its_stream(app: Flask, owner: FlaskClient, run: str):
    app.extensions["feed"].recheck_seconds = 0.1
    with listening(owner, f"/v1/events/stream?run_id={run}") as frames:
        messages(frames, 1)
        owner.delete(f"/v1/runs/{run}?force=true")
        assert messages(frames) == []


@pytest.mark.parametrize("position", ["x", "1-1-1", "-5", "1.x"])
def test_a_position_that_is_none_is_422(owner: FlaskClient, run: str, position: str):
    for address in ("/v1/events/stream", f"/v1/events/stream?run_id={run}"):
        answer = owner.get(address, headers={"Last-Event-ID": position})
        assert answer.status_code == 422


def test_an_unknown_run_is_404_before_anything_streams(owner: FlaskClient, stranger, run: str):
    assert owner.get("/v1/events/stream?run_id=none").status_code == 404
    assert stranger.get(f"/v1/events/stream?run_id={run}").status_code == 404
    assert stranger.get(f"/v1/events/stream/{run}").status_code == 404


def test_a_client_that_is_too_slow_is_cut_off_and_may_resume(
    app: Flask, owner: FlaskClient, run: str, settings: Settings
):
    path = f"/v1/events/stream?run_id={run}"
    with listening(owner, path) as frames:
        messages(frames, 1)
        for batch in range(11):
            chunk = f"{batch} " + "word " * 200
            body = events.loose("usr_owner", "agent_output", {"runId": run, "chunk": chunk})
            streams.publish(settings.redis_url, [body] * (HELD_FRAMES // 10))
        (listener,) = app.extensions["feed"].audience.listeners()
        until(lambda: listener.connection.last)
        told = list(frames)
    assert told[-1].comment == "too slow, resume with Last-Event-ID"
    assert len(told) < HELD_FRAMES
    happen(run, "then")
    with listening(owner, path, told[-2].id) as frames:
        rest = messages(frames, 1100 - len(told) + 2)
    assert kinds(rest) == ["agent_output"] * (1100 - len(told) + 1) + ["agent_message"]


def test_a_server_that_stops_ends_its_streams(app: Flask, owner: FlaskClient, run: str):
    with listening(owner, f"/v1/events/stream?run_id={run}") as frames:
        messages(frames, 1)
        app.extensions["feed"].close()
        assert "the server restarts" in next(frames).comment
        assert list(frames) == []


def test_signs_of_life_come_when_nothing_happens(app: Flask, owner: FlaskClient, run: str):
    app.extensions["feed"].audience.beat_seconds = 0.1
    with listening(owner, f"/v1/events/stream?run_id={run}&since=$") as frames:
        told = [next(frames) for _ in range(5)]
    assert [frame.event for frame in told] == [
        "comment",
        "comment",
        "comment",
        "heartbeat",
        "comment",
    ]
    assert told[3].data == {"status": "connected"}


def test_a_stream_holds_no_database_connection(app: Flask, owner: FlaskClient, run: str):
    with listening(owner, f"/v1/events/stream?run_id={run}") as frames:
        messages(frames, 1)
        db.close()
        until(lambda: not db._in_use)


def test_a_stream_that_asked_in_vain_whether_this_was_the_end_is_reminded(
    app: Flask, owner: FlaskClient, run: str, settings: Settings, database: str
):
    app.extensions["feed"].recheck_seconds = 0.1
    with listening(owner, f"/v1/events/stream?run_id={run}") as frames:
        messages(frames, 1)
        commands.cancel(run)
        with db.atomic():
            waiting = [body for queue, body in outbox.take(100) if queue == outbox.EVENTS]
        base.db.close_all()
        base.connect("postgresql://nobody@127.0.0.1:1/none")
        streams.publish(settings.redis_url, waiting)
        (ended,) = messages(frames, 1)
        time.sleep(0.5)  # it asks, and nobody answers
        base.connect(database)
        assert ended.data["type"] == "run_failed"
        assert [frame.event for frame in frames if frame.comment is None] == ["end"]
