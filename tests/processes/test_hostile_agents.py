"""Agents that try to get out, to stay on or to use everything up, on the whole product."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.contracts.test_sandboxes import gone
from tests.processes.agents_at_work import CANARY
from tests.processes.product import Product, nap, product, scripted, until

STEP = """
id: hostile
name: hostile
agents: [{id: yukihiro, name: Yukihiro}]
steps:
  - {id: DO, agent: yukihiro, input: "Do it", outputs: [answer], maxRetries: 0, timeoutSeconds: 60}
"""
SECRET = "the-secret-of-another-run"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with product(tmp_path_factory.mktemp("hostile"), OPENAI_API_KEY=CANARY) as started:
        started.client.put("/v1/pipelines/hostile", json={"yaml_content": STEP}).raise_for_status()
        yield started


def bash(command: str, timeout: int = 20) -> dict[str, Any]:
    return {"name": "bash", "arguments": {"command": command, "timeout": timeout}}


def tool(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def start(product: Product, *calls: dict[str, Any]) -> str:
    return product.run("hostile", scripted("Do harm", DO=[{"calls": list(calls)}]))


def deed(product: Product, *calls: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The run of an agent that makes these calls, and what it was answered; it must survive."""
    run = product.ended(start(product, *calls), 90)
    assert run["status"] == "completed", run["error"]
    ends = [event for event in product.events(run["id"]) if event["type"] == "tool_call_end"]
    return run, [event["result"] for event in ends][: len(calls)]


def test_no_path_and_no_link_leads_to_a_file_outside(running: Product) -> None:
    victim = running.folder / "victim.txt"
    victim.write_text(SECRET)
    links = f"ln -s {victim} file; ln -s {running.folder} folder; ln -s /proc/self/root top"
    hard = f"ln {victim} hard; ln /etc/passwd hard2; ln .git/HEAD hard3; ls"
    reads = [tool("read", path=p) for p in ("file", "folder/victim.txt", f"top{victim}", "hard")]
    escapes = [tool("read", path=p) for p in (str(victim), "../../../victim.txt", ".git/config")]
    writes = [
        tool("write", path="file", content="x"),
        tool("write", path="folder/victim.txt", content="x"),
        tool("edit", path="file", old_text="secret", new_text="x"),
        bash("echo x > file; echo x > folder/victim.txt; cat file folder/victim.txt"),
    ]
    _, told = deed(running, bash(links), bash(hard), *reads, *escapes, *writes)
    assert SECRET not in "\n".join(told)
    assert not {"hard", "hard2", "hard3"} & set(told[1].split("\n"))
    assert victim.read_text() == SECRET


def test_other_runs_and_the_platforms_data_cannot_be_found(running: Product) -> None:
    other, _ = deed(running, tool("write", path="private.txt", content=SECRET))
    data = running.folder / "data"
    kept = data / "workspaces" / other["id"] / "tree" / "private.txt"
    look = (
        f"cat {kept} {data}/* /workspace/../*/tree/*; ls {data} {running.folder}; "
        f"find / -name 'run_*' -o -name private.txt; cat /proc/1/root{kept} /proc/*/cwd/private.txt"
    )
    _, (told,) = deed(running, bash(look))
    assert kept.read_text() == SECRET
    assert SECRET not in told
    assert "\n/" not in told.replace("\n/workspace", "").replace("\n/usr", "")


def test_no_variable_of_the_platform_is_in_reach(running: Product) -> None:
    look = "env; set; cat /proc/self/environ /proc/1/environ /proc/*/environ | tr '\\0' '\\n'"
    _, (told,) = deed(running, bash(look))
    for secret in (CANARY, "DATABASE_URL", "postgresql://", "redis://"):
        assert secret not in told


def test_the_platforms_servers_cannot_be_reached(running: Product) -> None:
    urls = (running.url, running.environment["DATABASE_URL"], running.environment["REDIS_URL"])
    ports = [urlsplit(url).port for url in urls]
    knock = "; ".join(f"echo x > /dev/tcp/127.0.0.1/{port} && echo reached" for port in ports)
    _, (told,) = deed(running, bash(knock))
    assert told.count("Connection refused") + told.count("unreachable") >= len(ports)
    assert "reached\n" not in told.replace("unreached", "")


def test_only_an_agent_whose_config_says_so_gets_the_network(running: Product) -> None:
    library = running.folder / "library" / "agents" / "nettie"
    library.mkdir(parents=True)
    (library / "IDENTITY.md").write_text("# Nettie\n\n- **Name:** Nettie\n")
    (library / "config.yml").write_text("network: true\n")
    running.djinn("library", "load", str(library.parents[1]))
    text = STEP.replace("yukihiro", "nettie").replace("hostile", "networked")
    put = running.client.put("/v1/pipelines/networked", json={"yaml_content": text})
    assert put.status_code == 200, put.text
    knock = bash(f"echo x > /dev/tcp/127.0.0.1/{running.port} && echo arrived")
    run_id = running.run("networked", scripted("Knock", DO=[{"calls": [knock]}]))
    assert running.ended(run_id)["status"] == "completed"
    ends = [e for e in running.events(run_id) if e["type"] == "tool_call_end"]
    assert ends[0]["result"] == "arrived"


def test_signals_reach_nobody_outside(running: Product) -> None:
    pids = [process.pid for process in running.processes.values()]
    shots = "; ".join(f"kill -9 {pid}" for pid in pids)
    deed(running, bash(f"{shots}; kill -9 $PPID; kill -9 1; kill -9 -1; echo alive"))
    assert all(process.poll() is None for process in running.processes.values())


