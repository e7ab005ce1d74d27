"""The check itself: what is broken fails it, what was unlucky once does not and is told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
STORIES = """
import os, pathlib, pytest

def test_that_is_unlucky_once():
    met = pathlib.Path("met")
    lucky = met.exists()
    met.touch()
    assert lucky

@pytest.mark.parametrize("number", range(int(os.environ["BROKEN"])))
def test_that_is_broken(number):
    assert False

@pytest.mark.slow
def test_that_is_slow():
    assert os.environ["SLOW"] == "good"

@pytest.mark.slow
@pytest.mark.alone
def test_that_wants_the_machine():
    assert os.environ["ALONE"] == "good"
    assert "PYTEST_XDIST_WORKER" not in os.environ
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A project with these stories and the real check, whose other tools are content."""
    (tmp_path / ".bin").mkdir()
    shutil.copy(ROOT / ".bin/test", tmp_path / ".bin/test")
    (tmp_path / ".bin/environment").write_text('ensure() { :; }\nvenv="$root/venv"\n')
    tools = tmp_path / "venv/bin"
    tools.mkdir(parents=True)
    for name in ("ruff", "mypy", "lint-imports"):
        (tools / name).write_text("#!/bin/sh\n")
        (tools / name).chmod(0o755)
    (tools / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tools / "python").chmod(0o755)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow: apart\n    alone: last\n")
    (tmp_path / "test_stories.py").write_text(STORIES)
    return tmp_path


def check(
    place: Path, broken: int = 0, slow: str = "good", alone: str = "good"
) -> subprocess.CompletedProcess[str]:
    told = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    told |= {"BROKEN": str(broken), "SLOW": slow, "ALONE": alone}
    argv = ["sh", str(place / ".bin/test")]
    return subprocess.run(argv, env=told, capture_output=True, text=True, timeout=100)


def test_who_fails_once_is_told_and_fails_nobody(place: Path) -> None:
    seen = check(place)

    assert seen.returncode == 0, seen.stdout
    assert "UNSTEADY" in seen.stdout
    assert seen.stdout.rstrip().rpartition("UNSTEADY")[2].count("test_that_is_unlucky_once") == 1


def test_what_is_broken_fails_it(place: Path) -> None:
    seen = check(place, broken=1)

    assert seen.returncode == 1
    assert "failed: tests\n" in seen.stdout
    assert "UNSTEADY" not in seen.stdout


def test_many_failures_are_no_bad_luck(place: Path) -> None:
    seen = check(place, broken=3)

    assert seen.returncode == 1
    assert "once more" not in seen.stdout


def test_slow_tests_count_too(place: Path) -> None:
    seen = check(place, slow="bad")

    assert seen.returncode == 1
    assert "failed: slow tests\n" in seen.stdout


def test_so_does_what_wants_the_machine_for_itself(place: Path) -> None:
    seen = check(place, alone="bad")

    assert seen.returncode == 1
    assert "failed: tests that want the machine\n" in seen.stdout
