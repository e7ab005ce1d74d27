"""What agents take along to a step: their commands have it, and nothing that is written does."""

from __future__ import annotations

import io
import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from models import config, events, runs
from models.accounts import User
from models.agents import Agent
from models.base import db
from models.ledger import Entry
from models.pipelines import Pipeline
from models.principals import Principal
from models.runs import Run
from models.secrets import Secret
from models.steps import Step
from tasks import replays
from tasks import runs as commands
from tests.conftest import AUTH_KEY, TOKEN, VAULT_KEYS
from tests.processes.product import scripted

OWNER = Principal("usr_owner", "user")
AGENT = "yukihiro"
CANARY = "canary-5f0c9a1b2c3d4e5f"
PRINTED = "printed-7c6b5a4938271605"  # the data folder keeps what other tests wrote
KEY_FILE = f"-----BEGIN KEY-----\n{CANARY[::-1]}\n-----END KEY-----\n"
COOKIE = "cookie-canary-0a1b2c3d"
COOKIES = f"#HttpOnly_.site.example\tTRUE\t/\tTRUE\t1900000000\tsid\t{COOKIE}\n"
TWO_STEPS = """
id: two
name: two
agents: [{id: yukihiro, name: Yukihiro}]
steps:
  - {id: DO, agent: yukihiro, input: "Do it", outputs: [answer], maxRetries: 0, onComplete: MORE}
  - {id: MORE, agent: yukihiro, input: "More", outputs: [more], maxRetries: 0}
"""
Work = Callable[..., int]


def bash(command: str) -> dict[str, Any]:
    return {"name": "bash", "arguments": {"command": command, "timeout": 60}}


def read(path: str) -> dict[str, Any]:
    return {"name": "read", "arguments": {"path": path}}


@pytest.fixture
def do(admin: FlaskClient, work: Work) -> Callable[..., Run]:
    """Has the agent make these calls in a run of somebody's."""

    def begin(*calls: dict[str, Any], more: Any = (), owner: Principal = OWNER) -> Run:
        admin.put("/v1/pipelines/two", json={"yaml_content": TWO_STEPS})
        told = scripted("Do it", DO=[{"calls": list(calls)}], MORE=[{"calls": list(more)}])
        form = {"task": told, "model_override": "scripted/demo"}
        run = commands.start(owner, Pipeline.get_by_id("two"), form)
        work()
        return Run.get_by_id(run.id)

    return begin


def given(client: FlaskClient, name: str, value: str) -> str:
    """A secret that somebody keeps and has given to the agent."""
    secret = client.post("/v1/secrets", json={"name": name, "value": value}).json["id"]
    assert client.post(f"/v1/secrets/{secret}/grant/{AGENT}").status_code == 200
    return secret


def lent(client: FlaskClient) -> str:
    """A cookie set that somebody keeps and has lent to the agent."""
    data = {"name": "Site", "cookie_file": (io.BytesIO(COOKIES.encode()), "c.txt")}
    kept = client.post("/v1/browser/cookies", data=data, content_type="multipart/form-data")
    grant = f"/v1/browser/cookies/agents/{AGENT}/{kept.json['id']}/grant"
    assert client.post(grant).status_code == 200
    return kept.json["id"]


def answers(run: Run) -> list[str]:
    told = [event for event in events.after(run.id, 0, 1000) if event.type == "tool_call_end"]
    return [event.data["result"] for event in told if event.data["toolName"] != "complete"]


def prompt(run: Run) -> str:
    steps = Step.select(Step.id).where(Step.run == run.id)
    opened = Entry.select().where(Entry.kind == "opening", Entry.execution_id.in_(steps))
    return json.dumps([entry.response for entry in opened])


def everything_written(capfd: pytest.CaptureFixture[str]) -> str:
    """Every table, the streams, the log, the files of workspaces and all that git keeps."""
    with db.connection_context():
        tables = [name for (name,) in db.execute_sql(TABLES)]
        rows = [str(list(db.execute_sql(READ.format(name)))) for name in tables]
    settings = config.settings()
    with redis.Redis.from_url(settings.redis_url) as client:
        streamed = [str(client.xrange(key)) for key in client.scan_iter(_type="stream")]
    files = [path for path in settings.data.rglob("*") if path.is_file()]
    raw = [path.read_bytes().decode(errors="replace") for path in files]
    histories = [history(path.parent) for path in files if path.name == "HEAD"]
    output = capfd.readouterr()
    return "\n".join([*rows, *streamed, *raw, *histories, output.out, output.err])


