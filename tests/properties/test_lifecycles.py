"""Runs as a state machine: whatever people and workers do, arrows and invariants hold."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from models import base, events, runs, steps
from models.errors import Conflict, NotFound
from models.pipelines import Pipeline
from models.principals import Principal
from models.runs import Run
from models.steps import Step
from tasks import runs as commands
from workers import boot
from workers.jobs import runs as run_jobs
from workers.jobs import steps as step_jobs
from workers.pipelines.seat import Done

ANNA = Principal("usr_anna", "user")
OUTPUTS = {"task_breakdown_json": "[]", "validated_tasks_json": "[]"}


class RunsLife(RuleBasedStateMachine):
    """One run, pushed around by people, workers, a clock and crashes."""

    def __init__(self) -> None:
        super().__init__()
        form = {"task": "Build a todo app", "model_override": "scripted/demo"}
        self.run_id = commands.start(ANNA, Pipeline.get_by_id("planning"), form).id
        self.claims: list[tuple[Run, Step]] = []
        self.over: dict[int, str] = {}

    @property
    def run(self) -> Run:
        return Run.get_by_id(self.run_id)

    @rule()
    def advance(self) -> None:
        run_jobs.advance(self.run_id, self.run.attempt)

    @rule()
    def advance_late(self) -> None:
        run_jobs.advance(self.run_id, self.run.attempt - 1)

    @rule()
    def claim(self) -> None:
        for step in Step.of(self.run):
            if claimed := step_jobs.claim(step.id):
                self.claims.append(claimed)

    @rule(error=strategies.sampled_from([None, "broken"]), stale=strategies.booleans())
    def settle(self, error: str | None, stale: bool) -> None:
        if self.claims:
            claimed = self.claims[0] if stale else self.claims.pop()
            step_jobs.settle(*claimed, Done(error, step={"outputs": OUTPUTS}))

    @rule()
    def crash(self) -> None:
        Step.update(leased_until=1).where(Step.state == steps.RUNNING).execute()
        for step in steps.expired():
            step_jobs.recover(step.id)

    @rule()
    def drain(self) -> None:
        if self.claims:
            step_jobs.give_back(*self.claims.pop())

    @rule(
        command=strategies.sampled_from(
            [commands.cancel, commands.pause, commands.resume, commands.restart]
        )
    )
    def command(self, command: object) -> None:
        with suppress(Conflict):
            command(self.run_id)

    @rule(step_id=strategies.sampled_from(["DECOMPOSE", "VALIDATE", "NOWHERE"]))
    def restart_step(self, step_id: str) -> None:
        with suppress(Conflict, NotFound):
            commands.restart_step(self.run_id, step_id)

    @invariant()
    def at_most_one_step_is_active(self) -> None:
        active = Step.select().where((Step.run == self.run_id) & Step.state.in_(steps.ACTIVE))
        assert active.count() <= 1

    @invariant()
    def an_ended_run_has_a_time_and_nothing_under_way(self) -> None:
        run = self.run
        assert (run.completed_at is not None) == (run.state in runs.OVER)
        if run.state in runs.OVER:
            assert all(step.state not in steps.ACTIVE for step in Step.of(run))

    @invariant()
    def events_are_numbered_without_gaps(self) -> None:
        told = events.after(self.run_id, 0, 10_000)
        assert [event.seq for event in told] == list(range(1, self.run.event_seq + 1))

    @invariant()
    def nothing_is_told_after_the_end(self) -> None:
        run = self.run
        last = events.after(self.run_id, run.event_seq - 1, 1)[0].type
        if run.state in runs.OVER:
            assert last in events.FINAL


def test_a_run_keeps_its_promises_whatever_happens_to_it(
    database: str, pytestconfig: pytest.Config
) -> None:
    boot.load_performers()
    run_state_machine_as_test(
        RunsLife,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert base.db.execute_sql("SELECT count(*) FROM runs").fetchone()[0] > 0
