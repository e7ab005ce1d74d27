"""The board of a project: its columns, its tasks, and which of them wait for which."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Self

from peewee import CharField, FloatField, ForeignKeyField, IntegerField, fn

from models.base import (
    IDENTIFIER,
    JsonField,
    LongText,
    Model,
    Moment,
    db,
    dumps,
    id_field,
    now_ms,
)
from models.kanban import Board, Card, Lane, Semantics
from models.principals import Principal
from models.projects import Project
from models.runs import Run

BLOCKS, INFORMS = "blocks", "informs"  # what a dependency does: hold up, or only tell
PRIORITIES = ("P0", "P1", "P2", "P3")
REVIEWS = ("pending", "passed", "failed", "skipped")
WORKING, COMPLETED, FAILED, CANCELLED = "running", "completed", "failed", "cancelled"
STATUS = 32  # the longest status
TITLE = 512
LONGEST_BRANCH = 256
LONGEST_SHARED = LONGEST_BRANCH - 70  # of one after which executors' branches are called
MOST_TASKS = 10_000
MOST_COLUMNS = 50
MOST_DEPENDENCIES = 100  # of one task
LEAST_HOURS = 1e-6  # of a task; Postgres refuses what is too close to 0 for a REAL


class Column(Model):
    """A column of a board; it owns some of the statuses that tasks may have."""

    label = "Column"
    project_id: str

    id = id_field("col_")
    project = ForeignKeyField(Project, on_delete="CASCADE", index=False)
    name = CharField(max_length=128)
    position = IntegerField()
    wip_limit = IntegerField(null=True)
    task_statuses = JsonField(default=list)

    class Meta:
        table_name = "kanban_columns"
        indexes = ((("project", "position"), False),)

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Whoever sees the project."""
        return of_projects(cls, principal)

    @classmethod
    def of(cls, project_id: str) -> list[Self]:
        """A project's columns, in order."""
        text = "SELECT * FROM kanban_columns WHERE project_id = %s ORDER BY position, id"
        return cls.read(text, project_id)


class Task(Model):
    """A piece of work on a board. Only `tasks.moving` writes its status."""

    label = "Task"
    project_id: str
    column_id: str
    parent_task_id: str | None

    id = id_field("task_")
    project = ForeignKeyField(Project, on_delete="CASCADE", index=False)
    title = CharField(max_length=TITLE)
    description = LongText(default="")
    status = CharField(max_length=STATUS)
    priority = CharField(max_length=8, default="P2")
    assigned_agent = CharField(max_length=IDENTIFIER, null=True)
    workflow_id = CharField(max_length=IDENTIFIER, null=True)
    pipeline_id = CharField(max_length=IDENTIFIER, null=True)
    run_id = CharField(max_length=IDENTIFIER, null=True)  # of the run that works on it now
    parent_task = ForeignKeyField("self", null=True, on_delete="SET NULL", index=True)
    tags = JsonField(default=list)
    estimated_hours = FloatField(null=True)
    column = ForeignKeyField(Column, index=False)
    column_position = IntegerField(default=0)
    metadata = JsonField(default=dict)
    work_type = CharField(max_length=32, null=True)
    completed_stages = JsonField(default=list)
    spec_review_status = CharField(max_length=16, null=True)
    quality_review_status = CharField(max_length=16, null=True)
    spec_review_notes = LongText(null=True)
    quality_review_notes = LongText(null=True)
    held_from = CharField(max_length=STATUS, null=True)  # its status before a failure blocked it
    created_at = Moment(default=now_ms)
    updated_at = Moment(default=now_ms)
    completed_at = Moment(null=True)

    class Meta:
        table_name = "tasks"
        indexes = (
            (("project", "status", "priority", "column_position", "id"), False),
            (("project", "column_position", "id"), False),
            (("column", "column_position"), False),
            (("assigned_agent",), False),
        )

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Whoever sees the project."""
        return of_projects(cls, principal)

    @classmethod
    def locked(cls, project_id: str, task_id: str) -> Self:
        """The task under its row lock; NotFound when the project has no such task."""
        text = "SELECT * FROM tasks WHERE id = %s AND project_id = %s FOR NO KEY UPDATE"
        for row in cls.read(text, task_id, project_id):
            return row
        raise cls.missing(task_id)

    @property
    def branch(self) -> str | None:
        """The git branch it is worked on, once there is one; people may have written it."""
        named = self.metadata.get("git_branch")
        return named if isinstance(named, str) and 0 < len(named) <= LONGEST_BRANCH else None

    def name_branch(self, name: str | None) -> None:
        """Have it worked on in this branch from now on."""
        self.put(metadata={**self.metadata, "git_branch": name}, updated_at=now_ms())

    @property
    def notes(self) -> list[Any]:
        """What was said with its moves; people may have written something else there."""
        kept = self.metadata.get("transition_notes")
        return kept if isinstance(kept, list) else []


class Dependency(Model):
    """One task that must be done before another may begin (or, `informs`, that it draws on)."""

    label = "Dependency"
    project_id: str
    from_task_id: str
    to_task_id: str

    id = id_field("dep_")
    project = ForeignKeyField(Project, on_delete="CASCADE", index=True)
    from_task = ForeignKeyField(Task, on_delete="CASCADE", index=False)
    to_task = ForeignKeyField(Task, on_delete="CASCADE", index=True)
    type = CharField(max_length=16, default=BLOCKS)

    class Meta:
        table_name = "dependency_edges"
        indexes = ((("from_task", "to_task"), True),)

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Whoever sees the project."""
        return of_projects(cls, principal)


