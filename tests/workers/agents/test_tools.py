from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import peewee
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.executors import TOOLS as EXECUTORS
from tests.workers.agents.conftest import MakeToolbox
from tests.workers.agents.recital import call
from workers.agents.tools import TABLE, Toolbox, usual
from workers.agents.tools.base import OUTPUT_CHARS, Awaited, Bench, bounded
from workers.agents.tools.tree import OutOfBounds, Tree
from workers.halting import DeadlinePassed, Halt, Stopped
from workers.llm.base import Call, ModelError, Result
from workers.sandboxes.base import Output, Sandbox, SandboxUnavailable
from workers.workspaces import WorkspaceError


def use(toolbox: Toolbox, name: str, **arguments: object) -> Result:
    return toolbox.run(call(name, **arguments), Halt())


@pytest.fixture
def box(toolbox: MakeToolbox) -> Toolbox:
    return toolbox()


def test_the_tools_of_the_contract_are_all_there() -> None:
    assert set(TABLE) == {
        "read", "write", "edit", "bash", "grep", "find", "ls", "complete", "fail",
        "executor_complete", "executor_fail", "spawn_executor", "swarm_execute",
        "create_project", "get_my_projects", "get_ready_tasks", "get_board_columns",
        "get_project_vision", "create_task", "create_subtask", "update_task", "comment_task",
        "add_dependency", "claim_task", "get_task_context", "transition_task", "get_task_workflow",
        "get_task_executor_runs", "execute_task", "get_run_history",
        "load_skill", "create_skill", "fetch_skill_from_web",
        "update_onboarding_context", "update_onboarding_landing_page", "onboarding_handoff",
        "open_pull_request", "get_task_pr_status",
        "message_agent", "wake_agent",
    }  # fmt: skip


def test_every_tool_says_what_it_takes() -> None:
    for tool in TABLE.values():
        assert tool.spec.description
        assert tool.spec.parameters["type"] == "object"


def test_a_file_is_written_read_and_edited(box: Toolbox, workspace: Path) -> None:
    assert (
        "created src/deep/a.py, 2 lines"
        in use(box, "write", path="src/deep/a.py", content="x = 1\ny = 2\n").text
    )
    assert use(box, "edit", path="src/deep/a.py", old_text="x = 1", new_text="x = 3").text == (
        "edited src/deep/a.py: 1 place"
    )
    assert use(box, "read", path="/workspace/src/deep/a.py").text == "x = 3\ny = 2\n"
    assert "replaced" in use(box, "write", path="./src/deep/a.py", content="").text
    assert [path.name for path in (workspace / "src/deep").iterdir()] == ["a.py"]


def test_a_part_of_a_long_file_is_read_by_lines(box: Toolbox, workspace: Path) -> None:
    (workspace / "long").write_text("".join(f"line {n}\n" for n in range(1, 101)))
    text = use(box, "read", path="long", offset=50, limit=2).text
    assert text == "line 50\nline 51\n[lines 50 to 51 of 100]"
    assert use(box, "read", path="long", offset=500).text == "[long has 100 lines]"


def test_a_whole_number_may_be_written_with_a_point(box: Toolbox, workspace: Path) -> None:
    (workspace / "long").write_text("".join(f"line {n}\n" for n in range(1, 101)))
    text = use(box, "read", path="long", offset=50.0, limit=2.0).text
    assert text == "line 50\nline 51\n[lines 50 to 51 of 100]"
    assert "do not fit (offset)" in use(box, "read", path="long", offset=1.5).text


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ('{"outputs": {"x": NaN}}', "NaN is no number"),
        ('{"outputs": {"x": [-Infinity]}}', "-Infinity is no number"),
        ('{"outputs": {"x": 1e999}}', "1e999 is no number"),
        ('{"outputs": {"x": ' + "[" * 300 + "]" * 300 + "}}", "nested deeper than 100 levels"),
        ('{"outputs": ' + "[" * 100_000, "not valid JSON"),
    ],
)
def test_what_no_row_can_hold_is_told_to_the_model(box: Toolbox, written: str, told: str) -> None:
    result = box.run(Call("c", "complete", written), Halt())
    assert result.is_error and told in result.text
    assert box.verdict is None


def test_what_a_tool_has_not_asked_for_never_reaches_it(toolbox: MakeToolbox) -> None:
    box = toolbox(allowed=["executor_complete"])
    more = {"tests_passed": True, "agent_id": "somebody"}
    use(box, "executor_complete", status="success", summary=" Done. ", **more)
    assert box.verdict is not None
    assert box.verdict.outputs == {
        "status": "success",
        "summary": "Done.",
        "files_changed": "",
        "commit_hashes": "",
        "deviations": "",
        "blocked_by": "",
    }


