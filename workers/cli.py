"""The `djinn` command. Each command imports what it needs when it runs: `--help` stays quick."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from workers.following import Manner

app = typer.Typer(
    name="djinn",
    help="Teams of AI agents that work. `djinn run engineering 'Build a todo app'` shows one.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
library = typer.Typer(help="Agents and pipelines of your own.", no_args_is_help=True)
app.add_typer(library, name="library")
vault = typer.Typer(help="The secrets this server keeps, and their keys.", no_args_is_help=True)
app.add_typer(vault, name="vault")
audit = typer.Typer(help="The log of who changed what.", no_args_is_help=True)
app.add_typer(audit, name="audit")
user = typer.Typer(help="Who has an account.", no_args_is_help=True)
app.add_typer(user, name="user")

Data = Annotated[
    Path | None,
    typer.Option(help="Folder for data, logs and embedded servers (default: DJINN_DATA_PATH)."),
]
Url = Annotated[
    str | None,
    typer.Option(envvar="DJINNBOT_URL", help="Server to ask (default: what runs on this machine)."),
]
Key = Annotated[
    str | None,
    typer.Option("--api-key", envvar="DJINNBOT_API_KEY", help="Key or token for --url."),
]
Json = Annotated[
    bool, typer.Option("--json", help="One JSON event per line on stdout, nothing else.")
]
Stream = Annotated[bool, typer.Option("--stream", help="Show the models' words as they come.")]


@app.command()
def up(
    port: Annotated[
        int | None, typer.Option(help="Port of the web process, 0 for any (default: 8000).")
    ] = None,
    data: Data = None,
    model: Annotated[str | None, typer.Option(help="Default model, as provider/model.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the processes' logs.")] = False,
    for_guests: Annotated[bool, typer.Option("--for-guests", hidden=True)] = False,
) -> None:
    """Run everything on this machine until Ctrl-C.

    Postgres and Valkey are embedded unless DATABASE_URL and REDIS_URL name servers. Everything
    listens on 127.0.0.1 only; data survives restarts; nothing is left running.
    """
    from workers.commands import up as command

    given = {"PORT": port, "DJINN_DATA_PATH": data, "DEFAULT_MODEL": model}
    raise typer.Exit(command.up(_texts(given), verbose, for_guests))


@app.command()
def run(
    pipeline: Annotated[str, typer.Argument(help="Pipeline to run, such as `engineering`.")],
    task: Annotated[str, typer.Argument(help="What is to be done, in your own words.")],
    follow: Annotated[bool, typer.Option(help="Watch until it is over, or only start it.")] = True,
    as_json: Json = False,
    model: Annotated[
        str | None, typer.Option(help="Model of every step, such as `scripted/demo`.")
    ] = None,
    stream: Stream = False,
    project_name: Annotated[str | None, typer.Option(help="Name the prompts may use.")] = None,
    data: Data = None,
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Start a run and watch it.

    Uses the server named by DJINNBOT_URL, else a `djinn up` of this machine, else starts everything
    for the time of the run. Ctrl-C cancels the run. Exit code: 0 completed, 1 failed or
    cancelled, 2 wrong usage or no server.
    """
    from workers.commands import run as command

    form = {"pipeline_id": pipeline, "task_description": task}
    form |= _texts({"model_override": model, "project_name": project_name})
    where = command.Where(data, url, api_key)
    raise typer.Exit(command.run(form, where, _manner(as_json, stream), follow))