class TaskRun(Model):
    """One execution of a task by a run."""

    label = "Execution"
    task_id: str
    run_id: str

    id = id_field("tr_")
    task = ForeignKeyField(Task, on_delete="CASCADE", index=False)
    run = ForeignKeyField(Run, on_delete="CASCADE", index=False, unique=True)
    pipeline_id = CharField(max_length=IDENTIFIER)
    status = CharField(max_length=16, default=WORKING)
    from_status = CharField(max_length=STATUS)  # where the task comes back to when it is cancelled
    started_at = Moment(default=now_ms)
    completed_at = Moment(null=True)

    class Meta:
        table_name = "task_runs"
        indexes = ((("task", "started_at"), False),)

    @classmethod
    def of_run(cls, run_id: str) -> Self | None:
        """The execution that a run is, if it is one."""
        return next(iter(cls.read("SELECT * FROM task_runs WHERE run_id = %s", run_id)), None)

    def latest(self) -> bool:
        """Whether the task has not been executed again since."""
        text = "SELECT id FROM task_runs WHERE task_id = %s ORDER BY started_at DESC, id LIMIT 1"
        return bool(db.now(text, (self.task_id,)).fetchone() == (self.id,))


def kept_hours(told: float | None) -> float | None:
    """The hours of a task as its column takes them: those that nobody could measure are 0."""
    return 0.0 if told is not None and told < LEAST_HOURS else told


def of_projects(model: Any, principal: Principal) -> Any:
    """Rows of `model` that belong to a project somebody may see; the model has `project`."""
    query = model.select()
    if principal.is_admin:
        return query
    return query.where(model.project.in_(Project.visible_to(principal).select(Project.id)))


def layout(project: Project, columns: Sequence[Column] | None = None) -> Board:
    """A project's board as the rules see it."""
    columns = Column.of(project.id) if columns is None else columns
    lanes = [Lane(each.id, tuple(each.task_statuses), each.wip_limit) for each in columns]
    return Board(tuple(lanes), Semantics.of(project.status_semantics))


def cards(task_ids: Iterable[str]) -> list[Card]:
    """These tasks, all that wait for them, and whatever decides over those.

    The last are only neighbours: what decides over them in turn is not among the answer.
    """
    rows = db.now(_NEAR, {"ids": list(task_ids)})
    return [
        Card(task_id, status, parent, tuple(blockers) if waits else (), held_from, run is not None)
        for task_id, status, parent, held_from, run, waits, blockers in rows
    ]


_NEAR = """
    WITH RECURSIVE touched (id) AS (
        SELECT unnest(%(ids)s::text[])
        UNION
        SELECT next.id FROM touched CROSS JOIN LATERAL (
            SELECT to_task_id AS id FROM dependency_edges
            WHERE from_task_id = touched.id AND type = 'blocks'
            UNION ALL
            SELECT parent_task_id FROM tasks
            WHERE id = touched.id AND parent_task_id IS NOT NULL
        ) AS next
    ), near (id) AS (
        SELECT id FROM touched
        UNION
        SELECT from_task_id FROM dependency_edges JOIN touched ON to_task_id = touched.id
        WHERE type = 'blocks'
        UNION
        SELECT tasks.id FROM tasks JOIN touched ON parent_task_id = touched.id
    )
    SELECT tasks.id, status, parent_task_id, held_from, run_id, touched.id IS NOT NULL,
        ARRAY(SELECT from_task_id FROM dependency_edges
              WHERE to_task_id = tasks.id AND type = 'blocks')
    FROM near JOIN tasks ON tasks.id = near.id LEFT JOIN touched ON touched.id = near.id
"""


def unfinished_blockers(task_id: str, done: Sequence[str]) -> list[str]:
    """The titles of what a task, or a parent of it, still waits for."""
    rows = db.now(_UNFINISHED, {"task": task_id, "done": list(done)})
    return [title for (title,) in rows]