def test_what_a_tool_has_not_asked_for_is_left_out_within_lists_too(toolbox: MakeToolbox) -> None:
    about = {"title": "Write", "project_id": "p1", "task_id": "T", "execution_prompt": "Write"}
    odd = {"key": "A", **about, "id": "1", "state": "completed", "number": 7}
    box = toolbox(allowed=["swarm_execute"])
    with pytest.raises(Awaited) as awaited:
        use(box, "swarm_execute", tasks=[odd], agent_id="somebody", limit_usd=None)
    told = awaited.value.arguments
    assert told["tasks"] == [{"key": "A", **about}]
    assert set(told) <= TABLE["swarm_execute"].spec.parameters["properties"].keys()


class Faulty:
    """A sandbox in which nothing runs: `error` is raised."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def run(self, *told: object) -> Output:
        raise self.error


def test_a_tool_that_breaks_is_told_to_the_agent_and_breaks_nothing_else(workspace: Path) -> None:
    box = Toolbox(Bench(Tree(workspace), Faulty(KeyError("a bug of ours"))))
    searched, ran = use(box, "grep", pattern="x"), use(box, "bash", command="true")
    assert searched.is_error and ran.is_error
    assert searched.text.startswith("grep broke (KeyError). The fault is this server's")
    assert "had an effect is not known" in ran.text
    assert "had an effect" not in searched.text  # it has none


@pytest.mark.parametrize(
    "error",
    [
        *(Stopped("paused"), DeadlinePassed(), Awaited("swarm", {})),
        *(peewee.OperationalError("gone"), peewee.InterfaceError("gone")),
        *(SandboxUnavailable("none"), WorkspaceError("damaged"), ModelError("overloaded")),
    ],
)
def test_what_is_no_fault_of_a_tool_goes_on_to_whoever_drives_the_step(
    workspace: Path, error: Exception
) -> None:
    box = Toolbox(Bench(Tree(workspace), Faulty(error)))
    with pytest.raises(type(error)):
        use(box, "bash", command="true")


def test_a_long_answer_keeps_its_head_and_tail(box: Toolbox, workspace: Path) -> None:
    (workspace / "wide").write_text("a" * 50_000 + "z" * 50_000)
    text = use(box, "read", path="wide").text
    assert len(text) < OUTPUT_CHARS + 100
    assert text.startswith("aaa") and text.endswith("zzz")
    assert "[... 70000 characters cut ...]" in text


def test_an_edit_must_know_exactly_what_it_replaces(box: Toolbox, workspace: Path) -> None:
    (workspace / "a").write_text("one one")
    assert "occurs 2 times" in use(box, "edit", path="a", old_text="one", new_text="two").text
    assert "does not occur" in use(box, "edit", path="a", old_text="three", new_text="").text
    assert "does not occur" in use(box, "edit", path="a", old_text="", new_text="x").text
    use(box, "edit", path="a", old_text="one", new_text="two", replace_all=True)
    assert (workspace / "a").read_text() == "two two"


def test_an_edit_leaves_the_bytes_it_does_not_know_alone(box: Toolbox, workspace: Path) -> None:
    (workspace / "latin").write_bytes(b"caf\xe9 old\r\n")
    use(box, "edit", path="latin", old_text="old", new_text="new")
    assert (workspace / "latin").read_bytes() == b"caf\xe9 new\r\n"
    assert use(box, "read", path="latin").text.encode() == b"caf? new\r\n"


def test_the_mode_of_a_replaced_file_stays(box: Toolbox, workspace: Path) -> None:
    (workspace / "run.sh").write_text("#!/bin/sh\n")
    (workspace / "run.sh").chmod(0o755)
    use(box, "write", path="run.sh", content="#!/bin/sh\nid\n")
    assert (workspace / "run.sh").stat().st_mode & 0o777 == 0o755


def test_files_that_are_no_text_or_no_files_are_named_as_such(
    box: Toolbox, workspace: Path
) -> None:
    (workspace / "binary").write_bytes(b"\0\1")
    os.mkfifo(workspace / "pipe")
    (workspace / "folder").mkdir()
    assert "binary file of 2 bytes" in use(box, "read", path="binary").text
    for name in ("pipe", "folder"):
        for result in (use(box, "read", path=name), use(box, "write", path=name, content="")):
            assert result.is_error
            assert "not a regular file" in result.text
    assert "no such file" in use(box, "read", path="nowhere").text


@pytest.mark.parametrize(
    "path",
    ["../secret", "a/../../secret", "/etc/passwd", "/workspace/../etc/passwd", "", "."],
)
def test_no_path_leads_out_of_the_workspace(box: Toolbox, path: str) -> None:
    assert use(box, "read", path=path).is_error
    assert use(box, "write", path=path, content="x").is_error


@pytest.mark.parametrize("path", [".git/config", "sub/.GIT/hooks/pre-commit", "/workspace/.git"])
def test_the_git_directory_cannot_be_touched(box: Toolbox, workspace: Path, path: str) -> None:
    assert ".git is kept by the platform" in use(box, "write", path=path, content="x").text
    assert not any(workspace.iterdir())


def test_links_are_not_followed(box: Toolbox, workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("canary")
    (workspace / "folder").symlink_to(tmp_path / "outside")
    (workspace / "file").symlink_to(tmp_path / "outside" / "secret")
    for path in ("folder/secret", "file"):
        assert "canary" not in use(box, "read", path=path).text
        assert use(box, "write", path=path, content="overwritten").is_error
    assert use(box, "ls", path="folder").is_error
    assert "canary" not in use(box, "grep", pattern="canary", path=".").text
    assert (tmp_path / "outside" / "secret").read_text() == "canary"
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["secret"]


def test_a_folder_swapped_for_a_link_in_a_race_helps_nobody(
    workspace: Path, tmp_path: Path
) -> None:
    outside, inside = tmp_path / "outside", workspace / "d"
    outside.mkdir()
    inside.mkdir()
    over = threading.Event()

    def swap() -> None:
        kept = workspace / "kept"
        steps = (
            lambda: inside.rename(kept),
            lambda: inside.symlink_to(outside),
            inside.unlink,
            lambda: kept.rename(inside),
        )
        while not over.is_set():
            shutil.rmtree(kept, ignore_errors=True)
            for step in steps:
                with suppress(OSError):  # the writer makes the folder anew between two steps
                    step()

    swapping = threading.Thread(target=swap)
    swapping.start()
    tree = Tree(workspace)
    try:
        for _ in range(500):
            try:
                tree.write("d/file", b"x")
            except (OSError, OutOfBounds):
                continue
    finally:
        over.set()
        swapping.join()
    assert not any(outside.iterdir())


@given(st.text(max_size=40) | st.lists(st.sampled_from(["..", ".", "a", "workspace", ".git", ""])))
def test_whatever_the_path_its_parts_stay_beneath_the_root(path: str | list[str]) -> None:
    name = path if isinstance(path, str) else "/".join(path)
    try:
        parts = Tree(Path("/nowhere")).parts(name)
    except OutOfBounds:
        return
    assert not {"..", ".", "", ".git"} & set(parts)
    assert not any("/" in part or "\0" in part for part in parts)


def test_commands_tell_what_they_printed_and_how_they_failed(box: Toolbox) -> None:
    assert use(box, "bash", command="echo hi").text == "hi"
    assert use(box, "bash", command="true").text == "[no output]"
    failed = use(box, "bash", command="echo oops; exit 3")
    assert failed.is_error
    assert failed.text == "oops\n[exit code 3]"
    for timeout in (1, 4, 16):  # where others work too it may not even have begun
        late = use(box, "bash", command="echo begun; sleep 30", timeout=timeout)
        assert late.is_error
        if late.text.startswith("begun"):
            break
    assert late.text == f"begun\n[ended after {timeout} seconds: time-out]"


def test_a_command_outlasting_the_step_ends_the_step(box: Toolbox) -> None:
    with pytest.raises(DeadlinePassed):
        box.run(call("bash", command="sleep 30"), Halt(seconds=0.3))


def test_text_is_found_in_files(box: Toolbox, workspace: Path) -> None:
    (workspace / "src").mkdir()
    (workspace / "src" / "a.py").write_text("import os\nprint('Hello')\n")
    (workspace / "b.md").write_text("hello again\n")
    both = use(box, "grep", pattern="hello", ignore_case=True).text.splitlines()
    assert sorted(both) == ["b.md:1:hello again", "src/a.py:2:print('Hello')"]
    assert use(box, "grep", pattern="hello", glob="*.md").text == "b.md:1:hello again"
    assert use(box, "grep", pattern="^import", path="src").text == "src/a.py:1:import os"
    assert use(box, "grep", pattern="nothing").text == "[no matches]"
    assert use(box, "grep", pattern="[").is_error
    assert use(box, "grep", pattern="x", path="nowhere").is_error
    assert use(box, "grep", pattern="--help").text == "[no matches]"


def test_files_are_found_by_name_and_by_path(box: Toolbox, workspace: Path) -> None:
    for name in ("src/app.py", "src/deep/test_app.py", "docs/a.md", ".git/config"):
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / name).write_text("")
    assert use(box, "find", pattern="*.py").text.splitlines() == [
        "src/app.py",
        "src/deep/test_app.py",
    ]
    assert use(box, "find", pattern="src/*/test_*").text == "src/deep/test_app.py"
    assert use(box, "find", pattern="*", path="docs").text == "docs/a.md"
    assert use(box, "find", pattern="config").text == "[no matches]"


def test_a_folder_is_listed(box: Toolbox, workspace: Path) -> None:
    assert use(box, "ls").text == "[empty]"
    (workspace / "sub").mkdir()
    (workspace / "a.txt").write_text("four")
    (workspace / "link").symlink_to("a.txt")
    (workspace / ".git").mkdir()
    assert use(box, "ls").text == "a.txt (4 bytes)\nlink -> a.txt\nsub/"


def test_folders_nested_without_end_do_not_hurt(box: Toolbox) -> None:
    use(box, "bash", command="for i in $(seq 400); do mkdir d; cd d; done")
    assert not use(box, "find", pattern="*").is_error


def test_what_postgres_and_json_refuse_never_leaves_a_tool(box: Toolbox, workspace: Path) -> None:
    text = use(box, "bash", command=r"printf 'a\0b\377'").text
    assert "\0" not in text
    text.encode()
    assert not use(box, "write", path="a", content="\ud83d half").is_error
    assert not use(box, "write", path="\udcff", content="").is_error
    use(box, "complete", outputs={"x": "nul \0 and \ud83d"})
    assert box.verdict is not None
    assert box.verdict.outputs["x"] == "nul \N{SYMBOL FOR NULL} and ?"


def test_outputs_that_are_not_texts_become_json(toolbox: MakeToolbox) -> None:
    box = toolbox("tasks", "count")
    use(box, "complete", outputs={"tasks": [{"key": "T1"}], "count": 2})
    assert box.verdict is not None
    assert box.verdict.outputs == {"tasks": '[{"key": "T1"}]', "count": "2"}


@given(st.text(max_size=300), st.integers(10, 100))
def test_what_is_bounded_says_so_and_loses_nothing_else(text: str, limit: int) -> None:
    cut = bounded(text, limit)
    if len(text) <= limit:
        assert cut == text
    else:
        assert cut.startswith(text[: limit // 2])
        assert cut.endswith(text[-(limit // 2) :])


def test_where_nothing_is_handed_over_no_tool_ends_the_session(
    workspace: Path, sandbox: Sandbox
) -> None:
    box = Toolbox(Bench(Tree(workspace), sandbox), usual("swarm_execute"), open_ended=True)
    names = {spec.name for spec in box.specs}
    assert {"read", "bash", "swarm_execute"} <= names
    assert not names & {"complete", "fail", "executor_complete", "executor_fail"}


def test_what_is_withheld_counts_from_the_next_time_that_a_model_is_told_of_its_tools(
    workspace: Path, sandbox: Sandbox
) -> None:
    withheld: set[str] = set()
    box = Toolbox(Bench(Tree(workspace), sandbox), withheld=lambda: withheld)

    def told() -> set[str]:
        return {spec.name for spec in box.specs}

    assert {"bash", "write"} <= told()
    withheld.add("bash")
    assert use(box, "bash", command="echo hi").text == "hi"  # it has just been told that it may
    assert "bash" not in told()
    refused = use(box, "bash", command="echo hi")
    assert refused.is_error
    assert refused.text.startswith("there is no tool bash: use ")
    assert not use(box, "write", path="a", content="x").is_error
    withheld.clear()
    assert use(box, "bash", command="echo hi").is_error
    assert "bash" in told()
    assert not use(box, "bash", command="echo hi").is_error


@pytest.mark.parametrize(
    ("allowed", "endings"),
    [(None, ("complete", "fail")), (EXECUTORS, ("executor_complete", "executor_fail"))],
)
def test_whatever_is_withheld_there_is_a_way_to_end_the_step(
    workspace: Path, sandbox: Sandbox, allowed: Sequence[str] | None, endings: tuple[str, str]
) -> None:
    box = Toolbox(Bench(Tree(workspace), sandbox), allowed, withheld=lambda: [*TABLE])
    assert tuple(spec.name for spec in box.specs) == endings
    report = {"status": "success", "summary": "Done."} if allowed else {"outputs": {}}
    assert not use(box, endings[0], **report).is_error
    assert box.verdict is not None
