"""Secrets at rest: sealed for one place, by a ring of keys that can be turned."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import config, vault
from models.accounts import User
from models.base import db
from models.errors import Unavailable
from models.vault import Unreadable

pytestmark = pytest.mark.usefixtures("session_settings")
OLD, NEW = f"old:{'01' * 32}", f"new:{'02' * 32}"
WHERE = vault.place("users", "totp_secret", "usr_1")


@pytest.fixture
def ring(
    session_settings: object, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], None]]:
    """Turns the ring to other keys."""

    def turned(keys: str) -> None:
        monkeypatch.setenv("SECRET_ENCRYPTION_KEYS", keys)
        config.settings.cache_clear()

    yield turned
    monkeypatch.undo()
    config.settings.cache_clear()


@given(st.text(), st.text(), st.text())
def test_what_was_sealed_opens_in_its_place_and_nowhere_else(text: str, here: str, there: str):
    sealed = vault.seal(here, text)
    assert sealed.startswith("v1:")
    assert vault.unseal(here, sealed) == text
    if here != there:
        with pytest.raises(Unreadable):
            vault.unseal(there, sealed)


@given(st.data())
def test_a_flipped_bit_does_not_open(data: st.DataObject):
    head, _, encoded = vault.seal(WHERE, "a secret").rpartition(":")
    raw = bytearray(base64.b64decode(encoded))
    place = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[place // 8] ^= 1 << place % 8
    with pytest.raises(Unreadable):
        vault.unseal(WHERE, f"{head}:{base64.b64encode(raw).decode()}")


@pytest.mark.parametrize(
    "text", ["", "v1", "v1:", "v1:tests:", "v2:tests:AAAA", "v1:none:AAAA", "v1:tests:#"]
)
def test_what_was_never_sealed_does_not_open(session_settings: object, text: str):
    with pytest.raises(Unreadable):
        vault.unseal(WHERE, text)


def test_the_newest_key_seals_and_the_older_ones_open(ring: Callable[[str], None]):
    ring(OLD)
    sealed = vault.seal(WHERE, "a secret")
    ring(f"{NEW},{OLD}")
    assert vault.unseal(WHERE, sealed) == "a secret"
    assert vault.seal(WHERE, "a secret").startswith("v1:new:")
    ring(NEW)
    with pytest.raises(Unreadable, match="not in the ring"):
        vault.unseal(WHERE, sealed)


def test_without_a_key_nothing_is_kept(ring: Callable[[str], None]):
    ring("")
    with pytest.raises(Unavailable, match="SECRET_ENCRYPTION_KEYS"):
        vault.seal(WHERE, "a secret")


def test_rotation_seals_everything_anew_and_names_what_does_not_open(
    database: str, ring: Callable[[str], None]
):
    ring(OLD)
    with db.connection_context():
        for number in range(vault.BATCH + 5):
            user = User(id=f"usr_{number:04}", email=f"{number}@rotate.example")
            user.lock_up(totp_secret=f"secret {number}")
            user.add()
        User.update(totp_secret="v1:old:AAAA").where(User.id == "usr_0007").execute()
        ring(f"{NEW},{OLD}")
        done = vault.rotate()
        assert done.sealed == vault.BATCH + 4
        assert [text.split()[0] for text in done.unreadable] == ["users:totp_secret:usr_0007"]
        ring(NEW)
        assert User.get_by_id("usr_0204").reveal("totp_secret") == "secret 204"
        assert vault.rotate().sealed == 0


def keep_writing(mine: list[str], written: dict[str, int], turned: Event) -> None:
    """Keep changing the secrets of some, each in a transaction of its own."""
    with db.connection_context():
        while not turned.is_set():
            for key in mine:
                with db.atomic():
                    user = User.locked(key)
                    assert user.reveal("totp_secret") == f"{key} {written[key]}"
                    user.lock_up(totp_secret=f"{key} {written[key] + 1}")
                    user.put(totp_secret=user.totp_secret)
                written[key] += 1


def keep_reading(turned: Event) -> None:
    with db.connection_context():
        while not turned.is_set():
            for user in User.select().where(User.totp_secret.is_null(False)):
                assert user.reveal("totp_secret").startswith(user.id)


def with_secrets(people: list[str]) -> None:
    for key in people:
        user = User(id=key, email=f"{key}@rotate.example")
        user.lock_up(totp_secret=f"{key} 0")
        user.add()


def test_while_keys_turn_others_read_and_write_and_nothing_is_lost(
    database: str, ring: Callable[[str], None]
):
    ring(OLD)
    people = [f"usr_{number:03}" for number in range(120)]
    written = dict.fromkeys(people, 0)
    with db.connection_context():
        with_secrets(people)
    ring(f"{NEW},{OLD}")
    turned = Event()
    with ThreadPoolExecutor(4) as pool, db.connection_context():
        busy = [
            pool.submit(keep_writing, people[0:40], written, turned),
            pool.submit(keep_writing, people[40:80], written, turned),
            pool.submit(keep_reading, turned),
        ]
        done = [vault.rotate() for _ in range(3)]
        turned.set()
        assert [each.result() for each in busy] == [None] * 3
        assert [rotation.unreadable for rotation in done] == [[]] * 3
        ring(NEW)
        assert vault.held() == {"new": len(people)}
        for user in User.select().where(User.id.in_(people)):
            assert user.reveal("totp_secret") == f"{user.id} {written[user.id]}"


def test_it_is_told_which_keys_hold_what(database: str, ring: Callable[[str], None]):
    with db.connection_context():
        for number, keys in enumerate([OLD, OLD, f"{NEW},{OLD}"]):
            ring(keys)
            user = User(id=f"usr_{number}", email=f"{number}@held.example")
            user.lock_up(totp_secret="JBSWY3DP")
            user.add()
        assert vault.held() == {"old": 2, "new": 1}
        assert vault.unopenable() == {}
        ring(NEW)
        assert vault.unopenable() == {"old": 2}


def test_a_ciphertext_moved_to_another_row_does_not_open(database: str):
    with db.connection_context():
        mine, theirs = User.get_by_id("usr_owner"), User.get_by_id("usr_stranger")
        mine.lock_up(totp_secret="JBSWY3DP")
        theirs.totp_secret = mine.totp_secret
        assert mine.reveal("totp_secret") == "JBSWY3DP"
        with pytest.raises(Unreadable):
            theirs.reveal("totp_secret")
