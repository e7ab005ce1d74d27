"""What opens a provider, and reading it from an environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from models.catalogue import PROVIDERS, provider_of


@dataclass(frozen=True)
class Credential:
    """What opens one provider; `extra` holds further variables by their full name."""

    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict, repr=False)
    guarded: bool = False  # the address was set through the API, so that it has to be judged
    called: str | None = None  # what to check when the key is refused, if not its variable


def found(source: Mapping[str, str]) -> dict[str, Credential]:
    """The credentials that an environment holds, by the provider's id."""
    held = {}
    for provider in (*PROVIDERS.values(), *filter(None, map(provider_of, _custom(source)))):
        stem, key = f"{provider.stem}_", provider.key_variable
        declared = {extra.variable for extra in provider.extras}
        names = [n for n in source if n != key and (n.startswith(stem) or n in declared)]
        extra = {name: source[name] for name in names}
        credential = Credential(source.get(key), extra.pop(provider.address_variable, None), extra)
        if credential.api_key or credential.base_url:
            held[provider.id] = credential
    return held


def _custom(source: Mapping[str, str]) -> list[str]:
    """The ids of providers that the environment alone makes: CUSTOM_<SLUG>_BASE_URL."""
    suffix = "_BASE_URL"
    names = [n for n in source if n.startswith("CUSTOM_") and n.endswith(suffix)]
    return [name.removesuffix(suffix).lower().replace("_", "-") for name in names]
