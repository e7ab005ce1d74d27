"""What is to be brought to the repositories of projects: one row for each piece of work."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Self

from peewee import CharField, ForeignKeyField, IntegerField

from models.base import (
    CLOCK,
    IDENTIFIER,
    JsonField,
    LongText,
    Moment,
    Touched,
    database_ms,
    db,
    id_field,
    now_ms,
)
from models.board import LONGEST_BRANCH
from models.lifecycle import StateField, Stateful
from models.principals import Principal
from models.projects import Project
from models.runs import ACTIVE, Run

QUEUED, PUSHED, REFUSED = "queued", "pushed", "refused"
IN_HAND_MS = 25 * 60 * 1000  # how long whoever takes a push may be at it
FIRST_WAIT_MS, LONGEST_WAIT_MS = 15_000, 30 * 60 * 1000  # between two tries; it doubles
MOST_TRIES = 12  # about three hours
FORGOTTEN_MS = 30_000  # a push that is due for so long has lost its request


class Push(Stateful):
    """The last commit of a run (or of a swarm's merge, see `source`), for a branch of a project.

    `opens` is the pull request that is wanted once it is there (see `tasks.pull_requests`).
    `due_at` is when it is tried next, or until when somebody is at it.
    """

    label = "Push"
    project_id: str
    run_id: str | None

    id = id_field("push_")
    project = ForeignKeyField(Project, on_delete="CASCADE", index=False)
    source = CharField(max_length=2 * IDENTIFIER + 32, unique=True)
    run = ForeignKeyField(Run, on_delete="CASCADE", null=True, index=True)
    task_id = CharField(max_length=IDENTIFIER, null=True)
    branch = CharField(max_length=LONGEST_BRANCH)
    commit = CharField(max_length=64)
    snapshot = CharField(max_length=64)
    opens = JsonField(null=True)
    state = StateField({QUEUED: {QUEUED, PUSHED, REFUSED}, PUSHED: {QUEUED}, REFUSED: {QUEUED}})
    tries = IntegerField(default=0)
    due_at = Moment(default=0)
    error = LongText(null=True)
    created_at = Moment(default=now_ms)
    updated_at = Touched()
    pushed_at = Moment(null=True)

    class Meta:
        table_name = "pushes"
        indexes = ((("project", "branch", "created_at"), False),)

    @classmethod
    def of(cls, source: str) -> Self | None:
        """The push of this piece of work, if it was ever to be pushed."""
        return next(iter(cls.read("SELECT * FROM pushes WHERE source = %s", source)), None)

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Who sees the project; a run's owner who has left it does not."""
        return cls.select().where(cls.project.in_(Project.visible_to(principal).select(Project.id)))

    @classmethod
    def last_to(cls, project_id: str, branch: str) -> Self | None:
        """The newest push to a branch."""
        text = """
            SELECT * FROM pushes WHERE project_id = %s AND branch = %s
            ORDER BY created_at DESC, id DESC LIMIT 1
        """
        return next(iter(cls.read(text, project_id, branch)), None)

    @classmethod
    def taken(cls, push_id: str) -> Self | None:
        """The push for whoever tries it now, the try counted; None when there is nothing to do.

        Two may be at it (one of them was believed dead): pushing twice is pushing once.
        """
        return next(iter(cls.read(_TAKE, IN_HAND_MS, push_id)), None)

    @property
    def wait_ms(self) -> int:
        """How long to wait for the next try."""
        return int(min(FIRST_WAIT_MS * 2 ** (self.tries - 1), LONGEST_WAIT_MS))


_TAKE = f"""
    UPDATE pushes SET tries = tries + 1, due_at = {CLOCK} + %s, updated_at = {CLOCK}
    WHERE id = %s AND state = 'queued' RETURNING *
"""  # noqa: S608


_NEEDED = """
    SELECT id FROM runs WHERE id = ANY(%s) AND (state = ANY(%s) OR NOT EXISTS (
        SELECT FROM pushes WHERE run_id = runs.id AND pushes.state = 'pushed'
            AND commit = workspace_commit))
"""


def needing_files(run_ids: Collection[str]) -> set[str]:
    """Those of these runs that are not over, or whose work nobody else can reach."""
    rows = db.now(_NEEDED, (list(run_ids), list(ACTIVE)))
    return {run_id for (run_id,) in rows}


def overdue() -> list[str]:
    """The pushes that nobody tries although they are due."""
    late = (Push.state == QUEUED) & (Push.due_at < database_ms() - FORGOTTEN_MS)
    rows: Any = Push.select(Push.id).where(late).order_by(Push.due_at).limit(100).tuples()
    return [push_id for (push_id,) in rows]
