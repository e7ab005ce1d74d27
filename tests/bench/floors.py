"""The floors: what the same server does with next to nothing of ours in it."""

from __future__ import annotations

import queue
import secrets
import time
from functools import lru_cache
from typing import Any

import psycopg2
from flask import Flask, Response, jsonify, request

from models.config import settings

INSERTS = (
    """
    INSERT INTO floor_runs (id, state, pipeline_id, task, outputs, created_at)
    VALUES (%s, 'pending', %s, %s, '{}', %s)
    """,
    "INSERT INTO floor_requests (queue, body) VALUES ('short', %s)",
)
TABLES = """
CREATE TABLE IF NOT EXISTS floor_runs (id VARCHAR(128) PRIMARY KEY, state VARCHAR(16),
    pipeline_id VARCHAR(128), task TEXT, outputs JSONB, created_at BIGINT);
CREATE TABLE IF NOT EXISTS floor_requests (id BIGSERIAL PRIMARY KEY, queue VARCHAR(64), body JSONB)
"""


class Quiet:
    """Stands where our application keeps its feed; there is nothing to close."""

    def close(self) -> None:
        """Nothing to do."""


class Connections:
    """As many connections as were ever used at once."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.idle: queue.LifoQueue[Any] = queue.LifoQueue()

    def take(self) -> Any:
        """An idle connection, else a new one."""
        try:
            return self.idle.get_nowait()
        except queue.Empty:
            return psycopg2.connect(self.url)


@lru_cache(maxsize=64)
def _sized(size: int) -> bytes:
    """So many bytes, made once: what is measured is how they travel."""
    return b"x" * size


def create() -> Flask:
    """`POST /nothing`, `POST /inserts` and `GET /sized/<bytes>`."""
    app = Flask(__name__, static_folder=None)
    app.extensions["feed"] = Quiet()
    connections = Connections(settings().database_url or "")

    @app.post("/nothing")
    def nothing() -> Response:
        return jsonify(id="run_" + secrets.token_hex(8))

    @app.post("/inserts")
    def inserts() -> Response:
        form = request.get_json()
        run = "run_" + secrets.token_hex(8)
        connection = connections.take()
        with connection, connection.cursor() as cursor:
            pipeline, task = form["pipeline_id"], form["task_description"]
            cursor.execute(INSERTS[0], (run, pipeline, task, int(time.time() * 1000)))
            cursor.execute(INSERTS[1], (f'{{"run": "{run}"}}',))
        connections.idle.put(connection)
        return jsonify(id=run, pipeline_id=pipeline, task_description=task, status="pending")

    @app.get("/sized/<int:size>")
    def sized(size: int) -> Response:
        return Response(_sized(size), mimetype="application/json")

    return app
