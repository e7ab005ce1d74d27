"""What an agent is told when it sits down at a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from models.agents import Agent
from models.definitions import Definition, StepSpec
from models.logs import log
from models.runs import Run
from models.steps import Step
from workers.agents.handover import declared_outputs
from workers.agents.prompts import Brief
from workers.pipelines import progress, templates
from workers.pipelines.decisions import LoopView
from workers.workspaces import Conflict, Workspace


@dataclass(frozen=True)
class Look:
    """What there was to see in the workspace when the step began."""

    git_log: tuple[str, ...] = ()
    progress: str = ""
    left_out: tuple[str, ...] = ()  # branches that did not fit the others, one line each
    carried: tuple[str, ...] = ()  # what the agent brought along, by name
    skills: str = ""  # what it can learn
    inbox: tuple[str, ...] = ()  # what others have left for the agent, one text each

    @classmethod
    def at(cls, workspace: Workspace | None) -> Self:
        """The workspace as it is now; nothing where there is none."""
        if workspace is None:
            return cls()
        left_out = [_said(conflict) for conflict in workspace.conflicts]
        return cls(tuple(workspace.log()), progress.read(workspace.tree), tuple(left_out))

    def row(self) -> dict[str, Any]:
        """The look as JSON, for the ledger."""
        shown = {"git_log": list(self.git_log), "progress": self.progress, "skills": self.skills}
        told = {"left_out": list(self.left_out), "carried": list(self.carried)}
        return {**shown, **told, "inbox": list(self.inbox)}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """The look that was written as `row`."""
        told = [tuple(row.get(name, ())) for name in ("left_out", "carried", "inbox")]
        left_out, carried, inbox = told  # older rows have not all of them
        skills = row.get("skills", "")
        return cls(tuple(row["git_log"]), row["progress"], left_out, carried, skills, inbox)


class Briefing:
    """Tells an agent its step: the pipeline's words filled in with what this run knows."""

    def __init__(self, run: Run, step: Step, definition: Definition, agent: Agent) -> None:
        self.run = run
        self.step = step
        self.definition = definition
        self.agent = agent
        self.spec: StepSpec = definition.step(step.step_id)
        self.loop = LoopView(**step.loop) if step.loop else None

    def brief(self, look: Look, tools: tuple[str, ...], small: bool) -> Brief:
        """All that the opening messages are made of."""
        return Brief(
            run_id=self.run.id,
            step=self.spec,
            definition=self.definition,
            task=self.run.task,
            input=self._input(),
            files=self.agent.files,
            outputs=self.step.inputs,
            feedback=tuple(self.step.feedback),
            human_note="\n\n".join(filter(None, [self._note(), self.step.human_context])),
            loop=self.loop,
            git_log=look.git_log,
            progress=look.progress,
            left_out=look.left_out,
            rules=self.run.meta.get("deviation_rules") or "",
            visit=self.step.visit,
            retry=self.step.retry,
            execution=self.step.execution,
            tools=tools,
            environment=look.carried,
            skills=look.skills,
            inbox=look.inbox,
            small=small,
        )

    def _note(self) -> str:
        """What a person said with the request, unless the template or a machine uses it."""
        note = self.run.human_context or ""
        used = templates.context_fields(note) or "human_context" in self.spec.input
        return "" if used else note

    def _input(self) -> str:
        facts = templates.Facts(
            task=self.run.task,
            run_id=self.run.id,
            step_id=self.spec.id,
            agent_id=self.spec.agent,
            execution=self.step.execution,
            human_context=self.run.human_context or "",
            feedback=tuple(self.step.feedback),
            outputs=self.step.inputs,
            loop=self.loop,
            project={
                "project_id": self.run.project_id or "",
                "project_name": self.run.project_name or "",
            },
        )
        values = templates.variables(facts)
        if unknown := set(templates.unknown_names(self.spec.input, values)) - self._promised():
            log.warning("nothing defines these names", step=self.spec.id, names=sorted(unknown))
        return templates.render(self.spec.input, values)

    def _promised(self) -> set[str]:
        """The outputs that some step of the pipeline hands over, if perhaps not yet."""
        return {key for step in self.definition.steps for key in declared_outputs(step)}


def _said(conflict: Conflict) -> str:
    return f"{conflict.name} at commit {conflict.commit}: {', '.join(conflict.files[:20])}"
