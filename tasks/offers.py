"""Asking providers which models they offer: at most once in five minutes, one at a time.

Nothing depends on a provider, or on Redis, being there: the models that we know stand in.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping
from typing import Any

import orjson
import redis

from models import errors, outbound, providers, streams
from models.base import clean
from models.catalogue import Provider, reasons
from models.config import settings
from models.logs import log
from models.principals import Principal
from models.providers import Held, ModelProvider

KEPT_MS, REFUSED_MS = 300_000, 30_000  # how long a list is good, and the lack of one
SECONDS, CUSTOM_SECONDS = 10.0, 8.0
MOST = 2_000  # models
PAUSE = 0.05
OURS = outbound.Gate(private_networks=True)  # only who runs the server and admins set addresses

Offer = dict[str, Any]


def offered(principal: Principal, provider_id: str) -> dict[str, Any]:
    """What a provider offers to the server, or else to the caller."""
    server = providers.server_of(provider_id)
    if server is None:
        raise ModelProvider.missing(provider_id)
    asked = _open_to(principal, server)
    live = _known(asked) if asked else []
    if live:
        return {"models": live, "source": "live"}
    return {"models": known_offers(server.provider), "source": "static"}


def known_offers(provider: Provider) -> list[Offer]:
    """The models that we know of without asking."""
    return [
        _offer(provider, {"id": f"{provider.id}/{name}", "name": name}) for name in provider.models
    ]


def read(provider: Provider, body: Any) -> list[Offer]:
    """The offers in a provider's answer, each called as `open_model` knows it."""
    listed = body if isinstance(body, list) else None
    if isinstance(body, Mapping):
        listed = next((body[k] for k in ("data", "models") if isinstance(body.get(k), list)), None)
    entries = [entry for entry in listed or [] if isinstance(entry, Mapping)]
    named = [entry for entry in entries if isinstance(entry.get("id"), str) and entry["id"]]
    return [
        _offer(provider, {**entry, "id": _called(provider, entry["id"])}) for entry in named[:MOST]
    ]


def _called(provider: Provider, name: str) -> str:
    """`provider/model`, which opens it here: many resell models whose names have a slash."""
    told = name.startswith(f"{provider.id}/") and not provider.is_custom
    return name if told and provider.id != "openrouter" else f"{provider.id}/{name}"


def _offer(provider: Provider, entry: Mapping[str, Any]) -> Offer:
    model = str(entry["id"])[:512]
    name, about = entry.get("name"), entry.get("description")
    told = {"description": about[:2_000]} if isinstance(about, str) and about else {}
    called = name[:512] if isinstance(name, str) and name else model.partition("/")[2]
    return clean({"id": model, "name": called, **told, "reasoning": reasons(model)})  # type: ignore[no-any-return]


def _open_to(principal: Principal, server: Held) -> Held | None:
    """As whom the provider is asked: the server, or the caller; None where it lists nothing."""
    if _address(server) and server.usable:
        return server
    own = providers.owned_by(principal.id).get(server.provider.id) if principal.is_person else None
    return own if own and own.usable and _address(own) else None


def _address(held: Held) -> str | None:
    """Where a provider lists its models."""
    provider = held.provider
    base = held.extra.get(provider.address_variable)
    if base is None:
        return provider.models_url
    return f"{base.rstrip('/')}/models" if provider.models_url or provider.is_custom else None


def _known(held: Held) -> list[Offer]:
    """The list as it was told lately, or as it is told now, by whoever asks first."""
    url = settings().redis_url
    if url is None:
        return _told(held)
    place = _place(held)
    deadline = time.monotonic() + SECONDS
    try:
        client = streams.client(url)
        while True:
            kept = client.get(place)
            if kept is not None:
                return list(orjson.loads(kept))
            if client.set(f"{place}:asked", secrets.token_hex(4), nx=True, px=int(SECONDS * 1000)):
                kept = client.get(place)  # whoever asked before may just have been told
                offers = _told(held) if kept is None else list(orjson.loads(kept))
                return _kept(client, place, offers)
            if time.monotonic() > deadline:
                return []
            time.sleep(PAUSE)
    except redis.RedisError as error:
        log.info("redis does not keep lists of models", error=str(error))
        return _told(held)


def _kept(client: redis.Redis, place: str, offers: list[Offer]) -> list[Offer]:
    client.set(place, orjson.dumps(offers), px=KEPT_MS if offers else REFUSED_MS)
    client.delete(f"{place}:asked")
    return offers


def _place(held: Held) -> str:
    """Where a list is kept: another key may be shown other models, and is not to be read here."""
    asked = hashlib.sha256(f"{_address(held)} {held.api_key}".encode()).hexdigest()[:24]
    return f"djinn:models:{held.provider.id}:{asked}"


def _told(held: Held) -> list[Offer]:
    """The list as the provider tells it now; empty when it does not."""
    headers = {**held.provider.headers}
    if held.api_key:
        headers["Authorization"] = f"Bearer {held.api_key}"
    seconds = CUSTOM_SECONDS if held.provider.is_custom else SECONDS
    try:
        answer = outbound.fetch_json(
            _address(held) or "", headers=headers, seconds=seconds, gate=OURS
        )
    except errors.Unreachable as error:
        log.info("no list of models", provider=held.provider.id, error=str(error))
        return []
    return read(held.provider, answer)