READ = 'SELECT t::text FROM "{}" t'
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"


def history(git_dir: Path) -> str:
    """The content of every object, which git keeps compressed."""
    words = ["git", "--git-dir", str(git_dir), "cat-file", "--batch-all-objects", "--batch"]
    return subprocess.run(words, capture_output=True).stdout.decode(errors="replace")


def test_commands_have_what_was_granted_and_the_agent_never_sees_it(
    do: Callable[..., Run], owner: FlaskClient
):
    given(owner, "Deploy token", CANARY)
    given(owner, "Key", KEY_FILE)
    site = lent(owner)
    run = do(
        bash(f'test "$DEPLOY_TOKEN" = {CANARY[:7]}"5f0c9a1b2c3d4e5f" && echo has it'),
        bash('echo "token: $DEPLOY_TOKEN"; echo "$KEY" | sed -n 2p; env; exit 3'),
        bash("head -c 300000 /dev/zero | tr '\\0' '\\n'; env; yes | head -c 300000"),
        bash(f"cd ~/cookies; tail -n 1 {site}.txt | cut -f 6,7; echo x > {site}.txt"),
        bash("cat /proc/*/cmdline | tr '\\0' '\\n'; echo $DEPLOY_TOKEN > /tmp/kept"),
        bash('echo "$DEPLOY_TOKEN" > note.txt'),
        read("note.txt"),
        {"name": "grep", "arguments": {"pattern": "canary"}},
        bash("rm note.txt"),
    )
    assert run.state == runs.COMPLETED, run.error
    told = answers(run)
    assert told[0] == "has it"
    assert told[1].startswith("token: ***\n***\n")
    assert CANARY not in "".join(told)
    assert told[3].startswith("sid\t***")
    assert "Read-only file system" in told[3] or "Permission denied" in told[3]
    assert told[6].strip() == "***"
    assert "note.txt:1:***" in told[7]
    assert "DEPLOY_TOKEN, KEY" in prompt(run)
    assert f"~/cookies/{site}.txt (Site, site.example)" in prompt(run)


