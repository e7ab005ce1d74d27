"""Workflow policies: which stages a kind of work goes through, and which moves that allows.

Plain values in, plain values out. A policy says for each kind of work which stages are required,
optional or skipped; statuses of a board belong to stages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.kanban import Board

STAGES = ("spec", "design", "ux", "implement", "review", "test", "deploy")
REQUIRED, OPTIONAL, SKIP = "required", "optional", "skip"
DISPOSITIONS = (REQUIRED, OPTIONAL, SKIP)
WORK_TYPES = (
    *("feature", "bugfix", "test", "refactor", "docs", "infrastructure", "design"),
    "custom",  # whatever else, and what nobody has named
)
DEPLOY = "deploy"
DONE = "done"
STAGE_OF: Mapping[str, str] = {
    "backlog": "spec",
    "planning": "design",
    "planned": "design",
    "ux": "ux",
    "ready": "implement",
    "in_progress": "implement",
    "review": "review",
    "test": "test",
    "done": DEPLOY,
}
ROLE_OF: Mapping[str, str] = {
    "spec": "po",
    "design": "sa",
    "ux": "ux",
    "implement": "swe",
    "review": "sa",
    "test": "qa",
    DEPLOY: "sre",
}
AGENT_OF: Mapping[str, str] = {  # who is woken for a role
    "po": "eric",
    "sa": "finn",
    "ux": "shigeo",
    "swe": "yukihiro",
    "qa": "chieko",
    "sre": "stas",
}
WOKEN: Mapping[str, str] = {"planned": "shigeo", "test": "chieko", "failed": "yukihiro"}
LETTERS = {"r": REQUIRED, "o": OPTIONAL, "s": SKIP}

Rules = Sequence[Mapping[str, Any]]
Policy = Mapping[str, Rules]  # by kind of work


def spelled(letters: Mapping[str, str]) -> dict[str, list[dict[str, str]]]:
    """A policy out of one letter per stage (r, o, s) for each kind of work."""
    return {
        kind: [_rule(*each) for each in zip(STAGES, word, strict=True)]
        for kind, word in letters.items()
    }


def _rule(stage: str, letter: str) -> dict[str, str]:
    rule = {"stage": stage, "disposition": LETTERS[letter]}
    return rule if letter == "s" else {**rule, "agent_role": ROLE_OF[stage]}


@dataclass(frozen=True)
class Standing:
    """Where a task stands in its workflow."""

    status: str
    work_type: str | None
    completed: tuple[str, ...] = ()

    @property
    def stage(self) -> str | None:
        return STAGE_OF.get(self.status)


def rules_for(policy: Policy, work_type: str | None) -> Rules:
    """The rules for a kind of work; those of custom work where it has none."""
    return policy.get(work_type or "custom") or policy.get("custom") or []


def of(rules: Rules, disposition: str) -> list[str]:
    """The stages that have a disposition, in order."""
    return [rule["stage"] for rule in rules if rule["disposition"] == disposition]


def left_out(board: Board, rules: Rules, standing: Standing) -> list[str]:
    """The required stages that still lie before the end of the work.

    One that no column of the board serves cannot be asked for.
    """
    past = {*standing.completed, standing.stage, DEPLOY}
    served = {STAGE_OF.get(status) for status in board.statuses}
    return [stage for stage in of(rules, REQUIRED) if stage not in past and stage in served]


def next_required(rules: Rules, standing: Standing) -> str | None:
    """The first required stage that is neither completed nor the current one."""
    past = {*standing.completed, standing.stage}
    return next((stage for stage in of(rules, REQUIRED) if stage not in past), None)


def next_valid(board: Board, rules: Rules, standing: Standing) -> list[str]:
    """The stages that may come next, and `done` once no required one is left out."""
    order = [rule["stage"] for rule in rules]
    here = _place(standing.stage)
    later = order[order.index(standing.stage) + 1 :] if standing.stage in order else None
    if later is None:  # it stands in no stage, or in one that these rules do not name
        later = [stage for stage in order if _place(stage) > here]
    skipped = {*of(rules, SKIP), *standing.completed}
    valid = [stage for stage in later if stage not in skipped]
    return valid if left_out(board, rules, standing) else [*valid, DONE]


def next_statuses(board: Board, rules: Rules, standing: Standing) -> list[str]:
    """The statuses of this board in which the valid next stages are worked on."""
    valid = next_valid(board, rules, standing)
    ends = board.means.terminal_done if DONE in valid else ()
    return [
        status
        for status in board.statuses
        if status in ends or (STAGE_OF.get(status) in valid and not board.over(status))
    ]


def refusal(board: Board, rules: Rules, standing: Standing, target: str) -> str | None:
    """Why a task may not move to `target`; None when it may.

    Whatever was required must have been done before the end; a skipped stage is not entered,
    except by going back to it. Going back, stopping and failing are always possible.
    """
    if board.done(target):
        missing = left_out(board, rules, standing)
        return f"required stages are left out: {', '.join(missing)}" if missing else None
    stage = STAGE_OF.get(target)
    if stage is None or board.over(target) or _place(stage) < _place(standing.stage):
        return None
    if stage in of(rules, SKIP) and target not in board.means.initial:
        return f"the stage {stage} is skipped for {standing.work_type or 'custom'} work"
    return None


def completed_by(board: Board, standing: Standing, target: str) -> list[str]:
    """The completed stages after a move: going on completes a stage, going back undoes later ones.

    To begin with a stage undoes it as well; the end completes the stage it was reached from.
    """
    here, there = standing.stage, STAGE_OF.get(target)
    if there is None and not board.done(target):
        return list(standing.completed)
    far = len(STAGES) if there is None or board.done(target) else _place(there)
    kept = [stage for stage in standing.completed if _place(stage) < far]
    onward = here is not None and _place(here) < far and here not in kept
    return [*kept, here] if onward and here is not None else kept


def agent_for(rules: Rules, target: str, work_type: str | None) -> str | None:
    """The agent to wake when a task comes to this status."""
    stage = STAGE_OF.get(target)
    if rules and work_type and stage:
        roles = [rule.get("agent_role") for rule in rules if rule["stage"] == stage]
        if roles and roles[0]:
            return AGENT_OF.get(roles[0])
    return WOKEN.get(target)


def _place(stage: str | None) -> int:
    return STAGES.index(stage) if stage in STAGES else -1
