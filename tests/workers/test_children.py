"""Running a command of this machine, by a process that is not always let run itself."""

from __future__ import annotations

import os
import subprocess

from workers.sandboxes.capture import Capture
from workers.sandboxes.children import _listen


def test_a_command_that_ended_in_time_is_told_so_by_who_looks_too_late() -> None:
    said = Capture(100)
    argv = ["echo", "done"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as command:
        os.waitid(os.P_PID, command.pid, os.WEXITED | os.WNOWAIT)
        assert _listen(command, said, seconds=0)
    assert said.text == "done\n"
