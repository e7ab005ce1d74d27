"""Projects: what a team of people and agents works on together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Self

from peewee import BooleanField, CharField, CompositeKey, ForeignKeyField, fn

from models.accounts import User
from models.base import IDENTIFIER, JsonField, LongText, Model, Moment, db, id_field, now_ms
from models.lifecycle import StateField, Stateful
from models.principals import ANONYMOUS, SERVICE, Principal

ACTIVE, PAUSED, COMPLETED, ARCHIVED = "active", "paused", "completed", "archived"
STATES = (ACTIVE, PAUSED, COMPLETED, ARCHIVED)
OWNER, MEMBER = "owner", "member"  # roles of people
LEAD, REVIEWER = "lead", "reviewer"  # roles of agents, beside members
AGENT_ROLES = (LEAD, MEMBER, REVIEWER)
MOST_MEMBERS = 500


class Project(Stateful):
    """A project; who made it owns it, and is its first member."""

    label = "Project"

    id = id_field("proj_")
    name = CharField(max_length=256)
    description = LongText(default="")
    state = StateField({state: {*STATES} - {state} for state in STATES})
    repository = LongText(null=True)
    default_pipeline_id = CharField(max_length=IDENTIFIER, null=True)
    slack_channel_id = CharField(max_length=64, null=True)
    slack_notify_user_id = CharField(max_length=64, null=True)
    template_id = CharField(max_length=IDENTIFIER, null=True)
    status_semantics = JsonField(null=True)
    onboarding_context = LongText(null=True)
    vision = LongText(null=True)
    workspace_type = CharField(max_length=32, null=True)
    owner_id = CharField(max_length=IDENTIFIER)
    key_user_id = CharField(max_length=IDENTIFIER, null=True)  # whose provider keys its runs use
    created_at = Moment(default=now_ms)
    updated_at = Moment(default=now_ms)
    completed_at = Moment(null=True)

    class Meta:
        table_name = "projects"
        indexes = (
            (("updated_at", "id"), False),
            (("state", "updated_at", "id"), False),
            (("owner_id", "updated_at", "id"), False),
        )

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Its owner, its members, admins, and agents where they are assigned.

        An agent at work on a run sees the run's project, and none that the run's owner does not.
        """
        query = cls.select()
        if principal.is_admin:
            return query
        if principal.agent_id is not None:
            return query.where(cls._worked_on_by_agent(principal))
        return query.where((cls.owner_id == principal.id) | cls.id.in_(joined_by(principal)))

    @classmethod
    def _worked_on_by_agent(cls, agent: Principal) -> Any:
        crew = ProjectAgent.select(ProjectAgent.project)
        assigned = cls.id.in_(crew.where(ProjectAgent.agent_id == agent.agent_id))
        if agent.run_id is None:
            return assigned
        return (assigned | (cls.id == agent.project_id)) & cls.open_to(agent.owner_id)

    @classmethod
    def open_to(cls, owner_id: str | None) -> Any:
        """Whether the owner of a run may see a project, as a condition."""
        if owner_id in (ANONYMOUS.id, SERVICE.id):
            return cls.id.is_null(False)
        joined = ProjectMember.select(ProjectMember.project).where(ProjectMember.user == owner_id)
        admin = User.select().where((User.id == owner_id) & User.is_admin)
        return (cls.owner_id == owner_id) | cls.id.in_(joined) | fn.EXISTS(admin)

    @classmethod
    def locked(cls, project_id: str) -> Self:
        """The project under the lock of whoever changes its board; NotFound when it is gone.

        A run is locked before its project, never after.
        """
        text = "SELECT * FROM projects WHERE id = %s FOR NO KEY UPDATE"
        for row in cls.read(text, project_id):
            return row
        raise cls.missing(project_id)

    def worked_on_by(self, owner_id: str | None) -> bool:
        """Whether the owner of a run may see this project: as a member, or as an admin."""
        model = type(self)
        return bool(model.select().where(model.id == self.id, model.open_to(owner_id)).exists())

    def run_by(self, principal: Principal) -> bool:
        """Whether somebody may decide over the project itself and who belongs to it."""
        return principal.is_admin or self.owner_id == principal.id