def test_what_a_command_only_prints_is_written_nowhere(
    do: Callable[..., Run],
    owner: FlaskClient,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # which other tests leave alone
    given(owner, "Deploy token", PRINTED)
    given(owner, "Key", f"first line\n{PRINTED[::-1]}\n")
    lent(owner)
    run = do(bash("env; cat ~/cookies/*; echo $DEPLOY_TOKEN >&2"), more=[bash("env")])
    assert run.state == runs.COMPLETED, run.error
    assert "DEPLOY_TOKEN=***" in answers(run)[0]
    written = everything_written(capfd)
    assert "DEPLOY_TOKEN=***" in written  # it does look where things are written
    for secret in (PRINTED, PRINTED[::-1], COOKIE):
        assert secret not in written
    assert not list(tmp_path.rglob("*"))


def test_a_secret_that_is_taken_away_is_gone_at_the_next_step(
    do: Callable[..., Run], owner: FlaskClient, work: Work, admin: FlaskClient
):
    secret, site = given(owner, "Token", CANARY), lent(owner)
    admin.put("/v1/pipelines/two", json={"yaml_content": TWO_STEPS})
    look = [bash("echo ${TOKEN+has}; ls ~/cookies")]
    told = scripted("Do it", DO=[{"calls": look}], MORE=[{"calls": look}])
    form = {"task": told, "model_override": "scripted/demo"}
    run = commands.start(OWNER, Pipeline.get_by_id("two"), form)
    while len(answers(run)) < 1:
        assert work(1)
    owner.delete(f"/v1/secrets/{secret}/grant/{AGENT}")
    owner.delete(f"/v1/browser/cookies/agents/{AGENT}/{site}")
    work()
    first, second = answers(run)
    assert first == f"has\n{site}.txt"
    assert "has" not in second
    assert site not in second


@pytest.mark.slow
def test_a_run_has_what_its_owner_may_use(
    do: Callable[..., Run], owner: FlaskClient, stranger: FlaskClient, admin: FlaskClient
):
    for client, name in ((owner, "mine"), (stranger, "theirs"), (admin, "ours")):
        given(client, name, "some value")
    lent(stranger)
    names = "compgen -e | grep -x 'MINE\\|THEIRS\\|OURS' | sort | xargs echo -; ls ~/cookies"
    look = bash(names)
    anonymous, service = Principal("anonymous", "anonymous"), Principal("service:engine", "service")
    expected = [
        (OWNER, "- MINE"),
        (Principal("usr_stranger", "user"), "- THEIRS"),
        (Principal("usr_teammate", "user"), "-"),
        (Principal("usr_admin", "user"), "- OURS"),
        (Principal("usr_gone", "user"), "-"),
        (anonymous, "- OURS"),
        (service, "- OURS"),
    ]
    for principal, seen in expected:
        told = answers(do(look, owner=principal))[0]
        assert told.splitlines()[0] == seen, principal.id
        assert (".txt" in told) == (principal.id == "usr_stranger")
    ours = Secret.get(Secret.name == "ours").id
    admin.post(f"/v1/admin/secrets/{ours}/grant-user/usr_teammate")
    assert answers(do(look, owner=Principal("usr_teammate", "user")))[0].startswith("- OURS")
    User.update(is_active=False).where(User.id == "usr_owner").execute()
    assert answers(do(look))[0].splitlines()[0] == "-"


@pytest.mark.slow
def test_an_agent_with_a_network_has_a_key_to_the_api_and_one_without_has_none(
    do: Callable[..., Run], capfd: pytest.CaptureFixture[str]
):
    look = bash("echo ${AGENT_API_KEY:0:8} ${#AGENT_API_KEY} $DJINNBOT_API_URL; env | sort")
    without = answers(do(look))[0]
    assert "AGENT_API_KEY" not in without
    agent = Agent.get_by_id(AGENT)
    config_with = agent.config | {"network": True}
    Agent.update(config=config_with, shipped=False).where(Agent.id == AGENT).execute()
    run = do(look)
    told = answers(run)[0]
    assert told.startswith("djb_run_ 89 http://127.0.0.1:8000\n")
    assert "AGENT_API_KEY=***" in told
    assert "$AGENT_API_KEY" in prompt(run)
    assert "djb_run_0" not in everything_written(capfd).replace(told, "")
    for platform in (TOKEN, AUTH_KEY, VAULT_KEYS, "ENGINE_INTERNAL_TOKEN", "SECRET_ENCRYPTION"):
        assert platform not in without + told


def test_a_replay_needs_no_secret(do: Callable[..., Run], owner: FlaskClient, work: Work):
    secret = given(owner, "Token", CANARY)
    run = do(bash("echo ${TOKEN+has}"))
    owner.delete(f"/v1/secrets/{secret}")
    again = replays.replay(OWNER, run, {"definition": "current"})
    work()
    replayed = Run.get_by_id(again.id)
    assert (replayed.state, replayed.error) == (runs.COMPLETED, None)
    assert replayed.outputs == run.outputs


def test_a_secret_that_does_not_open_is_left_out_and_said(
    do: Callable[..., Run], owner: FlaskClient
):
    given(owner, "Good", CANARY)
    bad = given(owner, "Bad", CANARY)
    Secret.update(value="v1:lost:AAAA").where(Secret.id == bad).execute()
    run = do(bash("echo ${GOOD+good} ${BAD+bad}"))
    assert answers(run)[0] == "good"
    warned = [event for event in events.after(run.id, 0, 1000) if event.type == "warning"]
    assert "BAD" in warned[0].data["message"]


def test_what_an_agent_left_in_its_diary_is_not_told_to_the_next(
    do: Callable[..., Run], owner: FlaskClient
):
    given(owner, "Token", CANARY)
    run = do(bash("mkdir -p .djinn; echo $TOKEN >> .djinn/progress.md"), more=[bash("true")])
    assert CANARY not in prompt(run)
    assert "***" in prompt(run)
