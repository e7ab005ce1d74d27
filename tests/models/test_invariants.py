from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator

import pytest

import models
from models import invariants
from models.base import CLOCK, db
from models.invariants import INVARIANTS, breaches
from models.lifecycle import Stateful
from models.pipelines import Pipeline
from models.principals import Principal
from models.runs import Run
from models.steps import Step
from tasks import runs
from workers.jobs import runs as jobs

ANNA = Principal("user:anna", "user")

SWARM = """
    INSERT INTO swarms (id, state, agent_id, max_concurrent, deviation_rules,
        global_timeout_seconds, deadline, starts, created_at, updated_at, completed_at)
    VALUES ('swarm_1', '{state}', 'finn', 1, '', 60, 1, '[]', 1, 1, {ended})
"""
TASK = """
    INSERT INTO swarm_tasks (id, swarm_id, number, key, title, project_id, task_id,
        execution_prompt, dependencies, state, run_id, branch, created_at, updated_at)
    VALUES ('swarmtask_1', 'swarm_1', 0, 'A', '', 'p', 't', '', '[]', '{state}', {run}, 'b', 1, 1)
"""
CHAT = """
    INSERT INTO chat_sessions (id, user_id, agent_id, state, source, model, tools, message_count,
        summarised, context_used, idle_until, created_at, updated_at, last_activity_at,
        completed_at)
    VALUES ('{{run}}', 'u', 'finn', '{state}', 'chat', 'm', '[]', 0, 0, 0, 1, 1, 1, 1, {ended})
"""
MESSAGE = """
    INSERT INTO chat_messages (id, session_id, number, role, content, attachments, state,
        created_at, updated_at)
    VALUES ('msg_1', '{{run}}', 1, 'assistant', '', '[]', '{state}', 1, 1)
"""

BOARD = """
    INSERT INTO kanban_columns (id, project_id, name, position, task_statuses)
    VALUES ('col_1', 'proj_shared', 'All', 0, '["ready"]');
    INSERT INTO tasks (id, project_id, title, description, status, priority, run_id, tags,
        column_id, column_position, metadata, completed_stages, created_at, updated_at)
    VALUES ('task_1', 'proj_shared', 'T', '', 'ready', 'P2', {run}, '[]', 'col_1', 0, '{{{{}}}}',
        '[]', 1, 1)
"""
UNENDED = """;
    INSERT INTO task_runs (id, task_id, run_id, pipeline_id, status, from_status, started_at)
    VALUES ('tr_1', 'task_1', '{run}', 'planning', 'running', 'ready', 1);
    UPDATE runs SET state = 'failed', completed_at = 1
"""
ONBOARDING = """
    INSERT INTO onboarding_sessions (id, owner_id, state, chain, current_agent_id, phase, context,
        model, project_id, created_at, updated_at, completed_at)
    SELECT 'onb_1', 'usr', '{state}', '[]', 'stas', 'intake', '{{{{}}}}', 'm',
        CASE WHEN {ended} IS NULL THEN NULL ELSE 'proj_1' END, 1, 1, {ended}
"""
PUSH = """
    INSERT INTO pushes (id, project_id, source, branch, commit, snapshot, state, tries, due_at,
        created_at, updated_at)
    VALUES ('push_1', 'proj_shared', 'x', 'b', 'c', 's', 'queued', 0, 1, 1, 1)
"""
LETTER = """
    INSERT INTO letters (id, state, recipient, subject, tries, due_at, created_at, updated_at)
    VALUES ('{key}', '{state}', 'ada@cast.example', 'Hello', {tries}, {due}, 1, {since})
"""
REPOSITORY = """
    INSERT INTO project_repositories (id, project_id, url, state, branches, updated_at)
    VALUES ('repo_1', 'proj_shared', 'https://host.example/todo.git', '{state}', '[]', 1)
"""
FAILURE = """
    INSERT INTO failures (id, queue, task, arguments, tries, error, failed_at, due_at)
    VALUES ('digest', 'short', 'mail.deliver', '{{{{}}}}', 1, 'broke', 1, {due})
"""
MISS = """
    INSERT INTO webhook_misses (guid, delivery, tries, due_at, failed_at)
    VALUES ('guid', 1, 1, {due}, {failed})
"""
FIRING = """
    INSERT INTO pulse_firings (id, state, routine_id, agent_id, owner_id, scheduled_at, source,
        run_id, created_at, updated_at)
    VALUES ('pf_1', '{state}', 'pr_1', 'finn', 'usr_owner', 1, 'recurring', {run}, 1, 1)
"""
ROUTINE = """
    INSERT INTO pulse_routines (id, agent_id, owner_id, name, instructions, enabled,
        interval_minutes, offset_minutes, timezone, blackouts, one_offs, max_concurrent,
        sort_order, total_runs, skipped, seen_until, look_at, created_at, updated_at)
    VALUES ('pr_1', 'finn', 'usr_owner', 'Look', '', true, 30, 0, 'UTC', '[]', '[]', 1,
        0, 0, 0, 1, 1, 1, 1)
"""

