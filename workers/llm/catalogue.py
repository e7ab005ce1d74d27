"""How each provider of `models.catalogue` is spoken to.

Sources: the providers' own API references.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from models import catalogue
from models.catalogue import AZURE, AZURE_BASE_URL, AZURE_RESOURCE, PROVIDERS, Provider
from models.credentials import Credential
from workers.llm.base import Denied

Protocol = Literal["openai", "anthropic"]
Effort = Literal["effort", "nested", "toggle", "none"]


@dataclass(frozen=True)
class Manner:
    """How one provider is spoken to.

    `effort` says how it is told to think: OpenAI's `reasoning_effort`, OpenRouter's nested
    `reasoning`, a `thinking` toggle, or not at all. `recalls_thinking`: its thinking models want
    their earlier reasoning back during a tool loop. `claude_url`: where its Claude models are
    reached over Anthropic's protocol.
    """

    protocol: Protocol = "openai"
    effort: Effort = "effort"
    recalls_thinking: bool = False
    claude_url: str | None = None

    @property
    def protocols(self) -> set[Protocol]:
        """All that the provider may be spoken to in."""
        return {self.protocol, "anthropic"} if self.claude_url else {self.protocol}


USUAL = Manner()
MANNERS: Mapping[str, Manner] = {
    "opencode": Manner(claude_url="https://opencode.ai/zen"),
    "openrouter": Manner(effort="nested"),
    "anthropic": Manner("anthropic"),
    "zai": Manner(effort="toggle", recalls_thinking=True),
    "mistral": Manner(effort="none"),
    "minimax": Manner("anthropic"),
    "kimi-coding": Manner("anthropic"),
    "minimax-cn": Manner("anthropic"),
    "deepseek": Manner(effort="none", recalls_thinking=True),
    "vllm": Manner(effort="none"),
    "lmstudio": Manner(effort="none"),
}


def provider_of(provider_id: str) -> Provider:
    """The provider with that id, `custom-<slug>` included; raises Denied when unknown."""
    found = catalogue.provider_of(provider_id)
    if found is not None and found.talks:
        return found
    known = ", ".join(name for name, provider in PROVIDERS.items() if provider.talks)
    raise Denied(
        f"There is no model provider called {provider_id!r}; known are "
        f"{known}, local, scripted and custom-<name>."
    )


def manner_of(provider: Provider) -> Manner:
    """How the provider is spoken to."""
    return MANNERS.get(provider.id, USUAL)


def address(provider: Provider, credential: Credential, claude: bool = False) -> str:
    """The base URL to speak to; raises Denied naming what to set when there is none."""
    claude_url = manner_of(provider).claude_url if claude else None
    found = credential.base_url or claude_url or provider.served_at(credential.extra)
    if found:
        return found
    variable = provider.address_variable
    if provider.id == AZURE:
        variable = f"{AZURE_BASE_URL} or {AZURE_RESOURCE}"
    raise Denied(f"{provider.name} has no address: set {variable}.")
