"""Who has a task of a board: of all that ask, and however many ask at once, one agent."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from models.board import Task
from models.errors import Conflict, Malformed
from models.kanban import Semantics
from models.principals import Principal
from tasks import board, projects
from tests.properties.crowds import at_once

OWNER = Principal("usr_owner", "user")
AGENTS = strategies.sampled_from(("eric", "finn", "grace", "yukihiro"))
STATUSES = strategies.sampled_from(("backlog", "ready", "in_progress", "done"))
TASKS = strategies.integers(0, 2)


class Hands(RuleBasedStateMachine):
    """Three tasks, which agents ask for, many at the same moment, and people give and take."""

    def __init__(self) -> None:
        super().__init__()
        project = projects.create(OWNER, {"name": "Todo"})
        self.given_out = Semantics.of(project.status_semantics).claimable
        added = [board.add(project.id, {"title": f"Task {number}"}) for number in range(3)]
        self.tasks = [task.id for task in added]
        self.owners: dict[str, str | None] = dict.fromkeys(self.tasks)

    def task(self, which: int) -> Task:
        return Task.get_by_id(self.tasks[which])

    @rule(which=TASKS, agents=strategies.lists(AGENTS, min_size=1, max_size=6))
    def claim(self, which: int, agents: Sequence[str]) -> None:
        task = self.task(which)
        free = self.owners[task.id] is None and task.status in self.given_out
        answers = at_once(*[partial(ask, task, agent) for agent in agents])
        has_it = {agent for agent, fresh in zip(agents, answers, strict=True) if fresh is not None}
        if free:
            assert len(has_it) == 1
            (self.owners[task.id],) = has_it
        assert has_it == {self.owners[task.id]} & set(agents)
        assert answers.count(True) == free

    @rule(which=TASKS, agent=strategies.none() | AGENTS)
    def give(self, which: int, agent: str | None) -> None:
        board.change(self.task(which), {"assigned_agent": agent})
        self.owners[self.tasks[which]] = agent

    @rule(which=TASKS, status=STATUSES)
    def move(self, which: int, status: str) -> None:
        board.transition(OWNER, self.task(which), status, force=True)

    @invariant()
    def everybody_keeps_what_was_promised(self) -> None:
        found = Task.select().where(Task.id.in_(self.tasks))
        assert {task.id: task.assigned_agent for task in found} == self.owners


def ask(task: Task, agent: str) -> bool | None:
    """Whether the task was free before the agent got it; None where the agent does not."""
    try:
        return board.claim(OWNER, task, agent).fresh
    except (Conflict, Malformed):
        return None


def test_a_task_has_at_most_one_owner_however_many_ask_for_it_at_once(database: str) -> None:
    run_state_machine_as_test(
        Hands,
        settings=settings(
            max_examples=15,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
