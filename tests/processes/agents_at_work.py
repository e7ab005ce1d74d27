"""Words for stories about agents whose models are reached over real wires."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.processes.product import Product, product
from tests.servers.provider import Answer, Provider

CANARY = "sk-canary-7f3a91c2e5"  # the keys; nothing the product writes may contain it
OPENAI, CLAUDE = "openai/gpt-5.2", "anthropic/claude-sonnet-4-6"
CUSTOM = "custom-x/some-model"
PROTOCOLS = (OPENAI, CLAUDE)
STEP = """
id: {id}
name: {id}
agents: [{{id: yukihiro, name: Yukihiro}}]
steps:
  - id: DO
    agent: yukihiro
    input: "Do it: {{{{task_description}}}}"
    outputs: [answer]
{more}
"""


@dataclass
class Team:
    """The product, and the provider that its models live at."""

    product: Product
    provider: Provider

    def put(self, text: str) -> str:
        """Store a pipeline; gives its id."""
        name = text.split("id: ", 1)[1].split()[0]
        answer = self.product.client.put(f"/v1/pipelines/{name}", json={"yaml_content": text})
        assert answer.status_code == 200, answer.text
        return name

    def start(self, model: str, *answers: Answer, pipeline: str | None = None, **more: Any) -> str:
        """Ask for a run of one step (with `more` keys) answered like this; gives its id."""
        self.provider.answers(*answers)
        self.provider.requests.clear()
        if pipeline is None:
            keys = "".join(f"    {key}: {json.dumps(value)}\n" for key, value in more.items())
            pipeline = self.put(STEP.format(id="one-step", more=keys))
        return self.product.run(pipeline, "the thing", model_override=model)

    def run(self, model: str, *answers: Answer, seconds: float = 60, **more: Any) -> dict[str, Any]:
        """The run, once it is over."""
        return self.product.ended(self.start(model, *answers, **more), seconds)

    def told(self, run: dict[str, Any] | str, kind: str) -> list[dict[str, Any]]:
        """The run's events of one type."""
        run_id = run if isinstance(run, str) else run["id"]
        return [event for event in self.product.events(run_id) if event["type"] == kind]

    def calls(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        """The run's model calls, the oldest first."""
        found = self.product.get("/llm-calls", run_id=run["id"])["calls"]
        return sorted(found, key=lambda call: call["created_at"])

    def tree(self, run: dict[str, Any]) -> Path:
        return self.product.folder / "data" / "workspaces" / run["id"] / "tree"

    def steps(self, run: dict[str, Any]) -> int:
        """How many executions there were."""
        return len(self.told(run, "step_started"))


@contextmanager
def team(folder: Path, **environment: str) -> Iterator[Team]:
    """The product with a provider of every protocol."""
    with Provider() as provider:
        addresses = {
            "OPENAI_BASE_URL": f"{provider.url}/v1",
            "ANTHROPIC_BASE_URL": provider.url,
            "CUSTOM_X_BASE_URL": f"{provider.url}/v1",
        }
        keys = {f"{name}_API_KEY": CANARY for name in ("OPENAI", "ANTHROPIC", "CUSTOM_X")}
        with product(folder, **{**addresses, **keys, **environment}) as running:
            yield Team(running, provider)


def call(name: str, **arguments: Any) -> tuple[str, str]:
    return name, json.dumps(arguments)


def finish(**outputs: str) -> Answer:
    """The answer that completes the step."""
    done = call("complete", outputs=outputs or {"answer": "42"}, summary="It is done")
    return Answer(text=("I hand over.",), calls=(done,))


def trouble(status: int, message: str, kind: str = "error", **headers: str) -> Answer:
    """An answer that is none."""
    return Answer(status=status, error={"type": kind, "message": message}, headers=headers)


def elapsed(began: float) -> float:
    return time.monotonic() - began
