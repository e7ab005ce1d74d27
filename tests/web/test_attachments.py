"""Files that people show to agents."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import attachments as known
from models import blobs, outbox
from models.agents import Agent
from models.attachments import Attachment, stored
from models.base import db
from models.chats import ChatSession
from models.errors import Malformed, NotFound
from models.principals import Principal
from tasks import attachments, chats
from tests.guards.things.attachments import upload
from tests.models.test_media import PNG
from workers import broker

UPLOAD = "/v1/attachments/upload"
ONE = "/v1/attachments/{}"
Work = Callable[[], int]


def kept(client: FlaskClient, content: bytes = b"hello", name: str = "a.txt", **more: str) -> Any:
    answer = client.post(UPLOAD, **upload(content, name, **more))
    assert answer.status_code == 200, answer.json
    return answer.json


def test_a_file_is_kept_read_and_given_back(owner: FlaskClient, work: Work):
    told = kept(owner, b"hello " * 20, "notes/minutes.md")
    assert told["id"].startswith("att_")
    assert told | {"id": "", "createdAt": 0} == {
        "id": "",
        "filename": "minutes.md",
        "mimeType": "text/markdown",
        "sizeBytes": 120,
        "processingStatus": "uploaded",
        "estimatedTokens": None,
        "isImage": False,
        "createdAt": 0,
        "vaultIngestStatus": None,
        "vaultDocSlug": None,
        "vaultChunkCount": None,
        "pdfPageCount": None,
        "error": None,
    }
    work()
    for path in (ONE, "/v1/chat/attachments/{}"):
        read = owner.get(path.format(told["id"])).json
        assert (read["processingStatus"], read["estimatedTokens"]) == ("ready", 30)
        assert owner.get(path.format(told["id"]) + "/content").data == b"hello " * 20
        text = owner.get(path.format(told["id"]) + "/text").json
        assert text["extractedText"] == "hello " * 20


def test_an_image_and_a_recording_are_ready_without_text(owner: FlaskClient, work: Work):
    image = kept(owner, PNG, "a.png", kind="image/png")
    assert (image["isImage"], image["estimatedTokens"]) == (True, 1600)
    sound = kept(owner, b"OggS" + bytes(30), "a.ogg")
    work()
    for each in (image, sound):
        told = owner.get(ONE.format(each["id"])).json
        assert told["processingStatus"] == "ready"
        assert owner.get(ONE.format(each["id"]) + "/text").json["extractedText"] is None


@pytest.mark.parametrize(
    ("content", "name", "status"),
    [
        (b"", "a.txt", 400),
        (b"x", "", 400),
        (b"x", "..", 400),
        (b"\x7fELF\x02\x01", "a.txt", 415),
        (PNG, "a.html", 415),
        (b"x" * ((30 << 20) + 1), "a.txt", 413),
        (b"x" * (31 << 20), "a.txt", 413),
    ],
)
def test_what_is_no_file_for_us_is_refused_and_leaves_nothing(
    owner: FlaskClient, content: bytes, name: str, status: int
):
    answer = owner.post(UPLOAD, **upload(content, name))
    assert answer.status_code == status, answer.json
    with db.connection_context():
        assert not Attachment.select().exists()
        assert outbox.take(10) == []


def test_a_form_without_a_file_names_the_field(owner: FlaskClient):
    form = upload(b"x", "a.txt")
    form["data"] = form["data"].replace(b'; filename="a.txt"', b"")
    assert owner.post(UPLOAD, **form).json["errors"][0]["loc"] == ["body", "file"]
    assert owner.post(UPLOAD, json={"file": "x"}).status_code == 415
    wrong = owner.post(UPLOAD, **upload(b"x", "a.txt", purpose="spam"))
    assert wrong.json["errors"][0]["loc"] == ["body", "purpose"]


def test_a_body_without_a_length_stops_at_the_limit(owner: FlaskClient):
    """A client that says nothing of the length is cut off while it sends."""
    form = upload(b"x" * (40 << 20), "a.txt")
    chunked = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    answer = owner.post(UPLOAD, **form, environ_overrides={**chunked, "CONTENT_LENGTH": ""})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("sent", "called"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\\\Users\\\\me\\\\a.txt", "a.txt"),
        ("/tmp/x.txt", "x.txt"),
        ("gpj\u202etxt.txt", "gpjtxt.txt"),
        ("ä" * 300 + ".txt", "ä" * 251 + ".txt"),
    ],
)
def test_a_name_is_only_a_name(owner: FlaskClient, sent: str, called: str):
    assert kept(owner, name=sent)["filename"] == called


@pytest.mark.parametrize(
    ("content", "name", "shown"),
    [
        (b"<html><script>alert(1)</script>", "a.html", "attachment"),
        (b"<svg onload='alert(1)'/>", "a.svg", "attachment"),
        (b"<?xml version='1.0'?><x/>", "a.xml", "attachment"),
        (b"%PDF-1.7\n", "a.pdf", "attachment"),
        (b"text", "a.txt", "attachment"),
        (PNG, "a.png", "inline"),
        (b"OggS" + bytes(20), "a.ogg", "inline"),
    ],
)
def test_only_images_and_sound_are_shown_by_a_browser(
    owner: FlaskClient, content: bytes, name: str, shown: str
):
    told = owner.get(ONE.format(kept(owner, content, name)["id"]) + "/content")
    assert told.headers["Content-Disposition"] == f"{shown}; filename={name}"
    assert told.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in told.headers["Content-Security-Policy"]
    assert told.headers["Cache-Control"] == "private, max-age=3600"


def test_a_name_in_any_script_survives_the_header(owner: FlaskClient):
    name = 'Grüße "2026"; filename=x.exe.txt'
    told = owner.get(ONE.format(kept(owner, name=name.replace('"', "%22"))["id"]) + "/content")
    disposition = told.headers["Content-Disposition"]
    assert "filename*=UTF-8''Gr%C3%BC%C3%9Fe" in disposition
    assert "\n" not in disposition
    assert told.headers["Content-Disposition"].startswith("attachment")


def test_a_part_of_a_recording_can_be_asked_for(owner: FlaskClient):
    content = b"OggS" + bytes(range(256)) * 8_000  # more than one chunk of the store
    at = ONE.format(kept(owner, content, "a.ogg")["id"]) + "/content"
    part = owner.get(at, headers={"Range": "bytes=1500000-1500009"})
    assert (part.status_code, part.data) == (206, content[1500000:1500010])
    assert part.headers["Content-Range"] == f"bytes 1500000-1500009/{len(content)}"
    assert owner.get(at, headers={"Range": "bytes=-4"}).data == content[-4:]
    assert owner.get(at, headers={"Range": f"bytes={len(content)}-"}).status_code == 416
    whole = owner.get(at)
    assert (whole.data, whole.headers["Accept-Ranges"]) == (content, "bytes")
    assert owner.get(at, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304
    assert owner.head(at).content_length == len(content)


def test_a_page_shows_an_image_with_a_token_in_its_address(owner: FlaskClient, nobody: FlaskClient):
    at = ONE.format(kept(owner, PNG, "a.png")["id"]) + "/content"
    assert nobody.get(at).status_code == 401
    assert nobody.get(f"{at}?token=djb_owner").data == PNG
    assert nobody.get(f"{at}?token=djb_stranger").status_code == 404


def test_what_others_sent_is_not_there(
    owner: FlaskClient, teammate: FlaskClient, admin: FlaskClient
):
    key = kept(owner)["id"]
    for path in ("", "/content", "/text"):
        assert teammate.get(ONE.format(key) + path).status_code == 404
        assert admin.get(ONE.format(key) + path).status_code == 200
    assert teammate.delete(ONE.format(key)).status_code == 404
    assert owner.get(ONE.format(key)).status_code == 200


def test_a_deleted_file_takes_its_bytes_along_and_nobody_elses(
    owner: FlaskClient, teammate: FlaskClient, work: Work
):
    mine, theirs = kept(owner), kept(teammate)
    work()
    assert owner.delete(ONE.format(mine["id"])).json == {"status": "deleted", "id": mine["id"]}
    assert owner.get(ONE.format(mine["id"])).status_code == 404
    work()
    digest = hashlib.sha256(b"hello").hexdigest()
    assert not stored(mine["id"]).exists(digest)
    assert teammate.get(ONE.format(theirs["id"]) + "/content").data == b"hello"


def test_bytes_of_a_deleted_file_are_forgotten_though_redis_forgets_to(
    owner: FlaskClient, work: Work
):
    file = kept(owner)
    later(work)  # it was stored long ago
    owner.delete(ONE.format(file["id"]))
    with db.connection_context(), db.atomic():
        outbox.take(100)  # Redis was emptied with these
    later(work)
    assert not stored(file["id"]).exists(hashlib.sha256(b"hello").hexdigest())


def later(work: Work) -> None:
    """Perform all that has been asked, also what is not due yet."""
    with db.connection_context():
        outbox.Outbox.update(due_at=0).execute()
    work()


def test_bytes_whose_row_was_never_written_are_forgotten(owner: FlaskClient, work: Work):
    """The process died between storing them and writing the row: the request for it remains."""
    key, digest = "att_lost", stored("att_lost").put(b"lost")
    survivor = kept(owner)
    with db.connection_context():
        (due,) = db.execute_sql(
            "SELECT due_at FROM outbox WHERE body ->> 'task' = 'attachments.forget'"
        ).fetchone()
    assert 3_500_000 < due - time.time() * 1000 < 3_700_000
    with db.connection_context():
        forget = partial(broker.perform, "media", "attachments.forget")
        forget(key, digest)
        forget(survivor["id"], hashlib.sha256(b"hello").hexdigest())
    assert not stored(key).exists(digest)
    assert owner.get(ONE.format(survivor["id"]) + "/content").data == b"hello"


def test_a_store_that_fails_leaves_no_row(
    owner: FlaskClient, settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    broken = settings.__class__(**{**settings.__dict__, "blob_url": (blocked / "x").as_uri()})
    monkeypatch.setattr(known, "settings", lambda: broken)
    assert owner.post(UPLOAD, **upload(b"hello", "a.txt")).status_code == 503
    with db.connection_context():
        assert not Attachment.select().exists()


def test_nobody_keeps_more_than_there_is_room_for(
    owner: FlaskClient, teammate: FlaskClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(known, "MOST", 1)
    kept(owner)
    assert owner.post(UPLOAD, **upload(b"hello", "b.txt")).status_code == 409
    kept(teammate)


def test_a_file_that_no_message_came_for_is_put_away(owner: FlaskClient, work: Work):
    old, new, document = kept(owner), kept(owner), kept(owner, purpose="document")
    with db.connection_context():
        ages = Attachment.update(created_at=1).where(Attachment.id.in_([old["id"], document["id"]]))
        ages.execute()
        attachments.sweep()
    work()
    found = [owner.get(ONE.format(each["id"])).status_code for each in (old, new, document)]
    assert found == [404, 200, 200]
    assert not stored(old["id"]).exists(hashlib.sha256(b"hello").hexdigest())


def test_a_file_that_is_put_into_a_message_while_it_is_put_away_stays(owner: FlaskClient):
    told, session = kept(owner), chat()
    with db.connection_context():
        Attachment.update(created_at=1).execute()
    bound, swept = threading.Event(), threading.Event()

    def bind() -> None:
        with db.connection_context(), db.atomic():
            attachments.bind(session, [told["id"]])
            bound.set()
            swept.wait(10)

    def sweep() -> None:
        with db.connection_context():
            attachments.sweep()

    threads = [threading.Thread(target=act) for act in (bind, sweep)]
    threads[0].start()
    assert bound.wait(10)
    threads[1].start()
    threads[1].join(0.5)  # it waits for whoever binds the file
    swept.set()
    for thread in threads:
        thread.join(10)
    assert owner.get(ONE.format(told["id"])).status_code == 200


def test_a_lost_request_is_asked_again(owner: FlaskClient, work: Work):
    told = kept(owner)
    with db.connection_context():
        db.execute_sql("DELETE FROM outbox")
        attachments.sweep()
        assert work() == 0  # it may still be on its way
        db.execute_sql("UPDATE chat_attachments SET updated_at = 1")
        attachments.sweep()
    work()
    assert owner.get(ONE.format(told["id"])).json["processingStatus"] == "ready"


def test_the_store_may_be_waited_for_in_another_thread(owner: FlaskClient):
    asked: list[str] = []

    def elsewhere(work: Any, *arguments: Any) -> Any:
        asked.append(getattr(work, "__name__", "put"))
        return work(*arguments)

    blobs.wait_elsewhere(elsewhere)
    try:
        key = kept(owner)["id"]
        assert owner.get(ONE.format(key) + "/content").data == b"hello"
        with pytest.raises(NotFound):
            stored(key).get("0" * 64)
    finally:
        blobs.wait_elsewhere(None)
    assert {"put", "get", "next"} <= set(asked)


def chat(user: str = "owner", agent: str = "finn") -> ChatSession:
    with db.connection_context():
        who = Principal(f"usr_{user}", "user")
        return chats.start(who, Agent.get_by_id(agent), {"model": "scripted/demo"})


def say(session: ChatSession, *wanted: str) -> None:
    with db.connection_context():
        chats.say(session, {"message": "Look at this", "attachments": list(wanted)})


def test_a_file_may_be_sent_into_a_chat(owner: FlaskClient, engine: FlaskClient):
    session = chat()
    first = kept(owner, session_id=session.id, agent_id="finn")
    alias = f"/v1/agents/finn/chat/{session.id}/upload"
    second = owner.post(alias, **upload(b"x", "b.txt")).json
    query = {"session_id": session.id, "filename": "c.txt", "mime_type": "text/plain"}
    raw = "/v1/internal/chat/attachments/upload-bytes"
    third = engine.post(raw, query_string=query, data=b"bytes").json
    assert owner.post(raw, query_string=query, data=b"bytes").status_code == 403
    found = owner.get(f"/v1/chat/sessions/{session.id}/attachments").json["attachments"]
    assert {each["id"] for each in found} == {first["id"], second["id"], third["id"]}
    assert owner.get(ONE.format(third["id"]) + "/content").data == b"bytes"
    assert engine.post(raw, query_string=query, data=b"x" * (31 << 20)).status_code == 413


def test_a_chat_that_is_not_there_or_with_another_agent_takes_no_file(
    owner: FlaskClient, stranger: FlaskClient
):
    session = chat()
    assert owner.post(UPLOAD, **upload(b"x", "a.txt", session_id="chat_none")).status_code == 404
    wrong = {"session_id": session.id, "agent_id": "eric"}
    assert owner.post(UPLOAD, **upload(b"x", "a.txt", **wrong)).status_code == 400
    mine = upload(b"x", "a.txt", session_id=session.id)
    assert stranger.post(UPLOAD, **mine).status_code == 404
    assert stranger.get(f"/v1/chat/sessions/{session.id}/attachments").status_code == 404


def test_the_first_message_that_names_a_file_takes_it_into_its_chat(
    owner: FlaskClient, teammate: FlaskClient
):
    session, other = chat(), chat()
    mine, theirs = kept(owner)["id"], kept(teammate)["id"]
    say(session, mine)
    say(session, mine)
    for chosen, wanted in ((other, mine), (session, theirs), (session, "att_none")):
        with pytest.raises(Malformed):
            say(chosen, wanted)
    (found,) = owner.get(f"/v1/chat/sessions/{session.id}/attachments").json["attachments"]
    assert found["id"] == mine


def test_of_two_chats_that_take_a_file_at_once_one_has_it(owner: FlaskClient):
    sessions, mine, outcomes = [chat(), chat()], kept(owner)["id"], []
    line = threading.Barrier(2)

    def take(session: ChatSession) -> None:
        line.wait()
        try:
            say(session, mine)
            outcomes.append("taken")
        except Malformed:
            outcomes.append("refused")

    threads = [threading.Thread(target=take, args=(session,)) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused", "taken"]


def test_a_purged_chat_takes_its_files_along(owner: FlaskClient, work: Work):
    session = chat()
    mine, free = kept(owner)["id"], kept(owner)["id"]
    say(session, mine)
    with db.connection_context():
        chats.purge(session)
        broker_left = Attachment.select(Attachment.id).tuples()
        assert list(broker_left) == [(free,)]
        asked = db.execute_sql(
            "SELECT body -> 'args' ->> 0 FROM outbox WHERE body ->> 'task' = 'attachments.forget'"
            " AND due_at < %s",
            (time.time() * 1000,),
        )
        assert asked.fetchall() == [(mine,)]
