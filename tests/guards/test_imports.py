"""Every module can be the first one that is asked for: none waits for itself in a circle."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tasks import __path__ as folder

SCRIPT = """
import importlib, pkgutil, sys
for module in pkgutil.iter_modules(sys.argv[1:]):
    for name in [name for name in sys.modules if name.split('.')[0] == 'tasks']:
        del sys.modules[name]
    importlib.import_module(f'tasks.{module.name}')
"""


@pytest.mark.timeout(60)
def test_commands_may_be_imported_in_any_order() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, *folder], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
