"""The stage for every test: real Postgres and Valkey, an application, and a cast of callers."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck
from hypothesis import settings as examples

from models import base, config, migrations, outbox, shelf, steps, streams
from models.accounts import ApiKey, User, digest
from models.config import Settings
from models.projects import Project, ProjectMember
from tests import leaks
from tests.servers.github import github  # noqa: F401
from web import create_app
from web.feed import Feed
from workers import boot, broker, leases
from workers.local.postgres import postgres
from workers.local.valkey import valkey

TOKEN = "engine-token-of-the-tests"
AUTH_KEY = "the key that signs tokens in the tests, long enough for any algorithm"
VAULT_KEYS = f"tests:{'5e' * 32}"
CAST = ("owner", "teammate", "stranger", "admin")  # `usr_owner` calls with the key `djb_owner` ...
PROJECT = "proj_shared"  # of the owner and the teammate
TEMPLATE = "djinn_template"
SHELF = (
    *("agents", "pipelines", "pipeline_versions", "project_templates"),
    *("skills", "skill_versions", "skill_files", "agent_skills"),
)
KEPT = (*SHELF, "schema_migration")  # all else is emptied
DAY, MIDNIGHT = 86_400, 20  # seconds; no test takes longer
LEASE_MS = steps.LEASE_MS  # as it really is
SHIPPED: list[tuple[str, int, int]] = []  # the marks of what ships, as long as nobody changes it
QUICK, ROOM = Path("/dev/shm"), 1 << 30  # bytes that should be free there
SERVERS = pytest.StashKey[tuple[ExitStack, dict[str, str]]]()

# How long an example takes to be drawn or tried says as much of the machine as of us.
examples.register_profile(
    "patient", examples.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
examples.load_profile("patient")

# While Postgres is younger than a lease nobody is held to have lost one, see models.leases.SILENT.
GROWN_UP = """SELECT pg_sleep_until(pg_postmaster_start_time() + interval '3.1 seconds')"""


def servers(session: pytest.Config) -> dict[str, str]:
    """The URLs of one Postgres (with a migrated template) and one Valkey, started when needed."""
    given = getattr(session, "workerinput", {}).get("servers")
    if given:
        return given
    if SERVERS not in session.stash:
        running = ExitStack()
        folder = Path(tempfile.mkdtemp(prefix="djinn-tests-", dir=quick()))
        running.callback(shutil.rmtree, folder, ignore_errors=True)
        if os.geteuid() == 0:
            folder.chmod(0o755)  # the server itself runs as somebody else
        urls = {"postgres": running.enter_context(postgres(folder))}
        urls["redis"] = running.enter_context(valkey(folder))
        make_template(urls["postgres"])
        run_sql(urls["postgres"], *quick_to_open(urls["postgres"]), GROWN_UP)
        session.stash[SERVERS] = running, urls
    return session.stash[SERVERS][1]


def quick() -> Path | None:
    """A folder in memory: a disk takes milliseconds to forget each of thousands of folders."""
    fits = os.access(QUICK, os.W_OK) and shutil.disk_usage(QUICK).free >= ROOM
    return QUICK if fits else None


def pytest_configure(config: pytest.Config) -> None:
    """A shell starts background jobs deaf to Ctrl-C, and what they start inherits that.

    Who was not let run for seconds, beside others on this machine, has not been stopped and keeps
    its transaction, its locks and its leases: that they are lost is tried with real processes.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.option.markexpr in {"", "not slow"} and "TMPDIR" not in os.environ and quick():
        tempfile.tempdir = os.environ["TMPDIR"] = str(QUICK)
    base.SESSION |= {"idle_in_transaction_session_timeout": 30_000, "lock_timeout": 30_000}
    steps.LEASE_MS, leases.LEASE_SECONDS = 30_000, 30.0


def pytest_configure_node(node: object) -> None:
    """With xdist the controller starts the servers, its workers share them."""
    node.workerinput["servers"] = servers(node.config)


def pytest_unconfigure(config: pytest.Config) -> None:
    if SERVERS in config.stash:
        config.stash[SERVERS][0].close()


