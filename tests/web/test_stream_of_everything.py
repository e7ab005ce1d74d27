"""The stream of everything, and the narrower ones that older clients open."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Any

import peewee
import redis
from flask import Flask
from flask.testing import FlaskClient

from models import activities, events, streams
from models.base import db
from models.config import Settings
from models.principals import Principal
from models.runs import Run
from tests.beginning import keep_waiting
from tests.processes.product import until
from tests.web.listening import Frame, kinds, listening, messages, read
from web.connections import HELD_FRAMES
from web.feed import READ, Feed
from web.items import Item
from web.positions import START, Entry
from web.stream import BATCH, Channel, OpenStream

ADMIN = Principal("usr_admin", "user", is_admin=True)
Work = Callable[..., int]


def test_the_stream_of_everything_shows_each_caller_their_own(
    owner: FlaskClient, stranger: FlaskClient, admin: FlaskClient, work: Work
):
    with (
        listening(owner, "/v1/events/stream") as mine,
        listening(stranger, "/v1/events/stream") as theirs,
        listening(admin, "/v1/events/stream") as every,
    ):
        for frames in (mine, theirs, every):
            next(frames)
        first = owner.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "a"}).json["id"]
        other = stranger.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "b"}).json["id"]
        work()
        assert messages(mine, 1)[0].data["runId"] == first
        assert messages(theirs, 1)[0].data["runId"] == other
        told = [frame for frame in messages(every, 80) if frame.data["type"] == "run_created"]
        assert {frame.data["runId"] for frame in told} == {first, other}
        assert told[0].data["activeRuns"] in range(3)  # as many as there were when it was told


def test_the_stream_of_everything_resumes_after_an_entry(
    owner: FlaskClient, settings: Settings, work: Work
):
    ids = [
        owner.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "a"}).json["id"]
        for _ in range(3)
    ]
    work()
    with listening(owner, "/v1/events/stream?since=0") as frames:
        whole = messages(frames, 20)
    assert whole[0].data["runId"] == ids[0]
    with listening(owner, "/v1/events/stream", whole[4].id) as frames:
        assert [frame.id for frame in messages(frames, 15)] == [f.id for f in whole[5:]]


def test_a_large_event_is_cut_for_who_follows_everything(owner: FlaskClient, run: str, work: Work):
    with listening(owner, "/v1/events/stream") as frames:
        next(frames)
        with db.atomic():
            outputs = {"report": "word " * 50_000}
            Run.locked(run).record(("step_complete", {"stepId": "FIX", "outputs": outputs}))
        keep_waiting()
        work()
        told = {frame.data["type"]: frame.data for frame in messages(frames, 2)}
    assert told["step_complete"]["stepId"] == "FIX"
    assert told["step_complete"]["truncated"] is True
    assert "outputs" not in told["step_complete"]
    assert "truncated" not in told["run_created"]


def test_an_agents_large_outputs_do_not_fill_the_stream(
    owner: FlaskClient, run: str, settings: Settings, work: Work
):
    with db.atomic():
        told = {"runId": run, "stepId": "FIX", "outputs": {"report": "word " * 50_000}}
        activities.note("yukihiro", "usr_owner", run, ("work_complete", told))
    with listening(owner, "/v1/events/activity/yukihiro?limit=1") as frames:
        past = messages(frames, 3)
        work()
        (live,) = messages(frames, 1)
    assert past[0].data["data"] == told
    assert live.data["data"] == {"runId": run, "stepId": "FIX", "truncated": True}


def test_a_position_that_is_too_old_is_told_of_a_gap(owner: FlaskClient, run: str, work: Work):
    work()
    with listening(owner, "/v1/events/stream", "1600000000000-0") as frames:
        gap = messages(frames, 1)[0]
    assert gap.data["type"] == "stream_gap"
    assert gap.data["from"] == "1600000000000-0"


def deleted(*names: str) -> list[dict[str, Any]]:
    return [events.loose("usr_owner", "run_deleted", {"runId": name}) for name in names]


def test_what_is_trimmed_between_two_batches_of_a_replay_is_a_gap(database: str, stream: str):
    streams.publish(stream, deleted("run_1") * (BATCH + 2))
    replay = OpenStream(Feed(stream), ADMIN, START, Channel())
    db.close()
    assert replay.catch_up().count(b"run_deleted") == BATCH
    streams.client(stream).xtrim(streams.KEY, maxlen=1, approximate=False)
    assert kinds(list(read(iter([replay.catch_up()])))) == ["stream_gap", "run_deleted"]


def test_who_is_told_too_late_by_a_busy_server_is_told_of_the_gap(
    app: Flask, owner: FlaskClient, settings: Settings
):
    audience = app.extensions["feed"].audience
    told = deleted(*map(str, range(3 * READ)))
    with listening(owner, "/v1/events/stream") as frames:
        (listener,) = audience.listeners()
        until(lambda: listener.held is None)
        with audience.lock:  # whoever reads the stream cannot hand on what it has read
            streams.publish(settings.redis_url, told)
            streams.client(settings.redis_url).xtrim(streams.KEY, maxlen=READ, approximate=False)
        heard = messages(frames, 1)
        while heard[-1].data.get("runId") != told[-1]["run"]:
            heard += messages(frames, 1)
    assert "stream_gap" in kinds(heard)


class Hesitant(Feed):
    """A feed whose Redis does not say how far it has got, the first two times."""

    refusals = 2

    def newest(self) -> Entry:
        if self.refusals:
            self.refusals -= 1
            raise redis.ConnectionError("Redis is away")
        return super().newest()


def test_who_begins_to_listen_amid_an_outage_hears_of_a_gap_and_of_nothing_old(
    app: Flask, owner: FlaskClient, settings: Settings
):
    app.extensions["feed"] = Hesitant(settings.redis_url)
    streams.publish(settings.redis_url, deleted("old"))
    with listening(owner, "/v1/events/stream") as frames:
        assert kinds(messages(frames, 1)) == ["stream_gap"]
        streams.publish(settings.redis_url, deleted("new"))
        assert messages(frames, 1)[0].data["runId"] == "new"


def test_what_one_stream_cannot_read_silences_no_other(owner: FlaskClient, settings: Settings):
    strange = events.loose("usr_owner", "activity", {"of": "another version"})
    plain = events.loose("usr_owner", "run_deleted", {"runId": "run_1"})
    with (
        listening(owner, "/v1/events/activity/finn") as broken,
        listening(owner, "/v1/events/stream") as whole,
    ):
        assert kinds(messages(broken, 2)) == ["current_state", "connected"]
        streams.publish(settings.redis_url, [strange, plain])
        assert kinds(messages(whole, 2)) == ["activity", "run_deleted"]
        assert messages(broken) == []
        streams.publish(settings.redis_url, [plain])
        assert kinds(messages(whole, 1)) == ["run_deleted"]


def test_an_entry_in_words_of_another_version_silences_nobody(
    owner: FlaskClient, settings: Settings
):
    plain = events.loose("usr_owner", "run_deleted", {"runId": "run_1"})
    with listening(owner, "/v1/events/stream") as frames:
        next(frames)
        streams.publish(settings.redis_url, [{"kind": "of another version"}, plain])
        assert kinds(messages(frames, 1)) == ["run_deleted"]
        streams.client(settings.redis_url).xadd(streams.KEY, {"no": "body at all"})
        assert kinds(messages(frames, 1)) == ["stream_gap"]
        streams.publish(settings.redis_url, [plain])
        assert kinds(messages(frames, 1)) == ["run_deleted"]


def test_who_hears_only_what_comes_is_told_when_more_came_than_was_held_for_it(
    app: Flask, settings: Settings
):
    feed: Feed = app.extensions["feed"]
    item = Item((1, 0), events.loose("usr_owner", "run_deleted", {"runId": "run_1"}))

    def opening() -> Iterable[bytes]:
        feed.audience.hand_out([item] * (HELD_FRAMES + 1))
        return ()

    ours, theirs = socket.socketpair()
    with theirs:
        feed.join(OpenStream(feed, ADMIN, None, Channel(opening=opening)), ours.detach(), b"")
        frames = read(iter(lambda: theirs.recv(1 << 16), b""))
        assert kinds(messages(frames, 1)) == ["stream_gap"]
        feed.audience.hand_out([item])
        assert kinds(messages(frames, 1)) == ["run_deleted"]
    feed.close()


def test_who_could_not_be_told_the_beginning_comes_again(app: Flask, database: str):
    feed: Feed = app.extensions["feed"]

    def opening() -> Iterable[bytes]:
        raise peewee.OperationalError("Postgres is away")

    ours, theirs = socket.socketpair()
    with theirs:
        feed.join(OpenStream(feed, ADMIN, None, Channel(opening=opening)), ours.detach(), b"")
        assert theirs.recv(1) == b""


def test_the_older_channels_speak_their_own_shapes(owner: FlaskClient, run: str, work: Work):
    paths = {
        "/v1/events/llm-calls": {"llm_call"},
        "/v1/events/sessions": {"created", "completed"},
        "/v1/events/sessions/chieko": {"created", "completed"},
        "/v1/events/events": {"AGENT_STATE_CHANGED"},
    }
    work()
    for path, expected in paths.items():
        with listening(owner, f"{path}?since=0") as frames:
            told = messages(frames, 2)
        assert set(kinds(told)) <= expected, path


def test_an_agents_activity_begins_with_its_past(owner: FlaskClient, run: str, work: Work):
    work()
    with listening(owner, "/v1/events/activity/yukihiro?limit=2") as frames:
        told = messages(frames, 4)
        again = owner.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "y"}).json["id"]
        work()
        live = messages(frames, 1)[0].data
    assert [frame.data.get("phase") for frame in told] == ["backfill", "backfill", None, None]
    assert kinds(told)[2:] == ["current_state", "connected"]
    assert (live["phase"], live["type"], live["data"]["runId"]) == ("live", "work_started", again)


def test_a_session_is_told_in_its_own_words(owner: FlaskClient, run: str, work: Work):
    work()
    session = owner.get("/v1/agents/yukihiro/sessions").json["sessions"][0]["id"]
    with listening(owner, f"/v1/events/sessions/{session}/events?since=0") as frames:
        told: list[Frame] = []
        while not told or told[-1].data["type"] != "connected":
            told += messages(frames, 1)
    assert {"tool_start", "tool_end"} <= set(kinds(told))
    assert all(frame.data["stream_id"] == frame.id for frame in told[:-1])
    assert told[-1].data["session_id"] == session
