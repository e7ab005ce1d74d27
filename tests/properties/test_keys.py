"""Which key pays, whatever people, the server and the shares are: the rules, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from models import keys, shares
from models.catalogue import PROVIDERS, provider_of
from models.errors import Forbidden
from models.keys import Key, Keyring, Person
from models.masking import mask, mask_key
from models.providers import Held
from models.shares import Share

OPENAI = PROVIDERS["openai"]
CUSTOM = provider_of("custom-den")
MODEL = "openai/gpt-5.2"
NOW = 1_000
OWN, SERVER = "sk-own-0123456789abcdef", "sk-server-0123456789abcdef"

KEYS = some.sampled_from([None, OWN])
HELD = some.builds(
    lambda enabled, key: Held(OPENAI, enabled, key and OWN, source="ui"), some.booleans(), KEYS
)
SERVERS = some.builds(
    lambda enabled, key: Held(OPENAI, enabled, key and SERVER, source="ui"), some.booleans(), KEYS
)
PEOPLE = some.builds(Person, some.just("usr_1"), some.booleans(), some.booleans())
SHARES = some.builds(
    lambda target, expires, allowed: Share(
        provider_id="openai", target_user=target, expires_at=expires, allowed_models=allowed
    ),
    some.sampled_from([None, "usr_1"]),
    some.sampled_from([None, NOW - 1, NOW, NOW + 1]),
    some.sampled_from([None, [MODEL], ["gpt-5.2"], ["o4-mini"]]),
)
RINGS = some.builds(
    Keyring, some.one_of(some.none(), HELD), SERVERS, some.lists(SHARES, max_size=2)
)


def chosen(person: Person | None, ring: Keyring) -> Key | str:
    try:
        return keys.choose(person, ring, MODEL, NOW)
    except Forbidden as refusal:
        return str(refusal)


@given(some.one_of(some.none(), PEOPLE), RINGS)
def test_whoever_pays_pays_with_what_they_may(person: Person | None, ring: Keyring) -> None:
    key = chosen(person, ring)
    if isinstance(key, str):
        return
    if key.source == "personal":
        assert ring.own is not None
        assert ring.own.enabled
        assert key.credential.api_key == ring.own.api_key == OWN
        return
    assert ring.server.enabled
    assert key.credential.api_key == ring.server.api_key == SERVER
    assert (key.source == "admin_shared") == (person is not None and not person.is_admin)


@given(PEOPLE, RINGS)
def test_a_key_of_ones_own_comes_before_all_else(person: Person, ring: Keyring) -> None:
    key = chosen(person, ring)
    if person.is_active and ring.own and ring.own.usable:
        assert isinstance(key, Key)
        assert key.source == "personal"


@given(RINGS)
def test_people_use_the_servers_key_only_where_it_is_shared(ring: Keyring) -> None:
    key = chosen(Person("usr_1"), ring)
    lasting = [share for share in ring.shares if share.expires_at is None or share.expires_at > NOW]
    if isinstance(key, Key) and key.source == "admin_shared":
        named = [share for share in lasting if share.target_user_id] or lasting
        assert named[0].allowed_models in (None, [MODEL], ["gpt-5.2"])
    if not lasting and not (ring.own and ring.own.usable):
        assert "/v1/settings/user-providers/openai" in str(key)


@given(RINGS)
def test_a_disabled_account_pays_nothing(ring: Keyring) -> None:
    assert "disabled" in str(chosen(Person("usr_1", True, is_active=False), ring))


@given(PEOPLE, RINGS)
def test_no_key_is_ever_part_of_what_is_said(person: Person, ring: Keyring) -> None:
    key = chosen(person, ring)
    told = repr(key) + (str(key.resolution()) if isinstance(key, Key) else "") + repr(ring)
    assert OWN not in told
    assert SERVER not in told


@given(some.lists(SHARES, max_size=4))
def test_a_share_made_for_somebody_beats_everybodys(found: Sequence[Share]) -> None:
    share = shares.applying(found, NOW)
    lasting = [each for each in found if each.lasts(NOW)]
    assert (share is None) == (not lasting)
    if any(each.target_user_id for each in lasting):
        assert share is not None
        assert share.target_user_id == "usr_1"


@pytest.mark.parametrize(
    ("allowed", "model", "good"),
    [
        (None, "openrouter/anthropic/claude-sonnet-4", True),
        (["openrouter/anthropic/claude-sonnet-4"], "openrouter/anthropic/claude-sonnet-4", True),
        (["anthropic/claude-sonnet-4"], "openrouter/anthropic/claude-sonnet-4", True),
        (["claude-sonnet-4"], "openrouter/anthropic/claude-sonnet-4", True),
        (["evil/claude-sonnet-4"], "openrouter/anthropic/claude-sonnet-4", False),
        (["claude-sonnet"], "openrouter/anthropic/claude-sonnet-4", False),
        (["sonnet-4"], "openrouter/anthropic/claude-sonnet-4", False),
    ],
)
def test_allowed_models_are_named_whole_or_by_their_end(
    allowed: list[str] | None, model: str, good: bool
) -> None:
    assert Share(allowed_models=allowed).allows(model) == good


def test_a_server_that_asks_for_no_key_is_open_until_it_is_shared() -> None:
    where = {"CUSTOM_DEN_BASE_URL": "http://10.0.0.7/v1"}
    server = Held(CUSTOM, True, None, where, "ui")
    any_key = Held(CUSTOM, True, "junk-that-nobody-checks")
    limited = Share(provider_id="custom-den", daily_limit=1)

    free = keys.choose(Person("usr_1"), Keyring(None, server), None, NOW)
    shared = keys.choose(Person("usr_1"), Keyring(any_key, server, [limited]), None, NOW)

    assert free.source == "instance"
    assert shared.source == "admin_shared"  # a made-up key leads round no limit


def test_a_persons_key_goes_to_the_servers_address_where_that_checks_keys() -> None:
    where = {"CUSTOM_DEN_BASE_URL": "http://10.0.0.7/v1"}
    server = Held(CUSTOM, True, SERVER, where, "ui")

    key = keys.choose(Person("usr_1"), Keyring(Held(CUSTOM, True, OWN), server), None, NOW)

    assert (key.source, key.credential.api_key) == ("personal", OWN)
    assert key.credential.base_url == "http://10.0.0.7/v1"


def test_a_made_up_key_opens_no_local_server() -> None:
    ollama = PROVIDERS["ollama"]
    ring = Keyring(Held(ollama, True, "anything"), Held(ollama, False, None, {}, "ui"))

    with pytest.raises(Forbidden):
        keys.choose(Person("usr_1"), ring, None, NOW)


@given(some.text(some.characters(codec="ascii"), min_size=1, max_size=300))
def test_a_mask_shows_a_third_of_a_key_at_most(key: str) -> None:
    shown = mask_key(key)
    assert shown == "***" or len(shown.replace("...", "", 1)) * 3 <= len(key)
    assert mask(key) == "***" or key not in mask(key)


@given(some.lists(some.sampled_from(["openai", "groq"]), min_size=1, max_size=3))
def test_a_run_keeps_every_key_that_paid_for_it(names: list[str]) -> None:
    kept: dict[str, Any] | None = None
    for name in names:
        kept = keys.resolutions(kept, Key(name, "instance", None))
    assert kept is not None
    assert kept["resolvedProviders"] == sorted(set(names)) == sorted(kept["providerSources"])