HOUR = 3_600_000


def ago(milliseconds: int) -> str:
    """That moment, by the clock of the database."""
    return f"{CLOCK} - {milliseconds}"


def alive(kind: str = "worker", since: str = "1") -> str:
    """A process has been there since that moment, and has just been heard of."""
    return f"""
        INSERT INTO processes (id, kind, host, pid, tag, queues, started_at, seen_at)
        SELECT 'proc_1', '{kind}', 'here', 1, 'tag', '["short", "agents"]', {since}, {CLOCK}
    """


def letter(key: str = "mail_1", state: str = "waiting", **columns: str) -> str:
    """A letter, which has been due and untouched for ever."""
    usual = {"state": state, "tries": "0", "due": "1", "since": "1"}
    return LETTER.format(key=key, **usual | columns)


def tried(state: str, **columns: str) -> str:
    """Another letter, which somebody has been at lately."""
    return letter("mail_2", state, tries="1", since=LATELY, **columns)


LATELY, SOON = ago(20_000), ago(-HOUR)  # longer ago than the grace that all rows have
SWARM_LATELY = f"{SWARM}; UPDATE swarms SET deadline = {LATELY}"  # noqa: S608
MISSED = MISS.format(due=ago(25 * HOUR), failed=ago(30 * HOUR))

