from __future__ import annotations

from collections.abc import Callable

import pytest

from models import invariants
from models.base import db
from models.invariants import INVARIANTS, breaches
from models.pipelines import Pipeline
from models.principals import Principal
from models.runs import Run
from models.steps import Step
from tasks import runs
from workers.jobs import runs as jobs

ANNA = Principal("user:anna", "user")

# What breaks each kind of rows: {run} and {step} are a run under way and its queued step.
BROKEN = {
    "a run that should move": "DELETE FROM steps WHERE id = '{step}'; "
    "UPDATE runs SET updated_at = 1",
    "a step at work has a lease": "UPDATE steps SET state = 'running', lease_id = 'l', "
    "leased_until = 1",
    "waits for a run": "UPDATE steps SET state = 'waiting', waits_for = 'pulse_exec_gone'",
    "waits for a swarm": "UPDATE steps SET state = 'waiting', waits_for = 'swarm_gone'",
    "a run that is over has no step": "UPDATE runs SET state = 'failed', completed_at = 1",
    "a session at work": "INSERT INTO sessions SELECT 'ses_1', 'running', 'finn', 'pipeline', "
    "NULL, '{run}', '{step}', NULL, NULL, NULL, NULL, NULL, 0, NULL, 1, 1, 1, NULL",
    "money is set aside": "INSERT INTO reservations (execution_id, key, usd, tokens) "
    "VALUES ('gone', 'run:gone', 1, 1)",
    "numbered 1, 2, 3": "DELETE FROM events WHERE seq = 1",
    "numbered 0, 1, 2": "INSERT INTO ledger (execution_id, seq, kind, name, key, tries, claimed_at)"
    " VALUES ('{step}', 1, 'model', 'm', 'k', 1, 1)",
    "handed to the broker": "INSERT INTO outbox (queue, body, due_at) VALUES ('short', '{{}}', 1)",
}


@pytest.fixture
def run(database: str) -> Run:
    made = runs.start(ANNA, Pipeline.get_by_id("planning"), {"task": "Plan it"})
    jobs.advance(made.id, made.attempt)
    return made


def test_every_invariant_holds_of_runs_that_end_in_peace(run: Run, work: Callable[[], int]) -> None:
    assert breaches(0) == []
    work()
    assert breaches(0) == []


@pytest.mark.parametrize("words", BROKEN)
def test_a_broken_row_is_named(run: Run, words: str) -> None:
    (step,) = Step.of(run)
    invariant = next(each for each in INVARIANTS if words in each)
    db.execute_sql(BROKEN[words].format(run=run.id, step=step.id))
    assert invariant in {breach.invariant for breach in breaches()}


def test_a_breach_names_only_the_first_rows(run: Run) -> None:
    db.execute_sql(
        "INSERT INTO outbox (queue, body, due_at) "
        "SELECT 'short', '{}', 1 FROM generate_series(1, 50)"
    )
    (breach,) = breaches()
    assert len(breach.rows) == invariants.NAMED