_UNFINISHED = """
    WITH RECURSIVE up (id) AS (
        SELECT %(task)s::text
        UNION
        SELECT parent_task_id FROM tasks JOIN up ON up.id = tasks.id
        WHERE parent_task_id IS NOT NULL
    )
    SELECT tasks.title FROM up
    JOIN dependency_edges ON to_task_id = up.id AND type = 'blocks'
    JOIN tasks ON tasks.id = from_task_id
    WHERE NOT tasks.status = ANY(%(done)s::text[]) ORDER BY tasks.title LIMIT 10
"""


def unfinished_children(task_id: str, done: Sequence[str]) -> int:
    """How many subtasks of a task are not done."""
    text = """
        SELECT count(*) FROM tasks
        WHERE parent_task_id = %s AND NOT status = ANY(%s::text[])
    """
    return int(db.now(text, (task_id, list(done))).fetchone()[0])


def is_container(task_id: str) -> bool:
    """Whether a task has subtasks."""
    text = "SELECT EXISTS (SELECT FROM tasks WHERE parent_task_id = %s)"
    return bool(db.now(text, (task_id,)).fetchone()[0])


def crowd(column_id: str) -> int:
    """How many tasks a column holds."""
    text = "SELECT count(*) FROM tasks WHERE column_id = %s"
    return int(db.now(text, (column_id,)).fetchone()[0])


def end_of(column_id: str) -> int:
    """The position after the last task of a column."""
    text = "SELECT coalesce(max(column_position), -1) + 1 FROM tasks WHERE column_id = %s"
    return int(db.now(text, (column_id,)).fetchone()[0])


def ended_runs(task_id: str) -> list[str]:
    """The runs that are done with a task, the newest first."""
    text = """
        SELECT run_id FROM task_runs WHERE task_id = %s AND status <> 'running'
        ORDER BY started_at DESC LIMIT 100
    """
    return [run_id for (run_id,) in db.now(text, (task_id,))]


def free_branches(task_ids: Collection[str], owner_id: str | None) -> dict[tuple[str, str], str]:
    """The branches that these tasks have, by project and task, where somebody may work on them.

    Not of those that a run is at work on: until it ends their branch is for nobody else to push to.
    """
    free = Task.id.in_(list(task_ids)) & Task.run_id.is_null() & Project.open_to(owner_id)
    rows = Task.select(Task.id, Task.project, Task.metadata).join(Project).where(free)
    named = {(task.project_id, task.id): task.branch for task in rows}
    return {key: name for key, name in named.items() if name and len(name) <= LONGEST_SHARED}


def left_by(task_id: str) -> list[dict[str, str]]:
    """The files that the last runs of a task and of what it depends on left, its own last."""
    rows = db.now(_LEFT, {"task": task_id})
    return [
        {"branch": branch, "commit": commit, "snapshot": snapshot}
        for branch, commit, snapshot in rows
    ]


_LEFT = """
    SELECT task_branch, workspace_commit, workspace_snapshot FROM (
        SELECT DISTINCT ON (task_runs.task_id) task_runs.task_id,
            runs.task_branch, workspace_commit, workspace_snapshot
        FROM task_runs JOIN runs ON runs.id = run_id
        WHERE workspace_commit IS NOT NULL AND workspace_snapshot IS NOT NULL
            AND runs.task_branch IS NOT NULL
            AND (task_runs.task_id = %(task)s OR task_runs.status = 'completed'
                AND task_runs.task_id IN (
                    SELECT from_task_id FROM dependency_edges
                    WHERE to_task_id = %(task)s AND type = 'blocks'))
        ORDER BY task_runs.task_id, task_runs.started_at DESC
    ) AS last ORDER BY task_id = %(task)s, task_id LIMIT 20
"""


def about(project: Project, facts: Mapping[str, Any]) -> Task | None:
    """The task that came of something on GitHub with these facts, unless it is over."""
    means = Semantics.of(project.status_semantics)
    text = """
        SELECT * FROM tasks WHERE project_id = %s AND metadata @> %s::jsonb
            AND NOT status = ANY(%s::text[]) ORDER BY created_at, id LIMIT 1
    """
    over = [*means.terminal_done, *means.terminal_fail]
    return next(iter(Task.read(text, project.id, dumps({"github": facts}), over)), None)


def tallies(project_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """How many tasks of each project have each status, by the project's id."""
    columns = (Task.project, Task.status)
    rows: Any = (
        Task.select(*columns, fn.count(Task.id))
        .where(Task.project.in_(list(project_ids)))
        .group_by(*columns)
        .tuples()
    )
    found: dict[str, dict[str, int]] = {each: {} for each in project_ids}
    for project_id, status, number in rows:
        found[project_id][status] = number
    return found
