"""Browser cookies: kept by people, lent to agents."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from models.accounts import ApiKey, User, digest
from models.audit import Entry
from models.base import db
from models.cookies import CookieGrant, CookieSet

Caller = Callable[[str | None], FlaskClient]
SETS = "/v1/browser/cookies"
CANARY = "session-canary-1234567890"
FILE = f"""# Netscape HTTP Cookie File
#HttpOnly_.github.com\tTRUE\t/\tTRUE\t1900000000\tuser_session\t{CANARY}
github.com\tFALSE\t/\tTRUE\t1800000000\tlogged_in\tyes
other.example\tFALSE\t/\tTRUE\t0\tx\ty
"""


def form(content: str | bytes = FILE, **texts: str) -> dict[str, Any]:
    data = content.encode() if isinstance(content, str) else content
    file = FileStorage(io.BytesIO(data), "cookies.txt")
    boundary, body = encode_multipart({**texts, "cookie_file": file})
    return {"data": body, "content_type": f"multipart/form-data; boundary={boundary}"}


def kept(client: FlaskClient, name: str = "GitHub") -> str:
    answer = client.post(SETS, **form(name=name, user_id="somebody else"))
    assert answer.status_code == 200, answer.json
    return answer.json["id"]


def lent(client: FlaskClient, cookies: str, agent: str = "eric") -> Any:
    return client.post(f"{SETS}/agents/{agent}/{cookies}/grant")


def test_a_file_is_kept_and_never_shown(owner: FlaskClient):
    answer = owner.post(SETS + "/", **form(name=" GitHub "))
    assert answer.status_code == 200
    told = answer.json
    shown = {name: told[name] for name in told if name not in {"id", "created_at", "updated_at"}}
    assert shown == {
        "user_id": "usr_owner",
        "name": "GitHub",
        "domain": "github.com",
        "filename": f"{told['id']}.txt",
        "cookie_count": 3,
        "expires_at": 1_800_000_000,
        "grants": [],
    }
    assert owner.get(f"{SETS}/{told['id']}").json == told
    lent(owner, told["id"])
    (listed,) = owner.get(SETS).json
    assert [grant["agent_id"] for grant in listed["grants"]] == ["eric"]
    assert CANARY not in owner.get(SETS).text
    with db.connection_context():
        stored = CookieSet.get_by_id(told["id"])
        assert CANARY not in stored.content
        assert CANARY in (stored.reveal("content") or "")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ("", 400),
        ("nothing of use\n", 400),
        (b"\xff\xfe", 400),
        (FILE + "\0", 400),
        ("".join(f"x.example\tTRUE\t/\tTRUE\t0\tn{n}\tv\n" for n in range(501)), 400),
        (FILE + "#" * (1 << 20), 413),
        (FILE + "#" * (3 << 20), 413),
    ],
)
def test_a_file_that_is_none_is_refused_and_changes_nothing(
    owner: FlaskClient, content: Any, status: int
):
    cookies = kept(owner)
    before = owner.get(SETS).json
    assert owner.post(SETS, **form(content, name="x")).status_code == status
    assert owner.put(f"{SETS}/{cookies}/content", **form(content)).status_code == status
    assert owner.get(SETS).json == before


@pytest.mark.parametrize("name", ["", "  ", "x" * 257, "a\x00b", "a\x1bb"])
def test_a_name_that_is_none_is_refused(owner: FlaskClient, name: str):
    answer = owner.post(SETS, **form(name=name))
    assert answer.status_code == 422
    assert answer.json["errors"][0]["loc"] == ["body", "name"]


def test_what_is_missing_is_named(owner: FlaskClient):
    answer = owner.post(SETS, data={"name": "x"}, content_type="multipart/form-data")
    assert answer.status_code == 422
    assert answer.json["errors"] == [
        {
            "loc": ["body", "cookie_file"],
            "msg": "Missing data for required field.",
            "type": "missing",
        }
    ]
    not_a_file = {"name": "x", "cookie_file": FILE}
    answer = owner.post(SETS, data=not_a_file, content_type="multipart/form-data")
    assert answer.status_code == 422
    assert owner.post(SETS, json={"name": "x"}).status_code == 415
    broken = {"data": b"--x\r\nhello", "content_type": "multipart/form-data; boundary=x"}
    assert owner.post(SETS, **broken).status_code in {400, 422}
    assert owner.post(SETS, data=b"", content_type="multipart/form-data").status_code == 422


def test_an_upload_without_an_end_is_cut_off_and_nothing_touches_the_disk(
    owner: FlaskClient, monkeypatch: pytest.MonkeyPatch
):
    head = b'--x\r\nContent-Disposition: form-data; name="cookie_file"; filename="c"\r\n\r\n'
    endless = Endless(head)
    monkeypatch.setattr("werkzeug.formparser.SpooledTemporaryFile", None)
    answer = owner.post(
        SETS,
        environ_overrides={"wsgi.input": endless, "wsgi.input_terminated": True},
        content_type="multipart/form-data; boundary=x",
    )
    assert answer.status_code == 413
    assert endless.given < 3 << 20


class Endless(io.RawIOBase):
    """A body that goes on for ever."""

    def __init__(self, head: bytes) -> None:
        self.head = head
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.head or b"#" * len(buffer)
        self.head = b""
        buffer[: len(data)] = data
        self.given += len(data)
        return len(data)


def test_sets_belong_to_whoever_keeps_them(
    owner: FlaskClient, stranger: FlaskClient, admin: FlaskClient, teammate: FlaskClient
):
    cookies = kept(owner)
    for client in (stranger, teammate):
        assert client.get(SETS).json == []
        assert client.get(f"{SETS}/{cookies}").status_code == 404
        assert client.put(f"{SETS}/{cookies}/content", **form()).status_code == 404
        assert lent(client, cookies).status_code == 404
        assert client.delete(f"{SETS}/{cookies}").status_code == 404
    assert [row["id"] for row in admin.get(SETS).json] == [cookies]
    assert admin.delete(f"{SETS}/{cookies}").json == {"ok": True}
    assert owner.put(f"{SETS}/{cookies}/content", **form()).status_code == 404


def test_new_content_reaches_every_agent(owner: FlaskClient):
    cookies = kept(owner)
    for agent in ("eric", "finn"):
        lent(owner, cookies, agent)
    answer = owner.put(f"{SETS}/{cookies}/content", **form("a.b\tTRUE\t/\tTRUE\t0\tn\tv"))
    told = answer.json
    assert told == {
        "ok": True,
        "cookie_set_id": cookies,
        "cookie_count": 1,
        "domain": "a.b",
        "agents_updated": 2,
        "agents_failed": [],
        "updated_at": told["updated_at"],
    }
    assert owner.get(f"{SETS}/{cookies}").json["expires_at"] is None


def test_an_agent_is_lent_a_set_once_and_reads_what_it_was_lent(
    owner: FlaskClient, stranger: FlaskClient, as_caller: Caller
):
    cookies, other = kept(owner), kept(stranger)
    told = {"ok": True, "file_copied": True, "filename": f"{cookies}.txt"}
    assert lent(owner, cookies).json == lent(owner, cookies).json == told
    lent(stranger, other)
    for name in ("eric", "finn"):
        with db.connection_context():
            key = f"djb_agent_{name}"
            ApiKey(key_hash=digest(key), key_prefix="djb_agent", name=name, agent_id=name).add()
    path = f"{SETS}/agents/eric"
    assert len(as_caller("djb_agent_eric").get(path).json) == 2
    assert as_caller("djb_agent_finn").get(path).status_code == 403
    (grant,) = owner.get(path).json
    assert isinstance(grant["id"], int)
    assert {name: grant[name] for name in grant if name not in {"id", "granted_at"}} == {
        "agent_id": "eric",
        "cookie_set_id": cookies,
        "cookie_set_name": "GitHub",
        "cookie_set_domain": "github.com",
        "granted_by": "usr_owner",
    }
    assert owner.delete(f"{path}/{cookies}").json == {"ok": True}
    assert owner.delete(f"{path}/{cookies}").status_code == 404


@pytest.mark.parametrize("agent", ["nobody", "%2e%2e", "..", "eric%2f..", "a%00b"])
def test_nobody_lends_to_an_agent_that_is_not_there(owner: FlaskClient, agent: str):
    assert lent(owner, kept(owner), agent).status_code in {404, 405}
    assert CookieGrant.select().count() == 0


def test_twenty_grants_at_once_are_one(owner: FlaskClient, as_caller: Caller):
    cookies, statuses = kept(owner), []
    grant = lambda: statuses.append(lent(as_caller("djb_owner"), cookies).status_code)  # noqa: E731
    threads = [threading.Thread(target=grant) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 20
    assert CookieGrant.select().count() == 1


def test_a_set_goes_with_its_owner_and_changes_are_on_record(owner: FlaskClient):
    cookies = kept(owner)
    lent(owner, cookies)
    owner.put(f"{SETS}/{cookies}/content", **form())
    entries = list(Entry.select().where(Entry.subject == cookies).order_by(Entry.seq))
    did = ["created", "granted", "replaced"]
    assert [entry.action for entry in entries] == [f"cookies.{verb}" for verb in did]
    assert not any(CANARY in str(entry.details) for entry in entries)
    with db.connection_context():
        User.delete().where(User.id == "usr_owner").execute()
    assert CookieSet.select().count() == CookieGrant.select().count() == 0
