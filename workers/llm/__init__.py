"""Models by name: `provider/model`, whichever protocol leads there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module

from models import outbound
from models.credentials import Credential
from workers.llm.base import Denied, Model

# Modules are named, not imported: an SDK weighs 50 MB and a second, and most need only one.
ADAPTERS: Mapping[str, str] = {
    "openai": "workers.llm.openai_chat:OpenAIChat",
    "anthropic": "workers.llm.anthropic_messages:AnthropicMessages",
}
SCRIPTED = "scripted/demo"
LOCAL_WINDOW = 4096  # tokens


def open_model(
    name: str, credentials: Mapping[str, Credential], local_url: str | None = None
) -> Model:
    """The model called `provider/model`; raises Denied saying what to set when out of reach."""
    provider_id, _, model = name.strip().partition("/")
    if not model:
        raise Denied(f"A model is named provider/model, for example {SCRIPTED}; not {name!r}.")
    if provider_id == "scripted":
        return _scripted(model)
    if provider_id == "local":
        return _local(model, local_url)
    return _remote(provider_id, model, credentials.get(provider_id) or Credential())


def make_ready(provider_ids: Iterable[str]) -> None:
    """Import and read what these providers are asked through, `local` among them.

    Takes seconds of a processor: whoever is forked from this process afterwards has it already.
    """
    from workers.llm import catalogue, prices

    outbound.authorities()
    prices.make_ready()
    manners = [catalogue.MANNERS.get(provider_id, catalogue.USUAL) for provider_id in provider_ids]
    for protocol in {protocol for manner in manners for protocol in manner.protocols}:
        import_module(ADAPTERS[protocol].partition(":")[0])


def _scripted(model: str) -> Model:
    from workers.llm.scripted import Scripted

    if model != "demo":
        raise Denied(f"The scripted provider has one model, {SCRIPTED}; not {model!r}.")
    return Scripted()


def _local(model: str, local_url: str | None) -> Model:
    from workers.llm.endpoint import Endpoint

    if not local_url:
        raise Denied(f"local/{model} needs its server: set LOCAL_MODEL_URL (`djinn up` does).")
    url = local_url.rstrip("/")
    base_url = url if url.endswith("/v1") else f"{url}/v1"
    return _adapter("openai", Endpoint("local", model, base_url, window=LOCAL_WINDOW, small=True))


def _remote(provider_id: str, model: str, credential: Credential) -> Model:
    from models.catalogue import reasons
    from workers.llm import catalogue, prices
    from workers.llm.endpoint import Endpoint

    provider = catalogue.provider_of(provider_id)
    manner = catalogue.manner_of(provider)
    if not credential.api_key and not provider.keyless:
        raise Denied(f"{provider.name} has no key: set {provider.key_variable}.")
    claude = manner.claude_url is not None and model.startswith("claude")
    endpoint = Endpoint(
        provider.id,
        model,
        catalogue.address(provider, credential, claude),
        credential.api_key,
        provider.headers,
        window=prices.window(provider.id, model),
        reasons=reasons(model),
        effort=manner.effort,
        recalls_thinking=manner.recalls_thinking,
        key_variable=credential.called or provider.key_variable,
        guarded=credential.guarded,
    )
    return _adapter("anthropic" if claude else manner.protocol, endpoint)


def _adapter(protocol: str, endpoint: object) -> Model:
    module, _, name = ADAPTERS[protocol].partition(":")
    model: Model = getattr(import_module(module), name)(endpoint)
    return model