# What breaks each kind of rows: {run} and {step} are a run under way and its queued step.
BROKEN = {
    "a run that should move": "DELETE FROM steps WHERE id = '{step}'; "
    "UPDATE runs SET updated_at = 1",
    "a session that nobody": "UPDATE runs SET state = 'paused', kind = 'pulse'",
    "a step at work has a lease": "UPDATE steps SET state = 'running', lease_id = 'l', "
    "leased_until = 1",
    "waits for a run": "UPDATE steps SET state = 'waiting', waits_for = 'pulse_exec_gone'",
    "waits for a swarm": "UPDATE steps SET state = 'waiting', waits_for = 'swarm_gone'",
    "what a step had others do": "UPDATE runs SET kind = 'executor', updated_at = 1, "
    'meta = \'{{"asked_by": "exec_gone:1"}}\'',
    "a run that is over has no step": "UPDATE runs SET state = 'failed', completed_at = 1",
    "a session at work": "INSERT INTO sessions SELECT 'ses_1', 'running', 'finn', 'pipeline', "
    "NULL, '{run}', '{step}', NULL, NULL, NULL, NULL, NULL, 0, NULL, 1, 1, 1, NULL",
    "a task that a run works on": BOARD.format(run="'run_gone'"),
    "an execution of a task": BOARD.format(run="NULL") + UNENDED,
    "money is set aside": "INSERT INTO reservations (execution_id, key, usd, tokens) "
    "VALUES ('gone', 'run:gone', 1, 1)",
    "numbered 1, 2, 3": "DELETE FROM events WHERE seq = 1",
    "numbered 0, 1, 2": "INSERT INTO ledger (execution_id, seq, kind, name, key, tries, claimed_at)"
    " VALUES ('{step}', 1, 'model', 'm', 'k', 1, 1)",
    "handed to the broker": "INSERT INTO outbox (queue, body, due_at, asked_at) "
    "VALUES ('short', '{{}}', 0, 1)",
    "a step that is due is taken": "UPDATE steps SET due_at = 1, updated_at = 1; "
    "INSERT INTO processes (id, kind, host, pid, tag, queues, started_at, seen_at) "
    "SELECT 'proc_1', 'worker', 'here', 1, 'tag', '[\"agents\"]', 1, "
    "(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
    "a swarm ends by its deadline": SWARM.format(state="merging", ended="NULL"),
    "a task at work in a swarm": SWARM.format(state="running", ended="NULL")
    + f"; {TASK.format(state='running', run='$$gone$$')}",
    "a swarm that is over has no task": f"{SWARM.format(state='failed', ended=1)}; "
    + TASK.format(state="ready", run="NULL"),
    "what budgets have set aside": "INSERT INTO budgets (key, run_id, spent_usd, spent_tokens, "
    "spent_calls, reserved_usd, reserved_tokens, reserved_calls) "
    "VALUES ('run:{run}', '{run}', 0, 0, 0, 0, 0, 1)",
    "a message that waits is answered": "; ".join(
        [
            CHAT.format(state="running", ended="NULL"),
            MESSAGE.format(state="queued"),
            "UPDATE runs SET updated_at = 1",
            "DELETE FROM steps",
        ]
    ),
    "an answer is being given": f"{CHAT.format(state='running', ended='NULL')}; "
    + MESSAGE.format(state="running"),
    "a chat is over when its run is": CHAT.format(state="completed", ended=1),
    "a chat in which nobody says anything": CHAT.format(state="running", ended="NULL"),
    "usage adds up": "INSERT INTO tallies VALUES ('usr_anna', 'day', 0, 'run', '', 'finn', 'p', "
    "'m', 1, 0, 1, 1, 0, 0, 2, 0.01)",
    "an onboarding that goes on": ONBOARDING.format(state="active", ended="NULL"),
    "a project that was talked about": ONBOARDING.format(state="completed", ended="1"),
    "a file that somebody sent": "INSERT INTO chat_attachments SELECT 'att_1', 'usr', NULL, NULL, "
    "'chat', 'a.txt', 'text/plain', 1, 'd', 'uploaded', NULL, NULL, NULL, NULL, 0, 1, 1",
    "what is to be pushed": PUSH,
    "a repository is looked at": f"{REPOSITORY.format(state='queued')}; {alive()}",
    "a letter that is due": f"{letter()}; {alive()}",
    "what failed is asked for again": f"{FAILURE.format(due=1)}; {alive('clock')}",
    "what GitHub could not deliver": f"{MISSED}; {alive()}",
    "a routine that is due": f"{ROUTINE}; {alive('clock')}",
    "a routine that has come up": FIRING.format(state="pending", run="NULL") + f"; {alive()}",
    "what GitHub has asked of a routine": "INSERT INTO github_agent_triggers (id, project_id, "
    "agent_id, event_id, event_type, subject, firing_id, triggered_at) "
    "VALUES ('ght_1', 'proj_shared', 'finn', 'e', 'issues', 'x', 'pf_gone', 1)",
    "a pulse at work": FIRING.format(state="running", run="$$gone$$"),
    "a run ends once": "INSERT INTO events SELECT '{run}', seq, 'run_failed', NULL, '{{}}', 1 "
    "FROM generate_series(100, 101) AS seq",
}

# The same broken by other rows, too.
EACH_BROKEN = [
    *BROKEN.items(),
    ("a swarm ends by its deadline", SWARM_LATELY.format(state="pending", ended="NULL")),
    ("a swarm ends by its deadline", SWARM_LATELY.format(state="running", ended="NULL")),
    ("a letter that is due", f"{letter(state='sending')}; {alive()}"),
    ("a letter that is due", f"{letter()}; {letter('mail_2', tries='1', due=SOON)}; {alive()}"),
]

