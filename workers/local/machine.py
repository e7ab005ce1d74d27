"""Everything on one machine: the servers, the schema, the processes of the Procfile."""

from __future__ import annotations

import hashlib
import os
import shlex
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from models.config import Settings
from workers.local import postgres, procfile, valkey
from workers.local.charge import Charge, Say
from workers.local.folder import CannotStart, free_port, held, is_free, last_words, secret
from workers.local.procfile import Program
from workers.local.running import Running, announced
from workers.local.supervisor import Supervisor, run_once

READY_SECONDS = 60.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")
RELEASE = "release"
MODEL = "local-model"


@dataclass(frozen=True)
class Machine:
    """A machine that is up."""

    running: Running
    supervisor: Supervisor

    def keep(self, until: Callable[[], bool]) -> None:
        """Keep everything running until the question is answered yes, or KeyboardInterrupt."""
        try:
            while not until():
                self.supervisor.tend()
                time.sleep(0.25)
        except KeyboardInterrupt:
            return
        finally:
            # stopping is bounded: a second Ctrl-C must not leave it half done
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextmanager
def machine(
    base: Mapping[str, str], say: Say, programs: Sequence[Program] = ()
) -> Iterator[Machine]:
    """Everything up while the block lasts; `base` is the environment the processes start from.

    `programs` are those of our Procfile unless given. Raises InUse when this data folder is up
    already, Misconfigured, and whatever keeps a server, the schema or the web process from
    starting.
    """
    settings = Settings.read(base)
    data, programs = settings.data.absolute(), programs or procfile.read()
    with ExitStack() as stack:
        stack.enter_context(held(data, "up.lock"))
        token = settings.engine_token or secret(data / "token")
        env = {**base, "DJINN_DATA_PATH": str(data), "ENGINE_INTERNAL_TOKEN": token}
        env |= own_keys(settings, data)
        env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), base.get("PATH", "")])
        env |= _access(base, settings, say)
        urls, servers = _servers(settings, data, stack, say)
        env |= urls
        for program in programs:
            if program.name == RELEASE:
                run_once(program, env, data / "logs")
                say("schema and library are up to date")
        model, where = _local_model(settings)
        env |= where
        env |= {"HOST": settings.host, "PORT": str(_web_port(base, settings.port, say))}
        lasting = [*model, *(program for program in programs if program.name != RELEASE)]
        supervisor = stack.enter_context(Supervisor(lasting, env, data / "logs", say, servers))
        url = f"http://{_reachable(settings.host)}:{env['PORT']}"
        _await_all(url, where, supervisor)
        running = Running(url, token, os.getpid(), supervisor.pids)
        stack.enter_context(announced(data, running))
        yield Machine(running, supervisor)
        say("stopping ...")


def own_keys(settings: Settings, data: Path) -> dict[str, str]:
    """Keys of our own, kept in the data folder, where the operator gave none."""
    made = {}
    if not settings.auth_secret:
        made["AUTH_SECRET_KEY"] = secret(data / "auth-key")
    if not settings.vault_keys:
        drawn = secret(data / "vault-key").encode()
        made["SECRET_ENCRYPTION_KEYS"] = hashlib.sha256(drawn).hexdigest()
    return made


def _access(base: Mapping[str, str], settings: Settings, say: Say) -> dict[str, str]:
    """On loopback, with servers of our own, nobody logs in unless the operator wants it."""
    ours = not (settings.database_url or settings.redis_url)
    if base.get("AUTH_ENABLED") or not ours or settings.host not in LOOPBACK:
        return {}
    say("accounts are off: whoever reaches this address is its admin (AUTH_ENABLED=true asks)")
    return {"AUTH_ENABLED": "false"}


def _servers(
    settings: Settings, data: Path, stack: ExitStack, say: Say
) -> tuple[dict[str, str], list[Charge]]:
    """Where Postgres and Redis are: the operator's, or our own, started here and to be tended."""
    ours = {}
    if not settings.database_url:
        ours["DATABASE_URL"] = postgres.tended(data)
    if not settings.redis_url:
        ours["REDIS_URL"] = valkey.tended(data)
    urls, servers = {}, []
    for variable, starting in ours.items():
        began = time.monotonic()
        urls[variable], server = stack.enter_context(starting)
        servers.append(server)
        say(f"{server.name} is ready ({time.monotonic() - began:.1f} s)")
    return urls, servers


def _local_model(settings: Settings) -> tuple[list[Program], dict[str, str]]:
    """The program that serves the local model, and the variable that names it to the others."""
    from workers.llm.local_server import available

    if settings.local_model_url or not available():
        return [], {}
    port = free_port()
    command = f"{shlex.quote(sys.executable)} -m workers.llm.local_server --port {port}"
    return [Program(MODEL, command)], {"LOCAL_MODEL_URL": f"http://127.0.0.1:{port}/v1"}


def _web_port(base: Mapping[str, str], port: int, say: Say) -> int:
    """The port asked for, 0 being any; when nobody asked and the usual one is taken, another."""
    if port == 0:
        return free_port()
    if is_free(port):
        return port
    if base.get("PORT"):
        raise CannotStart(f"port {port} is taken by another program; choose one with --port")
    other = free_port()
    say(f"port {port} is taken by another program: using {other}")
    return other


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104


def _await_all(url: str, where: Mapping[str, str], supervisor: Supervisor) -> None:
    """Wait until the web process and the local model answer; raises CannotStart."""
    waiting = {"web": f"{url}/healthz"}
    if where:
        waiting[MODEL] = f"{where['LOCAL_MODEL_URL']}/models"
    deadline = time.monotonic() + READY_SECONDS
    while waiting := {name: door for name, door in waiting.items() if not answers(door)}:
        supervisor.tend()
        if time.monotonic() > deadline:
            name = next(iter(waiting))
            words = last_words(supervisor.logs / f"{name}.log")
            raise CannotStart(f"{name} does not answer. The end of its log:\n{words}")
        time.sleep(0.05)


def answers(url: str) -> bool:
    """Whether an HTTP server answers at this loopback address, whatever it says."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code < 500
    except (TimeoutError, OSError):
        return False
