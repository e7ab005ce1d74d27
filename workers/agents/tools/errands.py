"""What the tools at boards share: who calls, what they speak of, how they are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from models.base import dumps
from models.board import Task
from models.principals import Principal
from models.projects import Project
from models.runs import Run
from workers.agents.mandate import Mandate
from workers.agents.tools.base import Bench, ToolError, bounded, text
from workers.halting import Halt

ANSWER = 12_000  # characters
EXCERPT = 400  # of a text in a list
ID: dict[str, Any] = {"maxLength": 128}
PROJECT = text("The project's id; empty for the one your work belongs to", default="", **ID)
TASK = text("The task's id", minLength=1, **ID)

Act = Callable[[Bench, dict[str, Any], Halt], str]


@dataclass(frozen=True)
class Errand:
    """One call of a tool by an agent at work on a run, in the transaction of that call."""

    mandate: Mandate
    run: Run

    @property
    def agent_id(self) -> str:
        return self.mandate.step.agent_id

    @property
    def agent(self) -> Principal:
        """The agent as a caller."""
        return self.mandate.agent(self.run)

    @property
    def owner(self) -> Principal:
        """Whom the run belongs to, as a caller."""
        return self.mandate.owner(self.run)

    def project(self, project_id: str) -> Project:
        """The project that is meant, if the agent works on it; NotFound says the same otherwise."""
        agent = self.agent
        meant = project_id or agent.project_id
        if meant is None:
            raise ToolError("say which project_id: get_my_projects lists those you work on")
        found: Project | None = Project.visible_to(agent).where(Project.id == meant).first()
        if found is None:
            raise Project.missing(meant)
        return found

    def task(self, arguments: Mapping[str, Any], name: str = "task_id") -> Task:
        """The task of that project that is meant."""
        project = self.project(arguments["project_id"])
        key = arguments[name]
        found: Task | None = Task.get_or_none((Task.id == key) & (Task.project == project.id))
        if found is None:
            raise Task.missing(key)
        return found


Command = Callable[[Errand, dict[str, Any]], Any]


def reads(command: Command) -> Act:
    """The tool that tells what a command finds."""

    def act(bench: Bench, arguments: dict[str, Any], halt: Halt) -> str:
        mandate = _mandate(bench)
        return mandate.do(lambda run: _told(command(Errand(mandate, run), arguments)))

    return act


def writes(command: Command) -> Act:
    """The tool that does what a command says, once however often the call is tried."""

    def act(bench: Bench, arguments: dict[str, Any], halt: Halt) -> str:
        mandate = _mandate(bench)
        return mandate.once(lambda run: _told(command(Errand(mandate, run), arguments)))

    return act


def begun(bench: Bench) -> Errand:
    """The call of a tool that asks outside, while nothing is held."""
    mandate = _mandate(bench)
    return Errand(mandate, mandate.do(lambda run: run))


def brief(row: Any, *names: str) -> dict[str, Any]:
    """Columns of a row, those that say nothing left out."""
    values = {name: getattr(row, name) for name in names}
    return {name: value for name, value in values.items() if value not in (None, "", [], {})}


def excerpt(words: str | None, limit: int = EXCERPT) -> str:
    """The beginning of a text, with a sign where it was cut."""
    words = (words or "").strip()
    return words if len(words) <= limit else words[: limit - 1] + "…"


def _mandate(bench: Bench) -> Mandate:
    if bench.mandate is None:
        raise ToolError("this works only for an agent at work on a run")
    return bench.mandate


def _told(found: Any) -> str:
    return bounded(found if isinstance(found, str) else dumps(found), ANSWER)
