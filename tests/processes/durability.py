"""The product with two workers for agents, and a model that knows which of them asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.processes.agents_at_work import call
from tests.processes.chaos.callers import caller_and_ancestor
from tests.processes.product import COMMANDS, Product, product, until
from tests.servers.author import Author
from tests.servers.provider import Answer, Received

MODEL = "openai/gpt-5.2"
STEP = """
id: {id}
name: {id}
agents: [{{id: yukihiro, name: Yukihiro}}]
steps:
  - id: DO
    agent: yukihiro
    input: "Do it: {{{{task_description}}}}"
    outputs: [answer]
    maxRetries: 0
    timeoutSeconds: 900
"""
LINES = (
    Answer(text=("One.",), calls=(call("write", path="a.txt", content="one"),)),
    Answer(calls=(call("bash", command="echo x >> count.txt; sleep 1.5; cat count.txt"),)),
    Answer(text=("Two.",), calls=(call("bash", command="echo y >> count.txt"),)),
    Answer(calls=(call("complete", outputs={"answer": "42"}, summary="It is done"),)),
)
DONE = "x\ny\n"


@dataclass
class Stage:
    """The product with two workers for agents, and the model that they ask."""

    product: Product
    author: Author
    workers: list[str] = field(default_factory=list)  # who asked for each answer, by name

    def start(self) -> str:
        """Ask for a run; gives its id."""
        self.author.requests.clear()
        self.author.times.clear()
        self.author.asked.clear()
        return self.product.run("durable", "x", model_override=MODEL)

    def hear(self, received: Received) -> tuple[str, int]:
        """Write down which worker asks; gives it, and its process that does."""
        server = int(self.author.url.rpartition(":")[2])
        names = {
            process.pid: name
            for name, process in self.product.processes.items()
            if name.startswith("agents")
        }
        pid, worker = caller_and_ancestor(received.port, server, names) or (0, 0)
        name = names.get(worker, "nobody")
        self.workers.append(name)
        return name, pid

    def told(self, run: str, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.product.events(run) if event["type"] == kind]

    def finished(self, run: str) -> dict[str, Any]:
        """The run, done as if nothing had happened."""
        ended = self.product.ended(run)
        assert (ended["status"], ended["error"]) == ("completed", None)
        assert ended["outputs"] == {"answer": "42"}
        calls = self.product.get("/llm-calls", run_id=run)["calls"]
        assert len(calls) == len(LINES)
        assert len(self.told(run, "step_complete")) == 1
        assert self.numbers(run) == list(range(1, len(self.numbers(run)) + 1))
        assert self.counted(run) == DONE
        return ended

    def numbers(self, run: str) -> list[int]:
        with self.product.client.stream(
            "GET", f"/v1/events/stream?run_id={run}&since=0"
        ) as followed:
            seqs = []
            for line in followed.iter_lines():
                if line.startswith("event: end"):
                    return seqs
                if line.startswith("id: "):
                    seqs.append(int(line.removeprefix("id: ").rpartition(":")[2]))
        return seqs

    def counted(self, run: str) -> str:
        """The file that the commands wrote, where the run was last worked on."""
        root = self.product.folder / "data" / "workspaces"
        found = root.glob(f"{run}*/tree/count.txt")
        return max(found, key=lambda path: path.stat().st_mtime_ns).read_text()

    def began(self, run: str, executions: int) -> float:
        """When (s) the step was begun for the `executions`-th time."""
        until(lambda: len(self.told(run, "step_started")) >= executions, 15, 0.02)
        return float(self.told(run, "step_started")[executions - 1]["timestamp"]) / 1000

    def reset(self) -> None:
        """Whoever comes next finds both workers and a model that hangs nowhere."""
        self.author.hanging.clear()
        self.author.hears = self.hear
        self.author.lines = LINES
        missing = {"agents", "agents-2"} - set(self.product.processes)
        if missing:
            self.product.start(*missing)
            self.product.ready()


@contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """A stage, with the one pipeline that its runs follow."""
    with Author(*LINES) as author:
        keys = {"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": f"{author.url}/v1"}
        with product(folder, *COMMANDS, "agents-2", **keys) as running:
            text = STEP.format(id="durable")
            stored = running.client.put("/v1/pipelines/durable", json={"yaml_content": text})
            stored.raise_for_status()
            made = Stage(running, author)
            author.hears = made.hear
            yield made
