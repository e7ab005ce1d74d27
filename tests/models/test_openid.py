"""What a provider says is believed, or refused: never a fault of ours."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import config, openid
from models.errors import Unreachable
from models.openid import Client, Metadata, Untrusted
from tests.servers.issuer import RSA, signed
from tests.servers.outside import Answer, Outside

CLIENT = Client("djinnbot", "secret", "openid", "http://localhost/back", "v" * 86)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
FEWER = settings(max_examples=50)
CLAIMS = ("iss", "sub", "aud", "exp", "iat", "nbf", "nonce", "azp", "at_hash", "amr", "auth_time")


@pytest.fixture(scope="module")
def keys() -> Iterator[Outside]:
    """A provider's keys, where private networks are allowed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALLOW_PRIVATE_NETWORKS", "true")
        config.settings.cache_clear()
        with Outside(lambda _: Answer({"keys": [RSA.as_dict(private=False)]})) as server:
            yield server
    config.settings.cache_clear()


@FEWER
@given(st.dictionaries(st.sampled_from(CLAIMS), JSON, min_size=1))
def test_an_id_token_with_any_claim_altered_is_right_or_refused(
    session_settings: object, keys: Outside, altered: dict[str, Any]
):
    now = int(time.time())
    metadata = Metadata(keys.url, f"{keys.url}/a", f"{keys.url}/t", jwks_uri=f"{keys.url}/keys")
    right = {"iss": keys.url, "sub": "1", "aud": CLIENT.id, "iat": now, "exp": now + 60}
    claims = {**right, "nonce": CLIENT.nonce, **altered}
    try:
        told = openid.verified(metadata, CLIENT, signed(claims), "access")
    except Untrusted:
        return
    assert told["iss"] == keys.url
    assert told["aud"] == CLIENT.id or CLIENT.id in told["aud"]
    assert told["nonce"] == CLIENT.nonce
    assert isinstance(told["sub"], str)


@FEWER
@given(said=JSON)
def test_metadata_of_any_kind_is_of_use_or_refused(
    session_settings: object, keys: Outside, said: Any
):
    said = {"issuer": "", **said} if isinstance(said, dict) else said
    answering = Outside(lambda _: Answer(json.dumps(said).encode()))
    with answering as server, pytest.raises(Unreachable):
        openid.discover(server.url)


def test_a_token_that_is_nested_without_end_is_refused(session_settings: object, keys: Outside):
    metadata = Metadata(keys.url, "", "", jwks_uri=f"{keys.url}/keys")
    deep: Any = []
    for _ in range(500):
        deep = [deep]
    for token in (signed({"sub": deep}), "e30." + "W1" * 200_000 + ".", "." * 100_000):
        with pytest.raises(Untrusted):
            openid.verified(metadata, CLIENT, token, None)


def test_the_nonce_tells_nothing_of_the_verifier():
    assert CLIENT.verifier not in CLIENT.nonce
    assert CLIENT.nonce != Client("djinnbot", "secret", "openid", "", "w" * 86).nonce
