"""Projects' repositories on GitHub, and who is on their way to install the App there."""

from __future__ import annotations

from typing import Any, Self

from peewee import BigIntegerField, BooleanField, CharField, ForeignKeyField

from models.accounts import DIGEST
from models.base import IDENTIFIER, Model, Moment, id_field, now_ms
from models.principals import Principal
from models.projects import Project

LONGEST_NAME = 384  # of a repository, with its owner
STATE_MS = 600_000  # how long somebody may take to install the App


class OfProject:
    """A row that belongs to a project."""

    project_id: str
    project: Any
    select: Any

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Who sees the project."""
        return cls.select().where(cls.project.in_(Project.visible_to(principal).select(Project.id)))


class Connection(OfProject, Model):
    """A project's repository on GitHub; while the installation is suspended it is not active."""

    label = "GitHub connection of project"

    id = id_field("ghc_")
    project = ForeignKeyField(Project, on_delete="CASCADE", unique=True)
    installation_id = BigIntegerField(index=True)
    repo_owner = CharField(max_length=128)
    repo_name = CharField(max_length=256)
    repo_full_name = CharField(max_length=LONGEST_NAME)
    repo_key = CharField(max_length=LONGEST_NAME, index=True)  # the full name in lower case
    default_branch = CharField(max_length=256)
    is_active = BooleanField(default=True)
    connected_by = CharField(max_length=IDENTIFIER, null=True)
    connected_at = Moment(default=now_ms)
    last_push_at = Moment(null=True)

    class Meta:
        table_name = "project_github"

    @classmethod
    def of(cls, project_id: str) -> Self | None:
        """The project's connection, if it has one that works."""
        rows = cls.read("SELECT * FROM project_github WHERE project_id = %s", project_id)
        return next((row for row in rows if row.is_active), None)

    @classmethod
    def to(cls, full_name: str) -> list[Self]:
        """The working connections to a repository, whatever the case its name is written in."""
        text = "SELECT * FROM project_github WHERE repo_key = %s AND is_active ORDER BY id"
        return cls.read(text, full_name.lower())

    @classmethod
    def open_to(cls, agent_id: str) -> list[Self]:
        """The working connections of the projects that an agent works on or is assigned to."""
        text = """
            SELECT * FROM project_github WHERE is_active AND project_id IN (
                SELECT project_id FROM project_github_agents WHERE agent_id = %s
                UNION SELECT project_id FROM project_agents WHERE agent_id = %s)
            ORDER BY connected_at, id
        """
        return cls.read(text, agent_id, agent_id)


class InstallState(Model):
    """Somebody is on their way to install the App for a project; only a digest of the state."""

    project_id: str

    state_hash = CharField(max_length=DIGEST, primary_key=True)
    project = ForeignKeyField(Project, on_delete="CASCADE", index=True)
    user_id = CharField(max_length=IDENTIFIER)
    expires_at = Moment(index=True)

    class Meta:
        table_name = "github_installation_states"

    @classmethod
    def taken(cls, state_hash: str) -> Self | None:
        """The state, which is good for this once; None when it is over, used or made up."""
        text = """
            DELETE FROM github_installation_states WHERE state_hash = %s AND expires_at > %s
            RETURNING *
        """
        return next(iter(cls.read(text, state_hash, now_ms())), None)


def connect(connection: Connection) -> None:
    """Write a project's connection, in place of the one it may have."""
    fields = [field for field in Connection._meta.sorted_fields if field.name != "id"]
    query = Connection.insert(connection.__data__)
    query.on_conflict(conflict_target=[Connection.project], preserve=fields).execute()


def forget_expired() -> int:
    """Delete the states of people who did not come back in time."""
    old = InstallState.expires_at < now_ms()
    return int(InstallState.delete().where(old).execute())