# What only looks like it, and has an owner or a deadline all the same.
WELL = [
    ("a swarm ends by its deadline", SWARM_LATELY.format(state="merging", ended="NULL")),
    ("a repository is looked at", REPOSITORY.format(state="queued")),
    ("a repository is looked at", f"{REPOSITORY.format(state='failed')}; {alive()}"),
    ("a repository is looked at", f"{REPOSITORY.format(state='queued')}; {alive(since=LATELY)}"),
    ("a letter that is due", letter()),
    ("a letter that is due", f"{letter()}; {alive(since=LATELY)}"),
    ("a letter that is due", f"{letter(due=SOON)}; {alive()}"),
    ("a letter that is due", f"{letter(since=LATELY)}; {alive()}"),
    ("a letter that is due", f"{letter(state='sent')}; {letter('mail_2', 'failed')}; {alive()}"),
    ("a letter that is due", f"{letter()}; {tried('sending', due=SOON)}; {alive()}"),
    ("a letter that is due", f"{letter()}; {tried('sent')}; {alive()}"),
    ("what failed is asked for again", FAILURE.format(due=1)),
    ("what failed is asked for again", f"{FAILURE.format(due='NULL')}; {alive('clock')}"),
    ("what failed is asked for again", f"{FAILURE.format(due=LATELY)}; {alive('clock')}"),
    ("what failed is asked for again", f"{FAILURE.format(due=1)}; {alive('clock', ago(0))}"),
    ("what GitHub could not deliver", MISSED),
    ("what GitHub could not deliver", f"{MISSED}; {alive(since=LATELY)}"),
    ("what GitHub could not deliver", f"{MISS.format(due=ago(HOUR), failed=ago(HOUR))}; {alive()}"),
    ("what GitHub could not deliver", f"{MISS.format(due=1, failed=ago(73 * HOUR))}; {alive()}"),
]

# Where nothing moves a row but people: they may leave it as it is for as long as they like.
MOVED_BY_PEOPLE = {
    "projects",
    "skills",  # a version waits until an admin has approved of it
    "waitlist_entries",  # on their way are only the letters to them
}


def test_each_invariant_has_rows_that_break_it() -> None:
    unbroken = [name for name in INVARIANTS if not any(words in name for words in BROKEN)]
    assert unbroken == []


def test_every_state_machine_is_watched_or_moved_by_people_alone() -> None:
    for module in pkgutil.iter_modules(models.__path__, "models."):
        importlib.import_module(module.name)
    named = {table for query in INVARIANTS.values() for table in NAMES_ROWS_OF.findall(query)}
    machines = {model._meta.table_name for model in state_machines(Stateful)}
    assert machines - named == MOVED_BY_PEOPLE


NAMES_ROWS_OF = re.compile(r"SELECT (?:\w+\.)?id FROM (\w+)")


def state_machines(model: type[Stateful]) -> Iterator[type[Stateful]]:
    for each in model.__subclasses__():
        yield each
        yield from state_machines(each)


@pytest.fixture
def run(database: str) -> Run:
    made = runs.start(ANNA, Pipeline.get_by_id("planning"), {"task": "Plan it"})
    jobs.advance(made.id, made.attempt)
    return made


def test_every_invariant_holds_of_runs_that_end_in_peace(run: Run, work: Callable[[], int]) -> None:
    assert breaches() == []
    work()
    assert breaches(0) == []


@pytest.mark.parametrize(("words", "broken"), EACH_BROKEN, ids=[each[0] for each in EACH_BROKEN])
def test_a_broken_row_is_named(run: Run, words: str, broken: str) -> None:
    assert invariant_of(words) in made(run, broken)


@pytest.mark.parametrize(("words", "fine"), WELL, ids=[each[0] for each in WELL])
def test_a_row_with_an_owner_or_a_deadline_is_not_named(run: Run, words: str, fine: str) -> None:
    assert invariant_of(words) not in made(run, fine)


def invariant_of(words: str) -> str:
    return next(each for each in INVARIANTS if words in each)


def made(run: Run, rows: str) -> set[str]:
    """The invariants that do not hold when these rows are there."""
    (step,) = Step.of(run)
    db.execute_sql(rows.format(run=run.id, step=step.id))
    return {breach.invariant for breach in breaches()}


def test_a_breach_names_only_the_first_rows(run: Run) -> None:
    db.execute_sql(
        "INSERT INTO outbox (queue, body, due_at, asked_at) "
        "SELECT 'short', '{}', 1, 1 FROM generate_series(1, 50)"
    )
    (breach,) = breaches()
    assert len(breach.rows) == invariants.NAMED