class ProjectMember(Model):
    """A person who works on a project with others, and sees what belongs to it."""

    project_id: str
    user_id: str

    project = ForeignKeyField(Project, on_delete="CASCADE", index=False)
    user = ForeignKeyField(User, on_delete="CASCADE", index=True)
    role = CharField(max_length=16, default=MEMBER)
    added_by = CharField(max_length=IDENTIFIER, null=True)
    added_at = Moment(default=now_ms)

    class Meta:
        table_name = "project_members"
        primary_key = CompositeKey("project", "user")


class ProjectAgent(Model):
    """An agent that works on a project."""

    project_id: str

    project = ForeignKeyField(Project, on_delete="CASCADE", index=False)
    agent_id = CharField(max_length=IDENTIFIER, index=True)
    role = CharField(max_length=16, default=MEMBER)
    assigned_by = CharField(max_length=IDENTIFIER, null=True)
    assigned_at = Moment(default=now_ms)

    class Meta:
        table_name = "project_agents"
        primary_key = CompositeKey("project", "agent_id")


class ProjectWorkflow(Model):
    """Which pipeline works on tasks of a kind; one of a project's may be its default."""

    label = "Workflow"
    project_id: str

    id = id_field("wf_")
    project = ForeignKeyField(Project, on_delete="CASCADE", index=True)
    name = CharField(max_length=256)
    pipeline_id = CharField(max_length=IDENTIFIER)
    is_default = BooleanField(default=False)
    task_filter = JsonField(default=dict)
    trigger = CharField(max_length=32, default="manual")

    class Meta:
        table_name = "project_workflows"


def joined_by(principal: Principal) -> Any:
    """A query of the ids of the projects that a person works on."""
    return ProjectMember.select(ProjectMember.project).where(ProjectMember.user == principal.id)


def worked_on(owner_id: str | None, project_ids: Collection[str]) -> str | None:
    """The one project that is named, if the owner of a run works on it.

    Its people and agents see what belongs to it. The words of anybody else are no more than a
    label, as are the names of several.
    """
    project = Project.find(*set(project_ids)) if len(set(project_ids)) == 1 else None
    return project.id if project is not None and project.worked_on_by(owner_id) else None


def shared(model: Any, principal: Principal) -> Any:
    """Rows of `model` that somebody may see: their own, those of their projects, all for admins.

    The model has `owner_id` and `project_id`.
    """
    query = model.select()
    if principal.is_admin:
        return query
    together = model.project_id.in_(joined_by(principal))
    return query.where((model.owner_id == principal.id) | together)


def of_runs(model: Any, runs: Any, principal: Principal) -> Any:
    """Rows of `model` that somebody may see: their own, those of `runs`, all for admins.

    The model has `owner_id` and `run_id`; `runs` is the model of runs.
    """
    query = model.select()
    if principal.is_admin:
        return query
    together = runs.select(runs.id).where(runs.project_id.in_(joined_by(principal)))
    return query.where((model.owner_id == principal.id) | model.run_id.in_(together))


def memberships(people: Sequence[str]) -> dict[str, frozenset[str]]:
    """The projects that each of these people works on; who works on none is left out."""
    text = """
        SELECT user_id, array_agg(project_id::text) FROM project_members
        WHERE user_id = ANY(%s) GROUP BY user_id
    """
    return {who: frozenset(joined) for who, joined in db.now(text, (list(people),)).fetchall()}


def outsiders(model: Any, looks: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Of pairs (id of a row, id of who looks at it) those where the row is not theirs to see.

    What `shared` says, of many who are no admins at once; rows that are gone are not told of.
    """
    text = f"""
        SELECT looks.id, looks.who FROM unnest(%s::text[], %s::text[]) AS looks (id, who)
        JOIN {model._meta.table_name} AS seen ON seen.id = looks.id
        WHERE seen.owner_id IS DISTINCT FROM looks.who AND NOT EXISTS (
            SELECT FROM project_members AS members
            WHERE members.project_id = seen.project_id AND members.user_id = looks.who)
    """  # noqa: S608
    rows, people = [row for row, _ in looks], [who for _, who in looks]
    return {(row, who) for row, who in db.now(text, (rows, people)).fetchall()}
