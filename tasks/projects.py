"""Changing projects: what they are, by which rules they go, where their code lives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models import audit, events, kanban, projects, repositories
from models.accounts import User
from models.base import db, now_ms
from models.board import Column
from models.errors import Conflict, Forbidden, Invalid, Malformed, NotFound
from models.pipelines import Pipeline
from models.policies import WorkflowPolicy
from models.principals import Principal
from models.projects import Project, ProjectMember
from models.repositories import Repository
from models.runs import ACTIVE, Run
from models.templates import DEFAULT, ProjectTemplate
from tasks import runs, task
from tasks.moving import Desk

WORKTREE = "git_worktree"


@task(queue="agents")
def setup_repository(project_id: str) -> None:
    """Look whether a project's repository can be had, and clone or refresh it on this machine."""


def create(principal: Principal, form: Mapping[str, Any]) -> Project:
    """Make a project with the board of a template, with columns of one's own, or the usual one."""
    template = _template(form)
    columns, semantics = _columns(form, template)
    repository = repositories.normalised(form.get("repository"))
    usual = WORKTREE if repository else None
    project = Project(
        id=Project.id.default(),
        name=form["name"],
        description=form.get("description") or "",
        repository=repository,
        owner_id=principal.id,
        template_id=template.id if template and form.get("template_id") else None,
        status_semantics=semantics,
        default_pipeline_id=template.default_pipeline_id if template else None,
        workspace_type=(template and template.workspace_type) or usual,
    )
    with db.atomic():
        project.add()
        _lay_out(project, columns)
        if template is not None and template.stage_rules:
            WorkflowPolicy(project=project.id, stage_rules=template.stage_rules).add()
        if principal.is_person:
            ProjectMember(project=project.id, user=principal.id, role=projects.OWNER).add()
        tell(project, "project_created", name=project.name)
        if repository is not None:
            _ask_for(project, repository)
    return project


def change(project: Project, form: Mapping[str, Any]) -> Project:
    """Change what a project is; another repository is looked at anew."""
    columns = {name: value for name, value in form.items() if name not in {"state", "repository"}}
    pipeline_id = columns.get("default_pipeline_id")
    if pipeline_id and not Pipeline.select().where(Pipeline.id == pipeline_id).exists():
        raise Pipeline.missing(pipeline_id)
    with db.atomic():
        project = Project.locked(project.id)
        if columns:
            project.put(**columns, updated_at=now_ms())
        if form.get("state") not in (None, project.state):
            ended = now_ms() if form["state"] == projects.COMPLETED else None
            project.move(form["state"], completed_at=ended)
        repository = repositories.normalised(form.get("repository"))
        if repository is not None and repository != project.repository:
            _take(project, repository)
        tell(project, "project_updated")
    return project


def archive(project: Project) -> None:
    """Put a project away; doing it again changes nothing."""
    with db.atomic():
        project = Project.locked(project.id)
        if project.state != projects.ARCHIVED:
            project.move(projects.ARCHIVED)


def delete(principal: Principal, project: Project) -> None:
    """Delete a project with its board; what its runs did stays, those still at work are cancelled.

    A run is locked before its project, so they end first, each in a transaction of its own.
    """
    at_work: Any = Run.select(Run.id).where(Run.project_id == project.id, Run.state.in_(ACTIVE))
    for (run_id,) in list(at_work.tuples()):
        _cancel(run_id)
    with db.atomic():
        project = Project.locked(project.id)
        if at_work.exists():
            raise Conflict(f"A run of {project.id} has just begun; try again")
        tell(project, "project_deleted")
        Project.delete().where(Project.id == project.id).execute()
        audit.record(principal, "project.delete", project.id, name=project.name)


def set_vision(project: Project, vision: str) -> None:
    """Write down what a project is to become; agents read it when they plan."""
    with db.atomic():
        project.put(vision=vision or None, updated_at=now_ms())
        tell(project, "project_vision_updated")


def set_slack(project: Project, form: Mapping[str, Any]) -> None:
    """Say where a project is talked about, and to whom."""
    with db.atomic():
        project.put(**form, updated_at=now_ms())
        tell(project, "project_updated")


def set_key_user(principal: Principal, project: Project, user_id: str | None) -> None:
    """Say whose keys pay for a project's runs: one's own, nobody's, or for admins anybody's."""
    if user_id not in (None, project.key_user_id, principal.id) and not principal.is_admin:
        raise Forbidden("You may only offer your own keys")
    if user_id is not None and not User.select().where(User.id == user_id).exists():
        raise User.missing(user_id)
    with db.atomic():
        project.put(key_user_id=user_id, updated_at=now_ms())
        audit.record(principal, "project.key_user", project.id, user=user_id)


