"""Runs: one request of a person, worked through step by step along a pinned pipeline version."""

from __future__ import annotations

from typing import Any, Self

from peewee import BooleanField, CharField, ForeignKeyField, IntegerField

from models import events
from models.base import IDENTIFIER, JsonField, LongText, Moment, Touched, id_field, now_ms
from models.lifecycle import StateField, Stateful
from models.pipelines import PipelineVersion
from models.principals import Principal
from models.projects import Project, shared

PENDING, RUNNING, PAUSED = "pending", "running", "paused"
COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"
ACTIVE = (PENDING, RUNNING, PAUSED)
OVER = (COMPLETED, FAILED, CANCELLED)

PIPELINE, EXECUTOR, REPLAY = "pipeline", "executor", "replay"  # kinds of runs
CHAT, PULSE, WAKE = "chat", "pulse", "wake"  # sessions of agents, which are shown as such
SHOWN = (PIPELINE, EXECUTOR, REPLAY)
OPEN_ENDED = (CHAT, PULSE, WAKE)  # they end well when the model has no more to say
MOST_PAYERS = 32  # runs that asked for one another in a row


class Run(Stateful):
    """One run. Whoever changes it or its steps holds its row lock first (`locked`)."""

    label = "Run"
    version_id: str

    id = id_field("run_")
    state = StateField(
        {
            PENDING: {RUNNING, FAILED, CANCELLED},
            RUNNING: {PAUSED, COMPLETED, FAILED, CANCELLED},
            PAUSED: {RUNNING, FAILED, CANCELLED},
            COMPLETED: {PENDING, RUNNING},
            FAILED: {PENDING, RUNNING},
            CANCELLED: {PENDING, RUNNING},
        }
    )
    attempt = IntegerField(default=1)  # a restart is a new attempt
    event_seq = IntegerField(default=0)
    priority = IntegerField(default=0)
    kind = CharField(max_length=16, default=PIPELINE)
    pipeline_id = CharField(max_length=IDENTIFIER)
    version = ForeignKeyField(PipelineVersion, on_delete="RESTRICT", index=False)
    task = LongText()
    human_context = LongText(null=True)
    project_name = CharField(max_length=256, null=True)
    project_id = CharField(max_length=IDENTIFIER, null=True)
    owner_id = CharField(max_length=IDENTIFIER, null=True)
    model_override = CharField(max_length=256, null=True)
    current_step = CharField(max_length=IDENTIFIER, null=True)
    outputs = JsonField(default=dict)
    meta = JsonField(default=dict)
    error = LongText(null=True)
    key_resolution = JsonField(null=True)
    agent_id = CharField(max_length=IDENTIFIER, null=True)  # whose executor it is
    parent_id = CharField(max_length=IDENTIFIER, null=True)  # the run that asked for it
    payers = JsonField(default=list)  # that run, the one that asked for it, and so on upwards
    origin_id = CharField(max_length=IDENTIFIER, null=True)  # the run it forks or replays
    pause_reason = CharField(max_length=32, null=True)
    budgeted = BooleanField(default=False)  # it has or had a limit of its own: models.budgets
    quarantined = BooleanField(default=False)  # it took its worker down too often
    task_id = CharField(max_length=IDENTIFIER, null=True)
    task_branch = CharField(max_length=256, null=True)
    workspace_type = CharField(max_length=32, null=True)
    workspace_commit = CharField(max_length=64, null=True)
    workspace_snapshot = CharField(max_length=64, null=True)  # blob with a git bundle
    created_at = Moment(default=now_ms)
    updated_at = Touched()
    started_at = Moment(null=True)
    completed_at = Moment(null=True)

    class Meta:
        table_name = "runs"
        indexes = (
            (("created_at", "id"), False),
            (("owner_id", "created_at", "id"), False),
            (("project_id", "created_at", "id"), False),
            (("pipeline_id", "created_at", "id"), False),
            (("state", "created_at", "id"), False),
            (("agent_id", "created_at", "id"), False),
            (("task_id", "created_at", "id"), False),
            (("parent_id",), False),
        )

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """The only place that says who sees runs: their owner, their project's members, admins.

        Agents see those of the projects they work on.
        """
        if principal.agent_id is None:
            return shared(cls, principal).where(cls.kind.in_(SHOWN))
        mine = Project.visible_to(principal).select(Project.id)
        return cls.select().where(cls.project_id.in_(mine) & cls.kind.in_(SHOWN))

    @classmethod
    def limited_by(cls, principal: Principal) -> Any:
        """Whose spending somebody may limit: runs, and sessions that are not shown as such."""
        return shared(cls, principal)

    def add(self) -> Self:
        """Insert the run; whoever asked for it pays, and whoever asked for that one."""
        if self.parent_id is not None:
            above = Run.read("SELECT payers FROM runs WHERE id = %s", self.parent_id)
            self.payers = [self.parent_id, *(above[0].payers if above else ())]
        return super().add()

    @classmethod
    def locked(cls, run_id: str, attempt: int | None = None) -> Self | None:
        """The run under its row lock; None when it is gone or a newer attempt exists."""
        rows = cls.read("SELECT * FROM runs WHERE id = %s FOR NO KEY UPDATE", run_id)
        run: Self | None = next(iter(rows), None)
        return run if run and attempt in (None, run.attempt) else None

    @classmethod
    def locked_by_step(cls, execution_id: str) -> Self | None:
        """The run under its row lock, if this execution of it waits for somebody."""
        text = """
            SELECT * FROM runs WHERE id = (
                SELECT run_id FROM steps WHERE id = %s AND state = 'queued')
            FOR NO KEY UPDATE
        """
        return next(iter(cls.read(text, execution_id)), None)

    def caller(self, agent_id: str) -> Principal:
        """An agent at work on this run, as a caller who sees no more than its owner does."""
        own = {"run_id": self.id, "owner_id": self.owner_id, "project_id": self.project_id}
        return Principal(f"agent:{agent_id}", "agent", agent_id=agent_id, **own)

    def record(self, *happenings: events.Happening, session_id: str | None = None) -> None:
        """Append to the run's history and tell the streams, in the current transaction."""
        events.record(self.id, *happenings, session_id=session_id)
        self.event_seq += len(happenings)

    def announce_state(self) -> None:
        """Tell the lists that show runs."""
        happening = ("run_status_changed", {"runId": self.id, "status": self.state})
        events.announce(self.owner_id, happening, project_id=self.project_id)

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def deep(self) -> bool:
        """Whether it may ask for no run any more that could ask for others in turn."""
        return len(self.payers) >= MOST_PAYERS

    @property
    def ordered(self) -> bool:
        """Whether an agent carries out an order: an executor's run, or the replay of one."""
        return self.agent_id is not None


def id_like(run: Run) -> str:
    """A new id that begins as this run's does."""
    kind, drawn = run.id.rpartition("_")[0], Run.id.default().rpartition("_")[2]
    return f"{kind}_{drawn}"
