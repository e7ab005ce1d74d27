"""The model providers we know: their names, addresses, keys, further values, and what they offer.

The one table of them: the API shows it, the settings read the environment by it, and the adapters
of `workers.llm` add how each is spoken to. Sources: the providers' own API references; ids, order
and names of variables are those of the wire contract (access.md, "Provider catalogue").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

CUSTOM = "custom-"
SLUG = re.compile(r"[a-z0-9][a-z0-9-]{1,31}")  # of a custom provider that is made here
_NAMED = re.compile(r"custom-[a-z0-9-]{1,48}")
AZURE = "azure-openai-responses"
AZURE_BASE_URL, AZURE_RESOURCE = "AZURE_OPENAI_BASE_URL", "AZURE_OPENAI_RESOURCE_NAME"


@dataclass(frozen=True)
class Extra:
    """A value that a provider takes besides its key; `is_address` is one we send requests to."""

    variable: str
    label: str
    placeholder: str = ""
    description: str = ""
    required: bool = False

    @property
    def is_address(self) -> bool:
        return self.variable.endswith("_BASE_URL")


@dataclass(frozen=True)
class Provider:
    """One provider. Models are ids without the provider in front; the first one is its default.

    `base_url` is where it is spoken to, `models_url` where it lists its models to whoever has a
    key. `keyless`: it runs on the operator's own machines. `talks`: it offers language models.
    """

    id: str
    name: str
    key_variable: str
    base_url: str | None = None
    docs_url: str = ""
    description: str = ""
    models: tuple[str, ...] = ()
    models_url: str | None = None
    extras: tuple[Extra, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    keyless: bool = False
    talks: bool = True

    @property
    def is_custom(self) -> bool:
        return self.id.startswith(CUSTOM)

    @property
    def stem(self) -> str:
        """How the names of its variables begin."""
        return self.key_variable.removesuffix("_API_KEY").removesuffix("_TOKEN")

    @property
    def address_variable(self) -> str:
        """The variable that holds where it is, should that not be where it usually is."""
        return f"{self.stem}_BASE_URL"

    @property
    def default_model(self) -> str | None:
        return f"{self.id}/{self.models[0]}" if self.models else None

    def served_at(self, extra: Mapping[str, str]) -> str | None:
        """The base URL that these further values lead to; None where they lead nowhere."""
        if told := extra.get(self.address_variable):
            return told
        resource = extra.get(AZURE_RESOURCE)
        if self.id == AZURE and resource:
            return f"https://{resource}.openai.azure.com/openai/v1"
        return self.base_url

    def is_configured(self, api_key: str | None, extra: Mapping[str, str]) -> bool:
        """Whether nothing is missing to use it."""
        present = bool(api_key) or (self.keyless and self.address_variable in extra)
        reached = not self.talks or self.served_at(extra) is not None
        return present and reached and all(extra.get(e.variable) for e in self.extras if e.required)


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


def _local(provider_id: str, name: str, base_url: str, docs_url: str) -> Provider:
    """A model server of the operator's own, which wants a key only if it was told to."""
    stem = provider_id.upper()
    where = Extra(f"{stem}_BASE_URL", "Base URL", base_url, f"Where {name} listens.")
    about = f"Models that {name} serves on machines of your own."
    return Provider(
        provider_id,
        name,
        f"{stem}_API_KEY",
        base_url,
        docs_url,
        about,
        models_url=f"{base_url}/models",
        extras=(where,),
        keyless=True,
    )


