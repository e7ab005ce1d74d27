"""Agents that answer to GitHub: what they are assigned to, and what has called them."""

from __future__ import annotations

from typing import Any, Self

from peewee import BooleanField, Case, CharField, ForeignKeyField, TextField

from models import runs
from models.base import IDENTIFIER, JsonField, LongText, Model, Moment, db, id_field, now_ms
from models.github import OfProject
from models.principals import Principal
from models.projects import Project
from models.runs import Run

MOST = 100  # assignments of one project
PENDING, RUNNING, COMPLETED, FAILED = "pending", "running", "completed", "failed"
STATUSES = (PENDING, RUNNING, COMPLETED, FAILED)  # of triggers
EVENTS = (
    *("issues", "issue_comment", "pull_request", "pull_request_review"),
    *("pull_request_review_comment", "push", "check_run", "check_suite", "workflow_run"),
    *("release", "discussion", "discussion_comment", "create", "delete", "status"),
)  # what agents can be assigned to


class Assignment(OfProject, Model):
    """An agent answers to an event of the project's repository, if all filters let it through.

    With `auto_respond` it goes to work at once, in a session of `routine_id` if that is named;
    without, it gets a task on the board.
    """

    label = "GitHub assignment"

    id = id_field("gha_")
    project = ForeignKeyField(Project, on_delete="CASCADE", index=False)
    agent_id = CharField(max_length=IDENTIFIER, index=True)
    event_type = CharField(max_length=64)
    event_action = CharField(max_length=64, null=True)
    filter_labels = JsonField(null=True)
    filter_file_patterns = JsonField(null=True)
    filter_authors = JsonField(null=True)
    auto_respond = BooleanField(default=False)
    routine_id = CharField(max_length=IDENTIFIER, null=True)  # which may be gone by now
    created_by = CharField(max_length=IDENTIFIER, null=True)
    created_at = Moment(default=now_ms)
    updated_at = Moment(default=now_ms)

    class Meta:
        table_name = "project_github_agents"
        indexes = ((("project", "created_at", "id"), False),)

    @classmethod
    def listening(cls, project_ids: list[str], event_type: str) -> list[Self]:
        """The assignments of these projects that an event of this type may concern."""
        text = """
            SELECT * FROM project_github_agents WHERE project_id = ANY(%s) AND event_type = %s
            ORDER BY created_at, id
        """
        return cls.read(text, project_ids, event_type)


class Trigger(OfProject, Model):
    """An event called an agent: at most once, however often the event arrives."""

    label = "GitHub trigger"
    status: str

    id = id_field("ght_")
    project = ForeignKeyField(Project, on_delete="CASCADE", index=False)
    agent_id = CharField(max_length=IDENTIFIER)
    assignment_id = CharField(max_length=IDENTIFIER, null=True)  # none: the agent was mentioned
    event_id = CharField(max_length=IDENTIFIER)
    event_type = CharField(max_length=64)
    event_action = CharField(max_length=64, null=True)
    subject = TextField()  # what it is about, for people
    run_id = CharField(max_length=IDENTIFIER, null=True)
    firing_id = CharField(max_length=IDENTIFIER, null=True)  # of the routine that it wakes
    error = LongText(null=True)  # why no run was started
    triggered_at = Moment(default=now_ms)

    class Meta:
        table_name = "github_agent_triggers"
        indexes = (
            (("project", "triggered_at", "id"), False),
            (("event_id", "project", "agent_id"), True),
            (("firing_id",), False),
        )

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Who sees the project; each with `status` and `completed_at` as its run has them now."""
        mine = Project.visible_to(principal).select(Project.id)
        shown = cls.select(cls, STATUS.alias("status"), Run.completed_at.alias("completed_at"))
        return shown.left_outer_join(Run, on=(Run.id == cls.run_id)).where(cls.project.in_(mine))

    def claim(self) -> bool:
        """Insert the row; False when the event has called this agent before.

        One that could not go to work then is called once more.
        """
        statement, values = self.insertion()
        row = db.now(f"{statement} {_ONCE}", values).fetchone()
        if row is not None:
            self.id = row[0]
        return row is not None

    @classmethod
    def came_to(cls, firing_id: str, **what: Any) -> None:
        """Write, by the commit, what became of the firing that an event has called for."""
        told = cls.update(**what).where(cls.firing_id == firing_id)
        db.later(*told.sql())

    @classmethod
    def runs_since(cls, project_id: str, moment: int) -> int:
        """How many runs of a project were started by GitHub since then, or are to begin."""
        begun = cls.run_id.is_null(False) | (cls.firing_id.is_null(False) & cls.error.is_null())
        return cls._since(project_id, moment, begun)

    @classmethod
    def notes_since(cls, project_id: str, moment: int) -> int:
        """How often GitHub has told a project something since then that nobody set to work on.

        The one that is asked for is among them.
        """
        told = cls.run_id.is_null() & cls.firing_id.is_null() & cls.error.is_null()
        return cls._since(project_id, moment, told) - 1

    @classmethod
    def _since(cls, project_id: str, moment: int, which: Any) -> int:
        mine = (cls.project == project_id) & (cls.triggered_at >= moment)
        return int(cls.select().where(mine & which).count())


_ONCE = """
    ON CONFLICT (event_id, project_id, agent_id) DO UPDATE
    SET error = NULL, triggered_at = excluded.triggered_at
    WHERE github_agent_triggers.error IS NOT NULL
    RETURNING id
"""
STATUS = Case(
    None,
    (
        (Trigger.error.is_null(False), FAILED),
        (Trigger.run_id.is_null(), PENDING),
        (Run.state == runs.COMPLETED, COMPLETED),
        (Run.state.in_(runs.ACTIVE), RUNNING),
    ),
    FAILED,
)