def set_policy(project: Project, rules: Mapping[str, Any]) -> WorkflowPolicy:
    """Say which stages each kind of work goes through."""
    with db.atomic():
        desk = Desk(project.id)
        kept: WorkflowPolicy | None = WorkflowPolicy.get_or_none(
            WorkflowPolicy.project == project.id
        )
        policy = kept or WorkflowPolicy(id=WorkflowPolicy.id.default(), project=project.id)
        policy.stage_rules = dict(rules)
        if kept is None:
            policy.add()
        else:
            policy.put(stage_rules=dict(rules), updated_at=now_ms())
        desk.tell("workflow_policy_updated")
    return policy


def set_repository(project: Project, told: str | None) -> Project:
    """Say where a project's code lives, and have it looked at; None forgets it."""
    url = repositories.normalised(told, "repoUrl")
    with db.atomic():
        project = Project.locked(project.id)
        if url is None:
            project.put(repository=None, updated_at=now_ms())
            Repository.delete().where(Repository.project == project.id).execute()
        else:
            _take(project, url)
        tell(project, "project_repository_updated", repository=url)
    return project


def refresh_repository(project: Project) -> Repository:
    """Have a project's repository looked at once more; Malformed when it has none."""
    if project.repository is None:
        raise Malformed("This project has no repository")
    with db.atomic():
        project = Project.locked(project.id)
        return _ask_for(project, str(project.repository))


def ask_again() -> None:
    """Have looked at what was to be looked at, where the request got lost on its way."""
    with db.atomic():
        for project_id in repositories.overdue():
            setup_repository.enqueue_once(project_id, project_id)


def tell(project: Project, kind: str, **data: Any) -> None:
    """Tell the streams what happened to a project."""
    about = {"projectId": project.id, **data}
    events.announce(project.owner_id, (kind, about), project_id=project.id)


def _template(form: Mapping[str, Any]) -> ProjectTemplate | None:
    """The template that is asked for, or the usual one where no columns are given."""
    asked = form.get("template_id")
    if not asked and form.get("columns"):
        return None
    found = ProjectTemplate.named(asked or DEFAULT)
    if found is None:
        raise NotFound(f"Template {asked or DEFAULT} not found")
    return found


def _columns(
    form: Mapping[str, Any], template: ProjectTemplate | None
) -> tuple[Sequence[Mapping[str, Any]], Mapping[str, Any] | None]:
    if template is not None:
        return template.columns, template.status_semantics
    columns = sorted(form["columns"], key=lambda column: column["position"])
    given = form.get("status_semantics")
    refuse_double([column["statuses"] for column in columns])
    refuse_unknown(given or {}, [column["statuses"] for column in columns])
    return columns, given or kanban.derived([column["statuses"] for column in columns])


def refuse_double(columns: Sequence[Sequence[str]]) -> None:
    """Raise Invalid when two columns have the same status: a task's place would be doubtful."""
    statuses = [status for column in columns for status in column]
    double = sorted({status for status in statuses if statuses.count(status) > 1})
    if double:
        raise _invalid("columns", f"Two columns have the status {double[0]}.")


def refuse_unknown(semantics: Mapping[str, Any], columns: Sequence[Sequence[str]]) -> None:
    """Raise Invalid when something is said about a status that no column has."""
    known = {status for column in columns for status in column}
    asked = {status for each in semantics.values() for status in each or ()}
    if asked - known:
        raise _invalid("statusSemantics", f"No column has the status {min(asked - known)}.")


def _invalid(name: str, message: str) -> Invalid:
    fault = {"loc": ["body", name], "msg": message, "type": "invalid"}
    return Invalid(f"{name}: {message}", errors=[fault])


def _lay_out(project: Project, columns: Sequence[Mapping[str, Any]]) -> None:
    for column in columns:
        Column(
            id=Column.id.default(),
            project=project.id,
            name=column["name"],
            position=column["position"],
            wip_limit=column.get("wip_limit"),
            task_statuses=list(column["statuses"]),
        ).add()


def _take(project: Project, url: str) -> None:
    workspace = project.workspace_type or WORKTREE
    project.put(repository=url, workspace_type=workspace, updated_at=now_ms())
    _ask_for(project, url)


def _ask_for(project: Project, url: str) -> Repository:
    """Remember that the repository is to be looked at, and ask for that."""
    kept = Repository.of(project.id)
    if kept is None:
        kept = Repository(id=Repository.id.default(), project=project.id, url=url).add()
    elif kept.url != url:
        anew: dict[str, Any] = {"url": url, "branch": None, "commit": None, "cloned_at": None}
        kept.move(repositories.QUEUED, error=None, branches=[], **anew)
    else:
        kept.move(repositories.QUEUED, error=None)
    setup_repository.enqueue(project.id)
    return kept


def _cancel(run_id: str) -> None:
    try:
        runs.cancel(run_id)
    except (Conflict, NotFound):  # it has ended, or was deleted, meanwhile
        return
