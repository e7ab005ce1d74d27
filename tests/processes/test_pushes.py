"""Workers that are killed while a repository receives what they push: it is there once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models import base
from models.invariants import breaches
from tests.processes.product import Product, product, scripted, until
from tests.servers.git import Hub, branches, hub
from tests.workers.workspaces.test_origins import git

WRITE = {"name": "write", "arguments": {"path": "a.txt", "content": "done\n"}}
# The first push is received slowly, and taken or refused when its sender may have gone; later ones
# are taken at once.
HOOK = """#!/bin/sh
cat > /dev/null
[ -e {folder}/receiving ] && exit 0
touch {folder}/receiving
sleep 3
exit {verdict}
"""
COUNT = "#!/bin/sh\ncat >> {folder}/updates\n"


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Hub]:
    source, hosted = tmp_path / "source", tmp_path / "hosted"
    source.mkdir()
    git(source, "init", "-q", "-b", "main")
    (source / "README.md").write_text("# Todo\n")
    git(source, "add", "-A")
    git(source, "commit", "-qm", "The first line of the project")
    git(source, "clone", "-q", "--bare", str(source), str(hosted / "todo.git"))
    with hub(hosted) as host:
        yield host


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Product]:
    with product(tmp_path, ALLOW_PRIVATE_NETWORKS="true") as started:
        yield started


def hook(folder: Path, name: str, text: str, **words: object) -> None:
    path = folder / "hosted" / "todo.git" / "hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text.format(folder=folder, **words))
    path.chmod(0o755)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("verdict", [0, 1], ids=["it got there", "it did not"])
def test_who_dies_amid_a_push_has_pushed_or_another_does_and_never_both(
    running: Product, remote: Hub, tmp_path: Path, verdict: int
) -> None:
    hook(tmp_path, "pre-receive", HOOK, verdict=verdict)
    hook(tmp_path, "post-receive", COUNT)
    made = running.post("/projects", name="Todo", repository=f"{remote.url}/todo.git")
    path = f"/projects/{made['id']}"
    text = scripted("Write a file", EXECUTE=[{"calls": [WRITE]}])
    form = {"title": "One", "description": text, "workType": "custom"}
    task = running.post(f"{path}/tasks", **form)["id"]
    until(lambda: running.get(f"{path}/repository/status")["accessible"], 60)
    asked = {"agentId": "yukihiro", "modelOverride": "scripted/demo"}
    run = running.post(f"{path}/tasks/{task}/execute-agent", **asked)["run_id"]
    until(lambda: (tmp_path / "receiving").exists(), 60)

    running.kill("agents")
    running.start("agents")
    until(lambda: running.get(f"/runs/{run}/push")["state"] == "pushed", 90)

    pushed = running.get(f"/runs/{run}/push")
    assert pushed["tries"] >= 2
    assert running.get(f"/runs/{run}")["status"] == "completed"
    bare = tmp_path / "hosted" / "todo.git"
    assert branches(bare)[pushed["branch"]] == pushed["commit"]
    (update,) = (tmp_path / "updates").read_text().splitlines()
    assert update.split()[1:] == [pushed["commit"], f"refs/heads/{pushed['branch']}"]
    assert git(bare, "show", f"{pushed['branch']}:a.txt") == "done"
    base.connect(running.environment["DATABASE_URL"], 2)
    with base.db.connection_context():
        until(lambda: breaches() == [], 20)
    base.db.close_all()