def test_git_runs_nothing_an_agent_planted(running: Product) -> None:
    ran = running.folder / "ran"
    plant = f"""
        printf '#!/bin/sh\\necho ran >> {ran}\\ncat\\n' > evil; chmod +x evil
        printf '* filter=evil diff=evil merge=evil\\n' > .gitattributes
        cp evil .git/hooks/pre-commit; git config core.fsmonitor ./evil
        git config filter.evil.clean ./evil; echo "[core]" >> .git/config
        git init -q sub; cp evil sub/.git/hooks/pre-commit
        for key in core.fsmonitor core.sshCommand filter.evil.clean filter.evil.smudge; do
            git -C sub config $key "$PWD/evil"; done
        printf '[submodule "sub"]\\n path = sub\\n url = ext::./evil\\n' > .gitmodules
        mkdir .djinn; printf x > .djinn/progress.md; git -C sub config --list | wc -l
    """
    run, _ = deed(running, bash(plant), bash("git log; git status; true"))
    again = running.post(f"/runs/{run['id']}/steps/DO/restart")
    assert again["status"]
    assert running.ended(run["id"])["status"] == "completed"
    assert not ran.exists()


@pytest.mark.parametrize(
    "trick",
    [
        "mkdir -p .djinn; rm -f .djinn/progress.md; ln -s /etc/passwd .djinn/progress.md",
        "mkdir -p .djinn; mkfifo .djinn/progress.md",
        "mkdir -p .djinn/progress.md/deep",
        "rm -rf .djinn; ln -s /etc .djinn",
        "rm -rf .djinn; touch .djinn",
        "chmod 0 . || true",
        "mkdir a; touch a/b; chmod 0 a/b a",
        "mkfifo pipe; ln -s pipe loop; ln -s self self",
        "rm -rf /workspace/* /workspace/.[a-z]*; true",
    ],
)
def test_what_an_agent_leaves_behind_cannot_break_its_step(running: Product, trick: str) -> None:
    run, _ = deed(running, bash(trick))
    assert run["outputs"]["answer"]
    steps = running.get(f"/steps/{run['id']}")
    assert [step["status"] for step in steps] == ["completed"]


def test_nothing_stays_on_after_the_step(running: Product) -> None:
    rest = f"sleep {nap()}"
    stay = f"(setsid nohup {rest} >/dev/null 2>&1 &) ; nohup {rest} & disown -a; echo on"
    deed(running, bash(stay), bash(f"trap '' TERM HUP; (while :; do {rest}; done) & echo on"))
    assert gone(rest)


def test_a_fork_bomb_and_a_flood_hold_up_nobody(running: Product) -> None:
    rest = f"sleep {nap()}"
    bomb = bash(f"bomb() {{ bomb | bomb & }}; bomb; {rest}", timeout=5)
    run_id = start(running, bomb, bash("yes flood | head -c 300M", timeout=20))
    until(lambda: any(e["type"] == "tool_call_start" for e in running.events(run_id)))
    began = time.monotonic()
    quick = running.run("feature", "Be quick")
    assert running.ended(quick, 30)["status"] == "completed"
    assert time.monotonic() - began < 30
    assert running.ended(run_id, 60)["status"] == "completed"
    assert gone(rest)
    events = running.client.get(f"/v1/runs/{run_id}/logs").text
    assert len(events) < 200_000
    assert "bytes left out" in events or "characters cut" in events


def test_files_memory_and_space_have_an_end(running: Product) -> None:
    fill = "head -c 1100M /dev/zero > big; stat -c %s big; rm big"
    shared = "head -c 100M /dev/zero > /dev/shm/x; stat -c %s /dev/shm/x"
    eat = "python3 -c 'x = bytearray(3 << 30)' || perl -e '$x = \"x\" x (3 << 30)'"
    _, (filled, held, eaten) = deed(running, bash(fill), bash(shared), bash(f"{eat} && echo ate"))
    assert str(1 << 30) in filled
    assert "67108864" in held
    assert "ate" not in eaten.split()


def test_a_cancelled_agents_commands_are_gone_within_ten_seconds(running: Product) -> None:
    rest = f"sleep {nap()}"
    stubborn = bash(f"trap '' TERM INT HUP; {rest} & while :; do {rest}; done", 60)
    run_id = start(running, stubborn)
    until(lambda: any(e["type"] == "tool_call_start" for e in running.events(run_id)))
    running.post(f"/runs/{run_id}/cancel")
    began = time.monotonic()
    assert gone(rest)
    assert time.monotonic() - began < 10


def test_strangers_on_the_machine_cannot_enter_the_workspaces(running: Product) -> None:
    """A set-uid program an agent leaves behind must not be within anybody's reach."""
    run, _ = deed(running, bash("cp /usr/bin/id mine; chmod 4755 mine; ls -l mine"))
    workspaces = running.folder / "data" / "workspaces"
    assert (workspaces / run["id"] / "tree" / "mine").exists()
    assert workspaces.stat().st_mode & 0o077 == 0


def test_a_sandbox_that_confines_nothing_says_so_in_the_log_and_to_whoever_watches(
    tmp_path: Path,
) -> None:
    with product(tmp_path, SANDBOX="unsafe-local") as unsafe:
        unsafe.client.put("/v1/pipelines/hostile", json={"yaml_content": STEP}).raise_for_status()
        run, _ = deed(unsafe, bash("echo free"))
        (warning,) = [e for e in unsafe.events(run["id"]) if e["type"] == "warning"]
        assert "unconfined" in warning["message"]
        assert warning["stepId"] == "DO"
        assert unsafe.log("agents").count("run unconfined") == 2  # on starting, and for the step
