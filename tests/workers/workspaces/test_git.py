"""What stands in git's way for a moment, told from what will stand there tomorrow."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from workers.workspaces import Passing, Workspace, WorkspaceError


def doing(words: str) -> tuple[str, str, str]:
    """The arguments with which git runs a line of shell."""
    return ("-c", f"alias.does=!{words}", "does")


def test_git_that_somebody_ended_may_do_better_the_next_time(opened: Workspace):
    with pytest.raises(Passing, match="Terminated"):
        opened.git(*doing("kill -TERM $PPID"))
    with pytest.raises(Passing, match="Terminated"):
        opened.git.outcome(*doing("kill -TERM $PPID"), fine=(0, 1))  # which is no answer either


def test_who_tells_all_of_a_worker_s_group_to_go_lets_git_end(opened: Workspace):
    group = opened.git(*doing("cut -d' ' -f5 /proc/self/stat"))
    assert int(group) != os.getpgrp()


def test_git_that_takes_too_long_may_do_better_the_next_time(opened: Workspace):
    with pytest.raises(Passing, match=r"longer than 0\.1 s"):
        opened.git(*doing("sleep 1"), seconds=0.1)


def test_a_folder_that_goes_amid_a_step_may_be_had_again(opened: Workspace):
    shutil.rmtree(opened.tree)
    with pytest.raises(Passing, match="tree"):
        opened.changed()
    with pytest.raises(Passing, match="tree"):
        opened.commit("done", "finn", "exec_1")


def test_on_a_full_disk_whatever_git_complains_of_may_be_the_disk_s_fault(opened: Workspace):
    full = replace(opened.git, tree=Path("/proc"))  # never has a byte to spare
    with pytest.raises(Passing, match="Needed a single revision"):
        full("rev-parse", "--verify", "nothing")
    with pytest.raises(WorkspaceError) as failure:
        opened.git("rev-parse", "--verify", "nothing")
    assert not isinstance(failure.value, Passing)
    assert full.outcome("check-ref-format", "a..b", fine=(0, 1)).code == 1  # that is an answer


@pytest.mark.parametrize(
    "words",
    [
        "fatal: could not write loose object: No space left on device",
        "fatal: sha1 file 'repo.git/index.lock' write error: Disk quota exceeded",
        "error: unable to create temporary file: Read-only file system",
        "error: read error while indexing a.md: Input/output error",
        "error: index-pack died of signal 9",
    ],
)
def test_a_machine_that_fails_git_is_believed_when_there_is_room_again(
    opened: Workspace, words: str
):
    assert isinstance(opened.git.error(words), Passing)
