"""The whole product as real processes on loopback: what operators run, to be used and killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx

from workers.local.folder import free_port
from workers.local.postgres import postgres
from workers.local.valkey import valkey

UNNUMBERED = {"agent_output", "agent_thinking", "activity", "tool_output"}  # live only
DJINN = str(Path(sys.executable).parent / "djinn")
COMMANDS = {
    "web": ["web"],
    "short": ["worker", "--queues", "short,media"],
    "agents": ["worker", "--queues", "agents,executors,chats"],
    "clock": ["clock"],
}
OVER = {"completed", "failed", "cancelled"}


class Product:
    """Processes by name, and a client for what they serve."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {**environment, "PORT": str(self.port), "AUTH_ENABLED": "false"}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.client = httpx.Client(base_url=self.url, timeout=30)

    def start(self, *names: str) -> None:
        """Start processes of `COMMANDS`; a second `agents` is called agents-2 and so on."""
        for name in names:
            command = COMMANDS[name.split("-")[0]]
            log = (self.folder / f"{name}.log").open("ab")
            environment = {**os.environ, **self.environment}
            self.processes[name] = subprocess.Popen(
                [DJINN, *command], env=environment, stdout=log, stderr=log, start_new_session=True
            )
            log.close()

    def djinn(self, *words: str) -> None:
        """Run a `djinn` command to its end."""
        environment = {**os.environ, **self.environment}
        subprocess.run([DJINN, *words], env=environment, check=True, stdout=subprocess.DEVNULL)

    def migrate(self) -> None:
        self.djinn("migrate")

    def kill(self, name: str) -> None:
        """kill -9, children and all."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def terminate(self, name: str, seconds: float = 20) -> float:
        """SIGTERM; gives how many seconds it took to go. Fails when it does not."""
        process = self.processes.pop(name)
        began = time.monotonic()
        process.terminate()
        process.wait(seconds)
        return time.monotonic() - began

    def ready(self, seconds: float = 30) -> None:
        """Wait until the API answers and every worker has reported."""
        expected = sum(name.startswith(("short", "agents")) for name in self.processes)
        until(lambda: self._workers() >= expected, seconds)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def get(self, path: str, **params: Any) -> Any:
        return self.client.get(f"/v1{path}", params=params).raise_for_status().json()

    def post(self, path: str, **body: Any) -> Any:
        return self.client.post(f"/v1{path}", json=body).raise_for_status().json()

    def run(self, pipeline: str, task: str, **more: Any) -> str:
        """Ask for a run with the scripted model; gives its id."""
        more = {"model_override": "scripted/demo", **more}
        return self.post("/runs", pipeline_id=pipeline, task_description=task, **more)["id"]

    def ended(self, run_id: str, seconds: float = 60) -> dict[str, Any]:
        """The run, once it is over."""
        until(lambda: self.get(f"/runs/{run_id}")["status"] in OVER, seconds)
        return self.get(f"/runs/{run_id}")

    def events(self, run_id: str) -> list[dict[str, Any]]:
        return self.get(f"/runs/{run_id}/logs", limit=5000)

    def _workers(self) -> int:
        try:
            status = self.client.get("/v1/status").json()
        except httpx.TransportError:
            return -1
        return int(status["workers"])

    def close(self) -> None:
        self.client.close()
        for process in self.processes.values():
            process.terminate()
        for name in list(self.processes):
            process = self.processes.pop(name)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def scripted(task: str, **steps: list[dict[str, Any]]) -> str:
    """A task that tells the scripted model what to do at which execution of which step."""
    return f"{task}\n\n```scripted\n{json.dumps({'steps': steps})}\n```\n"


def frames(lines: Iterator[str]) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """The default-event frames of an SSE answer: (id, payload)."""
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
            continue
        if "data" in fields and fields.get("event", "message") == "message":
            yield fields.get("id"), json.loads(fields["data"])
        fields = {}


def nap() -> int:
    """Seconds to sleep, hours: others look for their own sleepers on this machine too."""
    return random.randrange(10**4, 10**8)


def until(holds: Any, seconds: float = 30, every: float = 0.05) -> None:
    """Wait for a condition; AssertionError when it does not come in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "this did not happen in time"
        time.sleep(every)


@contextmanager
def product(folder: Path, *names: str, **environment: str) -> Iterator[Product]:
    """Postgres, Valkey and the named processes (all four by default) while the block lasts."""
    with ExitStack() as stack:
        urls = {
            "DATABASE_URL": stack.enter_context(postgres(folder / "servers")),
            "REDIS_URL": stack.enter_context(valkey(folder / "servers")),
            "DJINN_DATA_PATH": str(folder / "data"),
        }
        running = Product(folder, urls | environment)
        stack.callback(running.close)
        running.migrate()
        running.start(*(names or COMMANDS))
        running.ready()
        yield running