PROVIDERS: Mapping[str, Provider] = {
    provider.id: provider
    for provider in (
        Provider(
            "opencode",
            "OpenCode",
            "OPENCODE_API_KEY",
            "https://opencode.ai/zen/v1",
            "https://opencode.ai",
            "Coding models chosen and served by OpenCode Zen.",
            ("claude-sonnet-4-5", "glm-4.7", "kimi-k2.5"),
            models_url="https://opencode.ai/zen/v1/models",
        ),
        Provider(
            "xai",
            "xAI",
            "XAI_API_KEY",
            "https://api.x.ai/v1",
            "https://x.ai/api",
            "Grok models.",
            ("grok-4", "grok-4-fast", "grok-3-mini"),
            models_url="https://api.x.ai/v1/models",
        ),
        Provider(
            "openrouter",
            "OpenRouter",
            "OPENROUTER_API_KEY",
            "https://openrouter.ai/api/v1",
            "https://openrouter.ai/keys",
            "Hundreds of models of many makers with one key.",
            ("anthropic/claude-sonnet-4", "moonshotai/kimi-k2.5", "z-ai/glm-4.7"),
            models_url="https://openrouter.ai/api/v1/models",
            headers={"HTTP-Referer": "https://github.com/djinnbot", "X-Title": "DjinnBot"},
        ),
        Provider(
            "anthropic",
            "Anthropic",
            "ANTHROPIC_API_KEY",
            "https://api.anthropic.com",
            "https://console.anthropic.com/keys",
            "Claude models.",
            CLAUDES,
        ),
        Provider(
            "openai",
            "OpenAI",
            "OPENAI_API_KEY",
            "https://api.openai.com/v1",
            "https://platform.openai.com/api-keys",
            "GPT and o-series models.",
            ("gpt-5.2", "gpt-5.1", "o4-mini"),
            models_url="https://api.openai.com/v1/models",
        ),
        Provider(
            "google",
            "Google AI",
            "GEMINI_API_KEY",
            "https://generativelanguage.googleapis.com/v1beta/openai",
            "https://aistudio.google.com/apikey",
            "Gemini models.",
            GEMINIS,
        ),
        Provider(
            "groq",
            "Groq",
            "GROQ_API_KEY",
            "https://api.groq.com/openai/v1",
            "https://console.groq.com/keys",
            "Open models, answered very fast.",
            ("openai/gpt-oss-120b", "llama-3.3-70b-versatile"),
            models_url="https://api.groq.com/openai/v1/models",
        ),
        Provider(
            "zai",
            "ZAI (Zhipu AI)",
            "ZAI_API_KEY",
            "https://api.z.ai/api/paas/v4",
            "https://bigmodel.cn",
            "GLM models.",
            GLMS,
        ),
        Provider(
            "mistral",
            "Mistral AI",
            "MISTRAL_API_KEY",
            "https://api.mistral.ai/v1",
            "https://console.mistral.ai/api-keys",
            "Mistral and Devstral models.",
            ("mistral-large-latest", "devstral-medium-latest"),
            models_url="https://api.mistral.ai/v1/models",
        ),
        Provider(
            "cerebras",
            "Cerebras",
            "CEREBRAS_API_KEY",
            "https://api.cerebras.ai/v1",
            "https://cloud.cerebras.ai",
            "Open models on wafer-scale hardware.",
            ("gpt-oss-120b",),
            models_url="https://api.cerebras.ai/v1/models",
        ),
        Provider(
            "minimax",
            "MiniMax",
            "MINIMAX_API_KEY",
            "https://api.minimax.io/anthropic",
            "https://www.minimax.io",
            "MiniMax models.",
            ("MiniMax-M2", "MiniMax-M2.1"),
        ),
        Provider(
            "kimi-coding",
            "Kimi for Coding",
            "KIMI_API_KEY",
            "https://api.kimi.com/coding",
            "https://platform.moonshot.cn",
            "Kimi models on a coding plan.",
            ("kimi-k2", "kimi-k2-thinking"),
        ),
        Provider(
            "huggingface",
            "Hugging Face",
            "HF_TOKEN",
            "https://router.huggingface.co/v1",
            "https://huggingface.co/settings/tokens",
            "Open models at whichever host serves them.",
            ("openai/gpt-oss-120b", "moonshotai/Kimi-K2-Instruct"),
            models_url="https://router.huggingface.co/v1/models",
        ),
        Provider(
            AZURE,
            "Azure OpenAI",
            "AZURE_OPENAI_API_KEY",
            None,
            "https://portal.azure.com",
            "OpenAI models in a subscription of your own; name the resource or its base URL.",
            ("gpt-4o", "gpt-4", "codex-mini-latest"),
            extras=(
                Extra(
                    AZURE_BASE_URL,
                    "Base URL",
                    "https://acme.openai.azure.com/openai/v1",
                    "Where the resource is; or else name the resource.",
                ),
                Extra(AZURE_RESOURCE, "Resource name", "acme", "The first part of its host name."),
                Extra("AZURE_OPENAI_API_VERSION", "API version", "v1", "Only if you pin one."),
            ),
        ),
        Provider(
            "minimax-cn",
            "MiniMax (China)",
            "MINIMAX_CN_API_KEY",
            "https://api.minimaxi.com/anthropic",
            "https://www.minimaxi.com",
            "MiniMax models, served in mainland China.",
            ("MiniMax-M2",),
        ),
        Provider(
            "qmdr",
            "Memory Search (QMDR)",
            "QMD_OPENAI_API_KEY",
            None,
            "https://openrouter.ai/keys",
            "The embeddings and the reranking of the memory search.",
            extras=(
                Extra("QMD_OPENAI_BASE_URL", "Base URL", "https://openrouter.ai/api/v1"),
                Extra("QMD_EMBED_PROVIDER", "Embedding provider", "openai"),
                Extra("QMD_OPENAI_EMBED_MODEL", "Embedding model", "text-embedding-3-small"),
                Extra("QMD_RERANK_PROVIDER", "Rerank provider", "openai"),
                Extra("QMD_RERANK_MODE", "Rerank mode", "llm"),
                Extra("QMD_OPENAI_MODEL", "Rerank model", "openai/gpt-4o-mini"),
            ),
            talks=False,
        ),
        Provider(
            "vercel-ai-gateway",
            "Vercel AI Gateway",
            "AI_GATEWAY_API_KEY",
            "https://ai-gateway.vercel.sh/v1",
            "https://vercel.com/ai-gateway",
            "Models of many makers with one key.",
            ("anthropic/claude-sonnet-4.5",),
            models_url="https://ai-gateway.vercel.sh/v1/models",
        ),
        Provider(
            "deepseek",
            "DeepSeek",
            "DEEPSEEK_API_KEY",
            "https://api.deepseek.com/v1",
            "https://platform.deepseek.com/api_keys",
            "DeepSeek models.",
            ("deepseek-chat", "deepseek-reasoner"),
            models_url="https://api.deepseek.com/v1/models",
        ),
        _local("ollama", "Ollama", "http://127.0.0.1:11434/v1", "https://docs.ollama.com"),
        _local("vllm", "vLLM", "http://127.0.0.1:8000/v1", "https://docs.vllm.ai"),
        _local("lmstudio", "LM Studio", "http://127.0.0.1:1234/v1", "https://lmstudio.ai/docs"),
    )
}
SUGGESTIONS: Mapping[str, tuple[str, ...]] = {
    "working": (
        "openrouter/anthropic/claude-sonnet-4",
        "openrouter/anthropic/claude-opus-4",
        "openrouter/moonshotai/kimi-k2.5",
        "anthropic/claude-opus-4.6",
        "openrouter/google/gemini-2.0-flash-001",
    ),
    "thinking": (
        "openrouter/minimax/minimax-m2.5",
        "openrouter/google/gemini-2.0-flash-001",
        "openrouter/anthropic/claude-3.5-haiku",
        "zai/glm-5",
    ),
}
REASONERS = re.compile(
    r"""claude-(3-7-sonnet|haiku-[4-9]|opus-[4-9]|sonnet-[4-9]|fable|mythos)
      | gpt-([5-9]|oss) | o[134]($|-) | codex-mini
      | grok-[34] | gemini-(2-[05]|[3-9])
      | glm-([5-9]|4-[567]) | kimi-k2-(thinking|[5-9]) | minimax-m[2-9] | big-pickle
      | deepseek-(reasoner|r1) | magistral | llama-4-scout""",
    re.VERBOSE,
)


def provider_of(provider_id: str, name: str | None = None) -> Provider | None:
    """The provider with that id, `custom-<slug>` included; None when there can be none."""
    if provider_id in PROVIDERS:
        return PROVIDERS[provider_id]
    if not _NAMED.fullmatch(provider_id):
        return None
    stem = provider_id.upper().replace("-", "_")
    where = Extra(
        f"{stem}_BASE_URL",
        "Base URL",
        "https://models.example.com/v1",
        "Where it answers in OpenAI's manner.",
        required=True,
    )
    about = "A server of your own that speaks OpenAI's chat completions."
    return Provider(
        provider_id,
        name or provider_id,
        f"{stem}_API_KEY",
        description=about,
        extras=(where,),
        keyless=True,
    )


def reasons(model: str) -> bool:
    """Whether a model is known to think before it answers, judged by the last part of its name."""
    return REASONERS.match(model.rsplit("/", 1)[-1].lower().replace(".", "-")) is not None


# Providers whose models mostly see; one that does not says so, and is asked again without pictures.
SEEING = frozenset({"anthropic", "openai", "google", "xai", "opencode", "openrouter", "scripted"})


def sees(provider_id: str) -> bool:
    """Whether pictures are worth sending to a provider's models."""
    return provider_id in SEEING
