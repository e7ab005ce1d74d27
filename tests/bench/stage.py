"""The product to be measured: as real processes, with bare servers beside it, or right here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg2
from psycopg2.extensions import connection as Connection

from models import base
from models.agents import Agent
from tasks import pipelines
from tests.bench.figures import versions
from tests.processes.product import Product, product, until
from workers import boot
from workers.local.folder import free_port
from workers.local.postgres import postgres
from workers.local.valkey import valkey

STRUCTURED = """
id: bench
name: Bench
agents:
  - id: eric
    name: Eric
steps:
  - id: ANSWER
    agent: eric
    input: "{{task_description}}"
    outputSchema:
      name: answer
      schema:
        type: object
        properties:
          summary: {type: string}
        required: [summary]
        additionalProperties: false
"""


@contextmanager
def measured(*names: str, **environment: str) -> Iterator[Product]:
    """The product's named processes, a one-step pipeline `bench`, and an agent with many hands."""
    with tempfile.TemporaryDirectory(prefix="djinn-bench-") as folder:
        Path(folder).chmod(0o755)
        with product(Path(folder), *names, **environment) as running:
            print(versions(running.environment["DATABASE_URL"], running.environment["REDIS_URL"]))
            answers = running.client.put("/v1/pipelines/bench", json={"yaml_content": STRUCTURED})
            answers.raise_for_status()
            with database(running) as connection:
                connection.cursor().execute("UPDATE agents SET concurrent_steps = 1000")
            yield running


@contextmanager
def engine() -> Iterator[str]:
    """The engine in this process, without any other: servers, schema, library and `bench`.

    Yields the database's URL; the settings are those of the environment, which is changed.
    """
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="djinn-bench-")))
        folder.chmod(0o755)
        url = opened.enter_context(postgres(folder))
        os.environ["DATABASE_URL"] = url
        os.environ["REDIS_URL"] = opened.enter_context(valkey(folder))
        os.environ["DJINN_DATA_PATH"] = str(folder)
        print(versions(url, os.environ["REDIS_URL"]))
        boot.migrate()
        boot.load_performers()
        opened.callback(base.db.close_all)
        with base.db.connection_context():
            pipelines.put("bench", STRUCTURED)
            Agent.update(concurrent_steps=1000).execute()
        yield url


@contextmanager
def database(running: Product) -> Iterator[Connection]:
    """A connection to the product's database."""
    connection = psycopg2.connect(running.environment["DATABASE_URL"])
    connection.autocommit = True
    yield connection
    connection.close()


@contextmanager
def bare(running: Product) -> Iterator[str]:
    """The floors under the same gunicorn settings while the block lasts; yields their URL."""
    port = free_port()
    command = ["-m", "gevent.monkey", "--module", "gunicorn", "--config", "python:web.gunicorn"]
    environment = {**os.environ, **running.environment, "PORT": str(port)}
    with (running.folder / "bare.log").open("ab") as log:
        server = subprocess.Popen(
            [sys.executable, *command, "tests.bench.floors:create()"],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: _answers(running, f"{url}/sized/10"))
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)


def _answers(running: Product, url: str) -> bool:
    import httpx2 as httpx

    try:
        return running.client.get(url).status_code == 200
    except httpx.TransportError:
        return False