def pytest_runtest_setup() -> None:
    """Budgets and limits count by the day (UTC), which may not end amid a test."""
    left = DAY - time.time() % DAY
    if left < MIDNIGHT:
        time.sleep(left + 0.1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> object:
    """When a test has been cleared away, nothing of what it told in secret may have been seen."""
    report = yield
    if call.when == "teardown":
        leaks.search_report(item, report)
    return report


def make_template(url: str) -> None:
    run_sql(url, f"CREATE DATABASE {TEMPLATE}")
    base.connect(base.renamed(url, TEMPLATE), 2)
    with base.db.connection_context():
        migrations.migrate(base.db)
        shelf.load_shipped()
        base.db.execute_sql("CREATE SCHEMA shipped")
        for name in SHELF:  # for tests that change what ships
            base.db.execute_sql(f"CREATE TABLE shipped.{name} AS TABLE public.{name}")
    base.db.close_all()


def run_sql(url: str, *statements: str) -> None:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        for statement in statements:
            connection.cursor().execute(statement)
    finally:
        connection.close()


def quick_to_open(url: str) -> list[str]:
    """Have passwords checked in no time: tests open thousands of connections."""
    told = urlsplit(url)
    return ["SET scram_iterations = 1", f"ALTER ROLE {told.username} PASSWORD '{told.password}'"]


@pytest.fixture(scope="session")
def addresses(request: pytest.FixtureRequest) -> dict[str, str]:
    """The URLs of this test process's own database and its own logical Redis databases."""
    urls = servers(request.config)
    worker = getattr(request.config, "workerinput", {}).get("workerid", "gw0")
    name, number = f"djinn_{worker}", int(worker.removeprefix("gw")) % 7
    run_sql(urls["postgres"], f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    run_sql(urls["postgres"], f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    return {
        "postgres": base.renamed(urls["postgres"], name),
        "redis": urls["redis"].removesuffix("/0") + f"/{2 * number}",
    }


@pytest.fixture(scope="session")
def session_settings(
    addresses: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """What every process of ours reads: the environment, set for the whole session."""
    environment = {
        "DATABASE_URL": addresses["postgres"],
        "REDIS_URL": addresses["redis"],
        "DJINN_DATA_PATH": str(tmp_path_factory.mktemp("data")),
        "ENGINE_INTERNAL_TOKEN": TOKEN,
        "AUTH_SECRET_KEY": AUTH_KEY,
        "SECRET_ENCRYPTION_KEYS": VAULT_KEYS,
        "DEFAULT_MODEL": "scripted/demo",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        config.settings.cache_clear()
        yield config.settings()
    config.settings.cache_clear()


@pytest.fixture
def database(addresses: dict[str, str]) -> Iterator[str]:
    """A database with the shipped library and the cast, connected; cleaned afterwards."""
    url = addresses["postgres"]
    point_at(url)
    with base.db.connection_context():
        hire_the_cast()
        SHIPPED[:] = SHIPPED or marks()
    yield url
    point_at(url)
    with base.db.connection_context():
        leaks.search_tables()
        empty_tables()
        if marks() != SHIPPED:
            put_back_what_ships()
            SHIPPED[:] = marks()


def point_at(url: str) -> None:
    """Connect to this database, wherever the last test was and whatever it has left open.

    Idle connections are kept from test to test: a new one has everything to learn.
    """
    if base.db.database:
        base.db.close()  # this thread's goes back among the idle
        if base.db.database != url or base.db._in_use:
            base.db.close_all()
    base.connect(url, 24)  # for crowds of twenty, and who looks on


def empty_tables() -> None:
    """Delete what is in tables that have rows, which are few: TRUNCATE makes new files for all."""
    ((filled,),) = base.db.now(having_rows())
    if filled:
        untied(*(f'DELETE FROM "{name}"' for name in filled))  # noqa: S608


def marks() -> list[tuple[str, int, int]]:
    """What changes whenever a row of what ships is written or deleted, by table."""
    one = "SELECT '{0}', count(*), coalesce(max(xmin::text::bigint), 0) FROM {0}"
    return base.db.now(" UNION ALL ".join(map(one.format, SHELF)) + " ORDER BY 1").fetchall()


def put_back_what_ships() -> None:
    taken = [f"DELETE FROM {name}" for name in SHELF]  # noqa: S608
    untied(*taken, *(f"INSERT INTO {name} TABLE shipped.{name}" for name in SHELF))


def untied(*statements: str) -> None:
    """Execute what need not heed how tables hang together until all of it is done."""
    told = "; ".join(statements)
    base.db.execute_sql(f"BEGIN; SET LOCAL session_replication_role = replica; {told}; END")


@cache
def having_rows() -> str:
    """The query that names the tables which have rows, but for those that are kept."""
    text = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> ALL (%s)"
    names = [name for (name,) in base.db.execute_sql(text, (list(KEPT),))]
    one = "CASE WHEN EXISTS (SELECT 1 FROM \"{0}\") THEN '{0}' END"
    return f"SELECT array_remove(ARRAY[{', '.join(map(one.format, names))}], NULL)"


def hire_the_cast() -> None:
    """Make the accounts of the cast, a key for each, and the project that two of them share."""
    with base.db.atomic():
        for name in CAST:
            who = User(id=f"usr_{name}", email=f"{name}@cast.example", is_admin=name == "admin")
            who.add()
            key = {"key_hash": digest(f"djb_{name}"), "key_prefix": "djb_", "name": name}
            ApiKey(id=f"ak_{name}", user_id=who.id, **key).add()
        Project(id=PROJECT, name="Shared", owner_id="usr_owner").add()
        for name in ("owner", "teammate"):
            ProjectMember(project_id=PROJECT, user_id=f"usr_{name}", role=name).add()


@pytest.fixture(scope="session")
def redises(addresses: dict[str, str]) -> Iterator[list[redis.Redis]]:
    """Clients of this test process's own logical databases."""
    with ExitStack() as stack:
        urls = (addresses["redis"], broker.broker_url(addresses["redis"]))
        yield [stack.enter_context(redis.Redis.from_url(url)) for url in urls]


@pytest.fixture
def stream(addresses: dict[str, str], redises: list[redis.Redis]) -> str:
    """The URL of an empty Redis."""
    for client in redises:
        client.flushdb()
    return addresses["redis"]


@pytest.fixture
def settings(session_settings: Settings) -> Settings:
    return session_settings


@pytest.fixture(scope="session")
def application(session_settings: Settings) -> Flask:
    """The application with accounts on, made once: describing every route takes its time."""
    made = create_app(session_settings)
    made.config["PROPAGATE_EXCEPTIONS"] = True  # a fault of ours fails the test that finds it
    leaks.watch(made)
    return made


@pytest.fixture
def app(application: Flask, settings: Settings, database: str, stream: str) -> Flask:
    """The application, which remembers nothing of the test before."""
    application.extensions["feed"] = Feed(settings.redis_url)
    application.extensions.pop("status", None)
    return application


@pytest.fixture
def as_caller(app: Flask) -> Callable[[str | None], FlaskClient]:
    """Makes a client that sends a token (or none)."""

    def client(token: str | None) -> FlaskClient:
        made = app.test_client()
        if token:
            made.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
        return made

    return client


@pytest.fixture
def owner(as_caller: Callable[[str | None], FlaskClient]) -> FlaskClient:
    return as_caller("djb_owner")


@pytest.fixture
def teammate(as_caller: Callable[[str | None], FlaskClient]) -> FlaskClient:
    return as_caller("djb_teammate")


@pytest.fixture
def stranger(as_caller: Callable[[str | None], FlaskClient]) -> FlaskClient:
    return as_caller("djb_stranger")


@pytest.fixture
def admin(as_caller: Callable[[str | None], FlaskClient]) -> FlaskClient:
    return as_caller("djb_admin")


@pytest.fixture
def engine(as_caller: Callable[[str | None], FlaskClient]) -> FlaskClient:
    return as_caller(TOKEN)


@pytest.fixture
def nobody(as_caller: Callable[[str | None], FlaskClient]) -> FlaskClient:
    return as_caller(None)


@pytest.fixture
def work(settings: Settings, app: Flask) -> Callable[[int], int]:
    """Performs what has been asked so far, in order; gives how many jobs it did."""
    boot.load_performers()

    def perform_all(most: int = 1000) -> int:
        done = 0
        while done < most:
            with base.db.atomic():
                rows = outbox.take(1)
            if not rows:
                return done
            ((queue, body),) = rows
            if queue == outbox.EVENTS:
                streams.publish(settings.redis_url, [body])
            else:
                broker.perform(queue, body["task"], *body["args"], **body["kwargs"])
                done += 1
        return done

    return perform_all


@pytest.fixture
def local(settings: Settings) -> Settings:
    """The settings of one machine without accounts."""
    return replace(settings, auth_enabled=False)
