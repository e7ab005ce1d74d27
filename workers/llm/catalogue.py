"""The providers we know: how each is spoken to, where it lives, and what it offers.

Sources: the providers' own API references; the ids and key names are those of the contract
(access.md, "Provider catalogue").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from models.config import PROVIDER_KEYS, Credential
from workers.llm.base import Denied

Protocol = Literal["openai", "anthropic"]
Effort = Literal["effort", "nested", "toggle", "none"]


@dataclass(frozen=True)
class Provider:
    """One provider. Models are ids without the provider in front; the first one is its default.

    `effort` says how it is told to think: OpenAI's `reasoning_effort`, OpenRouter's nested
    `reasoning`, a `thinking` toggle, or not at all. `recalls_thinking`: its thinking models want
    their earlier reasoning back during a tool loop. `claude_url`: where its Claude models are
    reached over Anthropic's protocol. `keyless`: runs on the operator's own machine.
    """

    id: str
    name: str
    base_url: str | None
    models: tuple[str, ...] = ()
    protocol: Protocol = "openai"
    headers: Mapping[str, str] = field(default_factory=dict)
    effort: Effort = "effort"
    recalls_thinking: bool = False
    claude_url: str | None = None
    keyless: bool = False

    @property
    def key_variable(self) -> str:
        """The name under which the environment holds its key."""
        return PROVIDER_KEYS.get(self.id) or f"{_stem(self.id)}_API_KEY"

    @property
    def default_model(self) -> str | None:
        return f"{self.id}/{self.models[0]}" if self.models else None


CLAUDES = (
    "claude-sonnet-4-6",
    "claude-opus-4-6",
    "claude-sonnet-4-5",
    "claude-opus-4-5",
    "claude-sonnet-4",
    "claude-opus-4",
    "claude-haiku-4-5",
)
GEMINIS = ("gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.0-flash")
GLMS = ("glm-4.7", "glm-4.7-flash", "glm-4.6", "glm-4.5", "glm-5")

PROVIDERS: Mapping[str, Provider] = {
    provider.id: provider
    for provider in (
        Provider(
            "opencode",
            "OpenCode",
            "https://opencode.ai/zen/v1",
            ("claude-sonnet-4-5", "glm-4.7", "kimi-k2.5"),
            claude_url="https://opencode.ai/zen",
        ),
        Provider("xai", "xAI", "https://api.x.ai/v1", ("grok-4", "grok-4-fast", "grok-3-mini")),
        Provider(
            "openrouter",
            "OpenRouter",
            "https://openrouter.ai/api/v1",
            ("anthropic/claude-sonnet-4", "moonshotai/kimi-k2.5", "z-ai/glm-4.7"),
            headers={"HTTP-Referer": "https://github.com/djinnbot", "X-Title": "DjinnBot"},
            effort="nested",
        ),
        Provider(
            "anthropic", "Anthropic", "https://api.anthropic.com", CLAUDES, protocol="anthropic"
        ),
        Provider(
            "openai", "OpenAI", "https://api.openai.com/v1", ("gpt-5.2", "gpt-5.1", "o4-mini")
        ),
        Provider(
            "google",
            "Google AI",
            "https://generativelanguage.googleapis.com/v1beta/openai",
            GEMINIS,
        ),
        Provider(
            "groq",
            "Groq",
            "https://api.groq.com/openai/v1",
            ("openai/gpt-oss-120b", "llama-3.3-70b-versatile"),
        ),
        Provider(
            "zai",
            "ZAI (Zhipu AI)",
            "https://api.z.ai/api/paas/v4",
            GLMS,
            effort="toggle",
            recalls_thinking=True,
        ),
        Provider(
            "mistral",
            "Mistral AI",
            "https://api.mistral.ai/v1",
            ("mistral-large-latest", "devstral-medium-latest"),
            effort="none",
        ),
        Provider("cerebras", "Cerebras", "https://api.cerebras.ai/v1", ("gpt-oss-120b",)),
        Provider(
            "minimax",
            "MiniMax",
            "https://api.minimax.io/anthropic",
            ("MiniMax-M2", "MiniMax-M2.1"),
            protocol="anthropic",
        ),
        Provider(
            "kimi-coding",
            "Kimi for Coding",
            "https://api.kimi.com/coding",
            ("kimi-k2", "kimi-k2-thinking"),
            protocol="anthropic",
        ),
        Provider(
            "huggingface",
            "Hugging Face",
            "https://router.huggingface.co/v1",
            ("openai/gpt-oss-120b", "moonshotai/Kimi-K2-Instruct"),
        ),
        Provider(
            "azure-openai-responses",
            "Azure OpenAI",
            None,
            ("gpt-4o", "gpt-4", "codex-mini-latest"),
        ),
        Provider(
            "minimax-cn",
            "MiniMax (China)",
            "https://api.minimaxi.com/anthropic",
            ("MiniMax-M2",),
            protocol="anthropic",
        ),
        Provider(
            "vercel-ai-gateway",
            "Vercel AI Gateway",
            "https://ai-gateway.vercel.sh/v1",
            ("anthropic/claude-sonnet-4.5",),
        ),
        Provider(
            "deepseek",
            "DeepSeek",
            "https://api.deepseek.com/v1",
            ("deepseek-chat", "deepseek-reasoner"),
            effort="none",
            recalls_thinking=True,
        ),
        Provider("ollama", "Ollama", "http://127.0.0.1:11434/v1", keyless=True),
        Provider("vllm", "vLLM", "http://127.0.0.1:8000/v1", effort="none", keyless=True),
        Provider("lmstudio", "LM Studio", "http://127.0.0.1:1234/v1", effort="none", keyless=True),
    )
}

REASONERS = re.compile(
    r"""claude-(3-7-sonnet|haiku-[4-9]|opus-[4-9]|sonnet-[4-9]|fable|mythos)
      | gpt-([5-9]|oss) | o[134]($|-) | codex-mini
      | grok-[34] | gemini-(2-[05]|[3-9])
      | glm-([5-9]|4-[567]) | kimi-k2-(thinking|[5-9]) | minimax-m[2-9] | big-pickle
      | deepseek-(reasoner|r1) | magistral | llama-4-scout""",
    re.VERBOSE,
)


def provider_of(provider_id: str) -> Provider:
    """The provider with that id, `custom-<slug>` included; raises Denied when unknown."""
    if provider_id in PROVIDERS:
        return PROVIDERS[provider_id]
    if re.fullmatch(r"custom-[a-z0-9-]+", provider_id):
        return Provider(provider_id, provider_id, None, keyless=True)
    raise Denied(
        f"There is no model provider called {provider_id!r}; known are "
        f"{', '.join(PROVIDERS)}, local, scripted and custom-<name>."
    )


def reasons(model: str) -> bool:
    """Whether a model is known to think before it answers, judged by the last part of its name."""
    return REASONERS.match(model.rsplit("/", 1)[-1].lower().replace(".", "-")) is not None


def address(provider: Provider, credential: Credential, claude: bool = False) -> str:
    """The base URL to speak to; raises Denied naming what to set when there is none."""
    resource = credential.extra.get("AZURE_OPENAI_RESOURCE_NAME")
    if credential.base_url:
        return credential.base_url
    if provider.id == "azure-openai-responses" and resource:
        return f"https://{resource}.openai.azure.com/openai/v1"
    if claude and provider.claude_url:
        return provider.claude_url
    if provider.base_url:
        return provider.base_url
    variable = f"{_stem(provider.id)}_BASE_URL"
    if provider.id == "azure-openai-responses":
        variable = "AZURE_OPENAI_BASE_URL or AZURE_OPENAI_RESOURCE_NAME"
    raise Denied(f"{provider.name} has no address: set {variable}.")


def _stem(provider_id: str) -> str:
    return provider_id.upper().replace("-", "_")