@app.command()
def fork(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")],
    from_step: Annotated[
        str | None,
        typer.Option("--from", help="Step to begin with (default: the last one worked on)."),
    ] = None,
    as_json: Json = False,
    model: Annotated[str | None, typer.Option(help="Model of the steps that follow.")] = None,
    stream: Stream = False,
    data: Data = None,
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Go on from a step of a run in a new one, which shares all that went before, and watch it.

    Ctrl-C cancels the new run. Server and exit code as for `run`.
    """
    from workers.commands import run as command

    form = _texts({"from_step": from_step, "model_override": model})
    path, where = f"{command.RUNS}/{run_id}/fork", command.Where(data, url, api_key)
    raise typer.Exit(command.ask(path, form, where, _manner(as_json, stream)))


@app.command()
def replay(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")],
    pinned: Annotated[
        bool, typer.Option("--pinned", help="Go by the definition of then, not that of today.")
    ] = False,
    as_json: Json = False,
    data: Data = None,
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Repeat a run that is over from its record, and watch it: no model is asked.

    Fails with the first difference that a changed pipeline or agent makes. Server and exit code as
    for `run`.
    """
    from workers.commands import run as command

    form = {"definition": "pinned" if pinned else "current"}
    path, where = f"{command.RUNS}/{run_id}/replay", command.Where(data, url, api_key)
    raise typer.Exit(command.ask(path, form, where, _manner(as_json, stream=False)))


@app.command()
def tail(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")],
    as_json: Json = False,
    stream: Stream = False,
    data: Data = None,
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Watch a run that was started elsewhere, from its first event on.

    Ctrl-C stops watching; the run goes on. Exit code as for `run`.
    """
    from workers.commands import run as command

    where = command.Where(data, url, api_key)
    raise typer.Exit(command.tail(run_id, where, _manner(as_json, stream)))


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    invariants: Annotated[
        bool, typer.Option("--invariants", help="Check what must hold of the rows instead.")
    ] = False,
    data: Data = None,
) -> None:
    """Say what is missing on this machine and how to mend it. Exit code 1 if it is essential."""
    from workers import doctor as command
    from workers.commands import database

    if invariants:
        raise typer.Exit(database.invariants(_texts({"DJINN_DATA_PATH": data})))
    raise typer.Exit(command.doctor(_texts({"DJINN_DATA_PATH": data}), as_json))


@app.command()
def migrate(data: Data = None) -> None:
    """Bring the schema up to date and load the shipped library.

    Works on DATABASE_URL, else on this machine's embedded Postgres.
    """
    from workers.commands import database as command

    raise typer.Exit(command.migrate(_texts({"DJINN_DATA_PATH": data})))


@app.command()
def web() -> None:
    """Serve HTTP on HOST and PORT (gunicorn). Needs DATABASE_URL and REDIS_URL."""
    from models.config import settings
    from workers.commands.complaints import plainly

    plainly(lambda: [settings().server(name) for name in ("DATABASE_URL", "REDIS_URL")])
    # become gunicorn: signals reach it directly; gevent first, before anybody takes a thread-local
    serve = ["gunicorn", "--config", "python:web.gunicorn", "web:create_app()"]
    os.execv(sys.executable, [sys.executable, "-m", "gevent.monkey", "--module", *serve])  # noqa: S606


@app.command()
def worker(
    queues: Annotated[
        str, typer.Option(help="Queues to serve, by comma.")
    ] = "short,agents,executors,chats,media",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Jobs at a time (default: WORKER_THREADS).")
    ] = None,
) -> None:
    """Do the work that is asked for, until SIGTERM. Needs DATABASE_URL and REDIS_URL."""
    from workers.boot import worker as command
    from workers.commands.complaints import plainly

    names = [name.strip() for name in queues.split(",") if name.strip()]
    raise typer.Exit(plainly(lambda: command(names, threads)))


@app.command()
def clock() -> None:
    """Relay requests, do periodic work and look after what got lost, until SIGTERM."""
    from workers.boot import clock as command
    from workers.commands.complaints import plainly

    plainly(command)


@library.command("load")
def load(
    path: Annotated[
        Path,
        typer.Argument(exists=True, file_okay=False, help="Folder with agents/ and pipelines/."),
    ],
    data: Data = None,
) -> None:
    """Load agents and pipelines from a folder; what has the same id is replaced."""
    from workers.commands import database as command

    raise typer.Exit(command.load(path.absolute(), _texts({"DJINN_DATA_PATH": data})))


@vault.command("rotate")
def rotate(data: Data = None) -> None:
    """Seal everything anew with the first key of SECRET_ENCRYPTION_KEYS, while all goes on.

    Give the new key to every process first, before the older ones; take those away afterwards.
    Exit code 1 when something does not open: it is named, and stays as it was.
    """
    from workers.commands import database as command

    raise typer.Exit(command.rotate(_texts({"DJINN_DATA_PATH": data})))


@vault.command("status")
def vault_status(data: Data = None) -> None:
    """Say which key has sealed how many secrets. Exit code 1 when a key is missing."""
    from workers.commands import database as command

    raise typer.Exit(command.vault(_texts({"DJINN_DATA_PATH": data})))


@user.command("create")
def create_user(
    email: Annotated[str, typer.Argument(help="Address by which they log in.")],
    is_admin: Annotated[bool, typer.Option("--admin", help="May do everything.")] = False,
    data: Data = None,
) -> None:
    """Make an account; its password is asked for, or read from stdin."""
    from workers.commands import database as command

    raise typer.Exit(command.create_user(_texts({"DJINN_DATA_PATH": data}), email, is_admin))


@audit.command("verify")
def verify(
    head: Annotated[
        str | None, typer.Option(help="Digest noted earlier: it must still be in the log.")
    ] = None,
    data: Data = None,
) -> None:
    """Check that nothing in the audit log was altered, taken out or put in.

    Prints the digest of its last entry: kept elsewhere and given as --head, it shows that the end
    was not cut off either. Exit code 1 names the first entry that is not what it was.
    """
    from workers.commands import database as command

    raise typer.Exit(command.audit(_texts({"DJINN_DATA_PATH": data}), head))


def main() -> None:
    """What the `djinn` script runs."""
    app()


def _texts(given: Mapping[str, object]) -> dict[str, str]:
    """Only what was given, as text."""
    return {name: str(value) for name, value in given.items() if value is not None}


def _manner(as_json: bool, stream: bool) -> Manner:
    from workers.following import Manner

    return Manner(as_json, stream)


if __name__ == "__main__":
    main()
