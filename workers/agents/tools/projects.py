"""Projects and their boards, as agents see them."""

from __future__ import annotations

from typing import Any

from models import board, readiness
from models.board import Column
from models.kanban import MEANINGS
from models.projects import LEAD, Project, ProjectAgent
from models.stages import WORK_TYPES
from tasks import crew, projects
from workers.agents.tools.base import Tool, described, number, text
from workers.agents.tools.errands import PROJECT, Errand, brief, excerpt, reads, writes

MOST_PROJECTS = 50
MOST_READY = 50
READY = 10


def create_project(errand: Errand, told: dict[str, Any]) -> Any:
    """The new project; it belongs to the run's owner, and the agent leads it."""
    form = {**told, "template_id": told["template"] or None}
    project = projects.create(errand.owner, form)
    crew.assign(errand.agent, project, errand.agent_id, LEAD)
    return {"project_id": project.id, "name": project.name, "columns": _columns(project)}


def get_my_projects(errand: Errand, told: dict[str, Any]) -> Any:
    """The projects the agent works on, those that changed last first."""
    mine = Project.visible_to(errand.agent).order_by(Project.updated_at.desc(), Project.id)
    found = list(mine.limit(MOST_PROJECTS))
    if not found:
        return "You work on no project: a person can assign you, or create_project makes one."
    ids = [project.id for project in found]
    counts = board.tallies(ids)
    mine = (ProjectAgent.project.in_(ids)) & (ProjectAgent.agent_id == errand.agent_id)
    roles = {row.project_id: row.role for row in ProjectAgent.select().where(mine)}
    return [
        {
            **brief(project, "id", "name", "state", "repository"),
            "description": excerpt(project.description),
            "your_role": roles.get(project.id, "none"),
            "tasks": counts[project.id],
        }
        for project in found
    ]


def get_ready_tasks(errand: Errand, told: dict[str, Any]) -> Any:
    """What the agent could begin, the most urgent first, and what is under way."""
    project = errand.project(told["project_id"])
    layout = board.layout(project)
    form = {
        "agent_id": errand.agent_id,
        "statuses": told["statuses"] or None,
        "work_types": told["work_types"] or None,
        "limit": told["limit"],
    }
    found = readiness.ready(project.id, layout, form)
    begun = readiness.in_progress(project.id, layout.means.in_progress, told["limit"])
    return {
        "ready": [_ready(row) for row in found],
        "in_progress": [{**row, "blocks": len(row["blocks"])} for row in begun],
    }


def get_board_columns(errand: Errand, told: dict[str, Any]) -> Any:
    """The columns of a board with their statuses, and what these mean."""
    project = errand.project(told["project_id"])
    means = board.layout(project).means
    meanings = {name: list(getattr(means, name)) for name in MEANINGS if getattr(means, name)}
    return {"columns": _columns(project), "meaning_of_statuses": meanings}


def get_project_vision(errand: Errand, told: dict[str, Any]) -> Any:
    """What the project is to become, in its people's words."""
    project = errand.project(told["project_id"])
    return project.vision or f"{project.name} has no vision yet. {project.description}".strip()


def _columns(project: Project) -> list[dict[str, Any]]:
    counts = board.tallies([project.id])[project.id]
    return [
        {
            **brief(column, "id", "name", "wip_limit"),
            "statuses": column.task_statuses,
            "tasks": sum(counts.get(status, 0) for status in column.task_statuses),
        }
        for column in Column.of(project.id)
    ]


def _ready(row: dict[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in row.items() if value not in (None, "", [])}
    waiting = len(row["blocking_tasks"])
    return {**shown, "description": excerpt(row["description"]), "blocking_tasks": waiting}


def _words(description: str, among: tuple[str, ...] = ()) -> dict[str, Any]:
    item = {"type": "string", "maxLength": 64, **({"enum": list(among)} if among else {})}
    return {
        "type": "array",
        "items": item,
        "maxItems": 50,
        "description": description,
        "default": [],
    }


TOOLS = (
    Tool(
        described(
            "create_project",
            "Make a project with a board of its own, which you lead. Look with get_my_projects"
            " whether there is one already.",
            name=text("A name of a few words", minLength=1, maxLength=256),
            description=text("What it is about", default="", maxLength=20_000),
            repository=text("Where its code lives: an https address", default="", maxLength=1_000),
            template=text(
                "The board: software-dev, kanban-simple, content-pipeline or research",
                default="software-dev",
                maxLength=128,
            ),
        ),
        writes(create_project),
        effect="rows",
    ),
    Tool(
        described(
            "get_my_projects",
            "The projects you work on, with how many tasks stand in which status.",
        ),
        reads(get_my_projects),
    ),
    Tool(
        described(
            "get_ready_tasks",
            "The tasks that you could begin now, the most urgent first: they wait for nothing, and"
            " are yours or nobody's. `blocking_tasks` is how many tasks wait for each.",
            project_id=PROJECT,
            statuses=_words("Only these statuses; by default all in which work is given out"),
            work_types=_words("Only these kinds of work", WORK_TYPES),
            limit=number("At most so many", READY, maximum=MOST_READY),
        ),
        reads(get_ready_tasks),
    ),
    Tool(
        described(
            "get_board_columns",
            "The columns of a project's board in their order, the statuses of each, its limit, and"
            " what the statuses mean.",
            project_id=PROJECT,
        ),
        reads(get_board_columns),
    ),
    Tool(
        described(
            "get_project_vision",
            "What the project is to become. Read it before you plan or decide.",
            project_id=PROJECT,
        ),
        reads(get_project_vision),
    ),
)
