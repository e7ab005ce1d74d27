"""The embedded Valkey, with real processes."""

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.processes.product import until
from tests.workers.local.test_postgres import process_gone
from workers.local.charge import Charge
from workers.local.children import exited
from workers.local.folder import InUse
from workers.local.valkey import _answers, tended, valkey

pytestmark = pytest.mark.slow  # real processes

HOLDER = """
import sys, time
from pathlib import Path
from workers.local.valkey import valkey
with valkey(Path(sys.argv[1])) as url:
    print(url, flush=True)
    time.sleep(60)
"""


def test_data_survives_a_restart_on_the_same_folder(tmp_path: Path) -> None:
    with valkey(tmp_path) as first, redis.Redis.from_url(first) as client:
        client.xadd("stream", {"word": "kept"})
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    with valkey(tmp_path) as second, redis.Redis.from_url(second) as client:
        assert second == first
        assert client.xlen("stream") == 1


def test_nobody_gets_in_without_the_password(tmp_path: Path) -> None:
    with valkey(tmp_path):
        port = int((tmp_path / "valkey/port").read_text())
        with (
            redis.Redis(port=port, retry=None) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
    assert stat.S_IMODE((tmp_path / "valkey/valkey.conf").stat().st_mode) == 0o600


def test_a_second_one_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with valkey(tmp_path), pytest.raises(InUse), valkey(tmp_path):
        pass


def test_a_folder_with_a_space_in_its_name_is_fine(tmp_path: Path) -> None:
    with valkey(tmp_path / "my data") as url, redis.Redis.from_url(url) as client:
        assert client.ping()


def test_the_server_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as holder:
        url = holder.stdout.readline().strip()
        with redis.Redis.from_url(url) as client:
            server = client.info()["process_id"]
        os.kill(holder.pid, signal.SIGKILL)
        assert process_gone(server)


def crash(url: str, server: Charge) -> None:
    """End it without a farewell, as a crash of the machine does."""
    with redis.Redis.from_url(url) as client:
        os.kill(client.info()["process_id"], signal.SIGKILL)
    until(lambda: exited(server.process))


def files(data: Path, kind: str) -> list[Path]:
    return list(data.glob(f"valkey/data/appendonlydir/*.{kind}.*"))


def spoil_end(data: Path) -> None:
    """What a full disk, or one that lost its power, leaves at the end of a file."""
    with files(data, "incr")[0].open("ab") as file:
        file.write(bytes(3000))


def spoil_appended(data: Path) -> None:
    files(data, "incr")[0].write_bytes(bytes(3000))


def spoil_snapshot(data: Path) -> None:
    files(data, "base")[0].write_bytes(bytes(3000))


@pytest.mark.parametrize("crashed", [True, False])
@pytest.mark.parametrize(
    ("spoil", "left", "aside"),
    [(spoil_end, 1, False), (spoil_appended, 0, False), (spoil_snapshot, 0, True)],
)
def test_one_whose_file_is_spoiled_starts_with_what_can_be_read(
    tmp_path: Path, spoil: Callable[[Path], None], left: int, aside: bool, crashed: bool
) -> None:
    """And does so again: what was put aside then gives way."""
    urls = set()
    for _ in range(2):
        with tended(tmp_path) as (url, server):
            with redis.Redis.from_url(url) as client:
                client.delete("stream")
                client.xadd("stream", {"word": "kept"})
            if crashed:
                crash(url, server)
        spoil(tmp_path)
        urls.add(url)
        with valkey(tmp_path) as again, redis.Redis.from_url(again) as client:
            assert client.xlen("stream") == left
            assert (tmp_path / "valkey/data/unreadable").exists() == aside
        urls.add(again)
    assert len(urls) == 1


def test_who_tends_it_starts_it_again_with_what_can_be_read(tmp_path: Path) -> None:
    with tended(tmp_path) as (url, server), redis.Redis.from_url(url, retry=None) as client:
        client.xadd("stream", {"word": "kept"})
        crash(url, server)
        spoil_end(tmp_path)

        def back() -> bool:
            server.tend(lambda line: None)
            try:
                return client.xlen("stream") == 1
            except redis.RedisError:
                return False

        until(back)


def test_one_that_is_not_let_run_at_first_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its port is open, for the kernel keeps whoever calls; its answer takes its time."""
    monkeypatch.setattr("workers.local.valkey.READY_SECONDS", 0.1)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        subprocess.Popen(["sleep", "60"]) as server,
    ):
        assert not _answers(server, silent.getsockname()[1], "secret")
        server.kill()
