"""How processes of one machine find each other and know when they are not needed any more."""

import os
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from workers.local.running import Deserted, Running, announced, find, has_guests, visiting

HERE = Running("http://127.0.0.1:1", "secret", os.getpid(), {"web": 1})

GUEST = """
import sys, time
from pathlib import Path
from workers.local.running import visiting
with visiting(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(60)
"""


def test_what_is_announced_is_found_until_it_ends(tmp_path: Path) -> None:
    assert find(tmp_path) is None
    with announced(tmp_path, HERE):
        assert find(tmp_path) == HERE
    assert find(tmp_path) is None


def test_only_its_user_can_read_the_announcement(tmp_path: Path) -> None:
    with announced(tmp_path, HERE):
        assert stat.S_IMODE((tmp_path / "up.json").stat().st_mode) == 0o600
    assert "secret" not in repr(HERE)


def test_an_announcement_of_a_dead_process_is_not_believed(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as child:
        child.wait()
    with announced(tmp_path, Running("http://127.0.0.1:1", "x", child.pid, {})):
        assert find(tmp_path) is None


def test_the_last_guest_to_leave_deserts_the_machine(tmp_path: Path) -> None:
    with closing(Deserted(tmp_path)) as deserted:
        with visiting(tmp_path):
            with visiting(tmp_path):
                assert not deserted()
            assert not deserted()
            assert has_guests(tmp_path)
        assert deserted()
        assert not has_guests(tmp_path)


def test_a_killed_guest_has_left(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", GUEST, str(tmp_path)]
    with closing(Deserted(tmp_path)) as deserted:
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as guest:
            assert guest.stdout.readline() == "in\n"
            assert not deserted()
            guest.kill()
        assert deserted()
