"""Ports that servers keep over restarts."""

from __future__ import annotations

import socket
from pathlib import Path

from workers.local.folder import free_port, is_free, steady_port


def test_a_port_is_one_that_no_outgoing_connection_is_given() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as outgoing:
            given = outgoing.getsockname()[1]
        assert all(port < given for port in (free_port() for _ in range(50)))


def test_a_port_is_kept_while_it_is_free(tmp_path: Path) -> None:
    kept = steady_port(tmp_path / "port")
    assert steady_port(tmp_path / "port") == kept
    with socket.create_server(("127.0.0.1", kept)):
        assert not is_free(kept)
        assert steady_port(tmp_path / "port") != kept
