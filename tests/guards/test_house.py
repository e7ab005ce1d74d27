"""The rules of the house that a test can hold."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playhouse.schema_diff import diff_models

from models import migrations, outbox
from models.base import Common, Model, db
from models.lifecycle import Stateful
from models.tallies import Sums, Usage
from models.vault import Vaulted
from tasks import QUEUES, TASKS
from workers import boot, broker

ROOT = Path(__file__).parents[2]
PARTIAL = (
    "steps_one_active",
    "steps_leased",
    "steps_queued",
    "runs_active",
    "runs_completed",
    "runs_payers",
    "swarms_active",
    "api_keys_one_per_agent",
    "sessions_chats",
    "webhook_events_waiting",
    "project_workflows_one_default",
    "task_runs_one_running",
    "budgets_of_shares",
    "chat_sessions_active",
    "chat_messages_open",
    "chat_attachments_unread",
    "chat_attachments_unbound",
    "onboarding_sessions_open",
    "onboarding_sessions_unplanned",
    "pushes_queued",
    "pulse_routines_due",
    "pulse_firings_open",
    "inbox_messages_unread",
)
LEAVING = {"steps": {"transient", "wait_ms"}}  # older processes write them while a deploy rolls
ABSTRACT = {Common, Stateful, Sums, Vaulted, Usage}  # no tables of their own
OURS = ("models", "tasks", "workers", "web")


def sources(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield str(file.relative_to(ROOT)), ast.parse(file.read_text())


def test_only_the_settings_read_the_environment():
    readers = {
        name
        for name, tree in sources(*OURS)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    }
    assert readers == {"models/config.py"}


def test_state_is_only_written_along_its_arrows():
    """`state=` in an update, or `row.state = ...`, outside the lifecycle and the claim."""
    allowed = {"models/lifecycle.py", "models/steps.py"}
    for name, tree in sources(*OURS):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "update":
                words = {keyword.arg for keyword in node.keywords}
                assert "state" not in words or name in allowed, f"{name}:{node.lineno}"
            if isinstance(node, ast.Assign):
                attributes = {getattr(target, "attr", None) for target in node.targets}
                assert "state" not in attributes, f"{name}:{node.lineno}"


def test_every_task_has_one_performer_that_takes_what_it_is_asked_with():
    boot.load_performers()
    assert set(broker.PERFORMERS) == set(TASKS)
    for name, task in TASKS.items():
        asked = inspect.signature(task.declaration).parameters
        done = inspect.signature(broker.PERFORMERS[name]).parameters
        assert list(asked) == list(done), name


def test_every_queue_is_served_in_the_procfile():
    text = (ROOT / "Procfile").read_text()
    served = set(re.findall(r"[\w-]+", " ".join(re.findall(r"djinn worker ([^\n]*)", text))))
    assert set(QUEUES) <= served
    assert {task.queue for task in TASKS.values()} <= set(QUEUES)
    assert outbox.EVENTS not in QUEUES


def test_the_migrations_make_the_schema_that_the_models_say(database: str):
    with db.connection_context():
        assert migrations.pending(db) == []
        found = str(diff_models(db, models())).splitlines()
    leaving = [f"drop column {table}.{name}" for table in LEAVING for name in LEAVING[table]]
    assert [line for line in found if not line.endswith((*PARTIAL, *leaving))] == []


def models() -> list[type[Model]]:
    found: list[type[Model]] = []
    waiting = list(Model.__subclasses__())
    while waiting:
        model = waiting.pop()
        waiting += model.__subclasses__()
        if model not in ABSTRACT:
            found.append(model)
    return found


def test_every_column_of_the_database_is_as_its_model_says(database: str):
    for model in models():
        columns = {column.name: column for column in db.get_columns(model._meta.table_name)}
        fields = {field.column_name: field for field in model._meta.sorted_fields}
        leaving = LEAVING.get(model._meta.table_name, set())
        assert set(columns) == set(fields) | leaving, model
        for name, field in fields.items():
            assert columns[name].null == field.null, f"{model.__name__}.{name}"


@pytest.mark.parametrize("folder", ["web", "tasks", "models"])
def test_the_light_side_imports_nothing_heavy(folder: str):
    heavy = {"openai", "anthropic", "docker", "dramatiq", "genai_prices", "xllamacpp", "workers"}
    for name, tree in sources(folder):
        for node in ast.walk(tree):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                imported = [node.module or ""]
            roots = {module.partition(".")[0] for module in imported}
            assert not roots & heavy, f"{name}:{getattr(node, 'lineno', 0)}"
