"""What we read and judge without asking git is what git would say."""

from __future__ import annotations

import pytest

from workers.workspaces.git import PLAIN, may_name
from workers.workspaces.objects import read_commit, write_commit

USUAL = ("a", "A_1", "feat/a-b/c_", "a-", "a/-b", "HEAD", "-a", "a.b", "ä")
WRONG = ("", "a/", "a//b", "/a", "a.lock", "a..b", ".a", "a b", "a~1", "a:b", "a\\b", "@{x}")


def test_a_commit_is_read_as_git_reads_it_until_it_is_packed(opened):
    (opened.tree / "file").write_text("text")
    first = opened.commit("tree 1\n\ncommitter nobody <> 1 +0000", "Ørsted <b> 9 +0000", "exec_1")
    tree = opened.git("rev-parse", f"{first}^{{tree}}").strip()
    merged = write_commit(opened.git_dir, [first, first], tree, "two parents", 7)
    for commit in (first, merged):
        tree, when = opened.git("log", "-1", "--format=%T %ct", commit).split()
        assert read_commit(opened.git_dir, commit) == (tree, int(when))
    assert read_commit(opened.git_dir, tree) is None
    opened.git("repack", "-adq")
    opened.git("prune-packed", "-q")
    assert read_commit(opened.git_dir, first) is None


def test_a_broken_commit_is_left_to_git(opened):
    (opened.tree / "file").write_text("text")
    commit = opened.commit("a step", "finn", "exec_1")
    path = opened.git_dir / "objects" / commit[:2] / commit[2:]
    path.chmod(0o600)
    path.write_bytes(b"broken")
    assert read_commit(opened.git_dir, commit) is None


@pytest.mark.parametrize("name", [*USUAL, *WRONG, "a\n", "a\0b", "\n"])
def test_a_name_is_judged_as_git_judges_it(opened, name):
    reference = f"refs/djinn/left/{name}"
    said = (
        "\0" not in name
        and opened.git.outcome("check-ref-format", reference, fine=(0, 1)).code == 0
    )
    assert may_name(opened.git, reference) is said
    assert said or not PLAIN.fullmatch(reference)
