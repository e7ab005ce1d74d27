"""What a process does beside its jobs, for as long as it lives."""

from __future__ import annotations

import threading

from playhouse.pool import MaxConnectionsExceeded

from workers import boot


def test_whatever_goes_wrong_once_a_process_goes_on_saying_that_it_lives(database: str) -> None:
    """No connection to be had is no error of the database's, and ended the thread for good."""
    stopping = threading.Event()
    beats: list[str] = []

    def heartbeat() -> None:
        beats.append("beat")
        if len(beats) == 1:
            raise MaxConnectionsExceeded("all of them are taken")
        stopping.set()

    boot.every(0.01, stopping, heartbeat).join(20)
    assert len(beats) == 2
