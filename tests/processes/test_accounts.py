"""Accounts on a web process: hashing a password holds up nobody else."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
from gevent import monkey
monkey.patch_all()
import gevent
from models import passwords
from web import gunicorn

gunicorn.post_fork(None, None)
turns = 0

def others():
    global turns
    while True:
        gevent.sleep(0)
        turns += 1

greenlet = gevent.spawn(others)
assert passwords.matches(passwords.hashed("correct horse"), "correct horse")
greenlet.kill()
print(turns)
"""


def test_others_have_their_turn_while_a_password_is_hashed() -> None:
    told = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert int(told.stdout) > 100
