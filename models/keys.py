"""Which key pays: a person's own, the server's if it is shared with them, or the server's.

`choose` decides; it knows no database. Runs of a person are paid by that person, other runs by
whoever the project names for it; with nobody to name, and for admins, the server pays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from models import providers, shares
from models.accounts import User
from models.base import db
from models.credentials import Credential
from models.errors import Forbidden, Malformed
from models.masking import mask_key
from models.principals import Principal
from models.providers import Held, ModelProvider, UserProvider
from models.runs import Run
from models.shares import Share

Source = Literal["personal", "admin_shared", "instance"]
PERSONAL: Source = "personal"
SHARED: Source = "admin_shared"
SERVERS: Source = "instance"
OWN_KEY = "the key that you have brought"
SHARED_KEY = "with an admin the key that is shared with you"
PERSON = "usr_"  # how the ids of people begin


@dataclass(frozen=True)
class Person:
    """For whom a key is looked for."""

    id: str
    is_admin: bool = False
    is_active: bool = True


@dataclass(frozen=True)
class Key:
    """What pays for calls to a provider: whose key it is, and what opens the provider."""

    provider_id: str
    source: Source
    user_id: str | None
    credential: Credential = field(default_factory=Credential, repr=False)

    @property
    def masked(self) -> str | None:
        return mask_key(self.credential.api_key) if self.credential.api_key else None

    def resolution(self) -> dict[str, Any]:
        """What runs and sessions keep of it."""
        told = {"source": self.source, "masked_key": self.masked}
        return {
            "userId": self.user_id,
            "source": "executing_user" if self.user_id else "system",
            "resolvedProviders": [self.provider_id],
            "providerSources": {self.provider_id: told},
        }


@dataclass(frozen=True)
class Keyring:
    """What may pay for calls to one provider: a person's own, the server's, the shares of it."""

    own: Held | None
    server: Held
    shares: Sequence[Share] = ()


def choose(person: Person | None, ring: Keyring, model: str | None, now: int) -> Key:
    """The key that pays for `provider/model` (None: for whichever); Forbidden says what to do.

    `person` is None where nobody is named, so that the server pays.
    """
    name = ring.server.provider.name
    if person is None:
        return _servers(ring.server, None)
    if not person.is_active:
        raise Forbidden("The account that would have to pay for this is disabled")
    own = _own(ring)
    if own is not None:
        return Key(own.provider.id, PERSONAL, person.id, _called(own, OWN_KEY))
    if person.is_admin:
        return _servers(ring.server, person)
    share = shares.applying(ring.shares, now)
    if share is None and ring.server.usable and not ring.server.api_key:
        return _servers(ring.server, person)  # a server of the operator's that asks for no key
    if share is None or not ring.server.usable:
        raise Forbidden(_advice(ring.server, share is not None))
    if model is not None and not share.allows(model):
        allowed = ", ".join(share.allowed_models)
        raise Forbidden(
            f"The shared key of {name} is not good for {model}, only for {allowed}. Choose one of"
            f" those, or set a key of your own: {_own_key(ring.server)}."
        )
    return Key(share.provider_id, SHARED, person.id, _called(ring.server, SHARED_KEY))


def person_of(principal: Principal) -> Person:
    """The person who calls; Malformed for programs, which have no keys of their own."""
    if not principal.is_person:
        raise Malformed("Only people have providers of their own; this caller is none")
    return Person(principal.id, principal.is_admin)


def for_run(run: Run, provider_id: str, model: str) -> Key:
    """The key that pays for a run's calls of `provider/model`; Forbidden says what to do."""
    owner = run.owner_id if (run.owner_id or "").startswith(PERSON) else None
    told = {"owner": owner, "project": run.project_id, "provider": provider_id}
    now, payer, *found = db.now(_FOUND, told).fetchone()
    person, own, server, shared = (_read(*each) for each in zip(_KINDS, found, strict=True))
    held = providers.merged(provider_id, server)
    ring = Keyring(own and providers.opened(held.provider, own), held, shared)
    return choose(_person(payer, person), ring, model, now)


def resolutions(kept: dict[str, Any] | None, key: Key) -> dict[str, Any]:
    """What a run keeps of all the keys that paid for it, one more among them."""
    added = key.resolution()
    sources = {**(kept or {}).get("providerSources", {}), **added["providerSources"]}
    return {**added, "resolvedProviders": sorted(sources), "providerSources": sources}


def _own(ring: Keyring) -> Held | None:
    """The person's own, if it works: with a key, or at an address, that they brought."""
    if ring.own is None or not ring.own.enabled:
        return None
    brought = ring.own.api_key or ring.own.configured
    leaning, provider = ring.own.leaning_on(ring.server), ring.own.provider
    somewhere = not provider.keyless or provider.address_variable in leaning.extra
    return leaning if brought and somewhere and leaning.configured else None


def _servers(held: Held, person: Person | None) -> Key:
    """The server's key, or nothing where the provider asks for none."""
    if not held.usable and not (held.provider.keyless and held.source is None):
        raise Forbidden(_wanting(held))
    return Key(held.provider.id, SERVERS, person.id if person else None, held.credential)


def _called(held: Held, words: str) -> Credential:
    return replace(held.credential, called=words)


def _wanting(held: Held) -> str:
    name = held.provider.name
    if not held.enabled and held.configured:
        return f"{name} is switched off on this server: an admin can enable it"
    missing = [extra.variable for extra in held.provider.extras if extra.required]
    wanted = " and ".join([held.provider.key_variable, *missing])
    path = f"PUT /v1/settings/providers/{held.provider.id}"
    return f"{name} has no key: set {wanted} in the environment or with {path}"


def _advice(held: Held, shared: bool) -> str:
    lacking = "is shared with you, but this server has no key for it"
    what = lacking if shared else "has no key for you"
    own = f"set your own with {_own_key(held)}"
    return f"{held.provider.name} {what}: {own}, or ask an admin to share the server's"


def _own_key(held: Held) -> str:
    return f"PUT /v1/settings/user-providers/{held.provider.id}"


def _person(payer: str | None, user: User | None) -> Person | None:
    if payer is None:
        return None
    if user is None:
        return Person(payer, is_active=False)
    return Person(user.id, user.is_admin, user.is_active)


def _read(kind: Any, found: Any) -> Any:
    """A row, or rows, that came as JSON."""
    if isinstance(found, list):
        return [_read(kind, row) for row in found]
    names = kind._meta.columns
    return found and kind._as_read({names[column].name: found[column] for column in found})


_KINDS = (User, UserProvider, ModelProvider, Share)
_FOUND = """
    SELECT (extract(epoch FROM now()) * 1000)::bigint, payer.id,
        CASE WHEN people.id IS NULL THEN NULL ELSE jsonb_build_object(
            'id', people.id, 'is_admin', people.is_admin, 'is_active', people.is_active) END,
        to_jsonb(own), to_jsonb(servers), (
            SELECT coalesce(jsonb_agg(to_jsonb(shares)), '[]') FROM admin_shared_providers AS shares
            WHERE shares.provider_id = %(provider)s
                AND (shares.target_user_id = payer.id OR shares.target_user_id IS NULL))
    FROM (SELECT coalesce(%(owner)s::text, (
        SELECT key_user_id FROM projects WHERE id = %(project)s)) AS id) AS payer
    LEFT JOIN users AS people ON people.id = payer.id
    LEFT JOIN user_model_providers AS own
        ON own.user_id = payer.id AND own.provider_id = %(provider)s
    LEFT JOIN model_providers AS servers ON servers.id = %(provider)s
"""
