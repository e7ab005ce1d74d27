"""Performing what is asked of projects."""

from __future__ import annotations

from dataclasses import replace

from models import repositories
from models.base import db, now_ms
from models.config import settings
from models.errors import Conflict, DomainError
from models.projects import Project
from models.repositories import Repository
from tasks import projects
from workers.broker import performs
from workers.repositories import origin_of
from workers.workspaces import WorkspaceError, origins
from workers.workspaces.origins import Seen


@performs(projects.setup_repository)
def setup_repository(project_id: str) -> None:
    """Look at the repository while no lock is held, then write down what was found.

    Whoever set another one meanwhile has asked for a look at that.
    """
    repository = Repository.of(project_id)
    if repository is None or repository.state != repositories.QUEUED:
        return
    try:
        seen = _look(project_id)
    except (WorkspaceError, DomainError) as error:
        _write(repository, repositories.FAILED, error=str(error))
        return
    found = {"branch": seen.branch, "commit": seen.commit, "branches": list(seen.branches)}
    _write(repository, repositories.CLONED, error=None, cloned_at=now_ms(), **found)


def _look(project_id: str) -> Seen:
    """What is there now; its own branch may be another one than last time."""
    origin = origin_of(project_id)
    return origins.look(settings().data, replace(origin, branch=None)) if origin else Seen()


def _write(repository: Repository, state: str, **found: object) -> None:
    with db.atomic():
        try:
            repository.move(state, {"url": repository.url}, **found)
        except Conflict:
            return
        project = Project.find(repository.project_id)
        if project is not None:
            about = {"repository": repository.url, "status": state, "error": repository.error}
            projects.tell(project, "project_repository_updated", **about)
