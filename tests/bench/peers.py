"""Other people's systems beside ours: installed apart, driven as child processes, in turns.

A peer is a script in tests/bench/against/ that answers questions about itself: a line of JSON in,
a line of JSON out. It stays warm between its turns and takes no part in anybody else's.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from models.base import renamed

HERE = Path(__file__).parent
WANTED = HERE / "peers.txt"


class Peer:
    """One running script of tests/bench/against/."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def ask(self, question: str, *about: Any) -> Any:
        """What the script's function of this name answers; an error of its ends us."""
        self.process.stdin.write(json.dumps([question, *about]) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the peer is gone; it was asked for {question}")
        return json.loads(answer)


@contextmanager
def installed(folder: str | None = None) -> Iterator[Path]:
    """The Python of an environment with the peers of peers.txt; one in `folder` is kept."""
    home = Path(folder or tempfile.mkdtemp(prefix="djinn-peers-")).absolute()
    python = home / "bin" / "python"
    listed = home / WANTED.name
    try:
        if not listed.exists() or listed.read_text() != WANTED.read_text():
            venv.create(home, with_pip=True)
            quietly = ["-E", "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
            subprocess.run([python, *quietly, "--requirement", WANTED], check=True)
            shutil.copy(WANTED, listed)
        yield python
    finally:
        if folder is None:
            shutil.rmtree(home)


@contextmanager
def peer(python: Path, script: str, *arguments: str) -> Iterator[Peer]:
    """A script of tests/bench/against/ running under the peers' Python while the block lasts."""
    process = subprocess.Popen(
        [python, "-E", HERE / "against" / f"{script}.py", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Peer(process)
    finally:
        process.stdin.close()  # the end of the questions is the end of the script
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def own_database(url: str, name: str) -> str:
    """The URL of a fresh database of that name on the same Postgres server."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    connection.cursor().execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    connection.cursor().execute(f"CREATE DATABASE {name}")
    connection.close()
    return renamed(url, name)
