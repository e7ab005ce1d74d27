"""What earlier runs came to, for agents that plan."""

from __future__ import annotations

from typing import Any

from models import run_history
from models.run_history import COLUMNS, FILTERS, STATUSES
from models.runs import Run
from workers.agents.tools.base import Tool, described, number, text
from workers.agents.tools.errands import ID, Errand, excerpt, reads

LIMIT, MOST = 10, 50
ABOUT = ("run_id", "pipeline_id", "project_id", "task_id", "status", "created_at", "duration_ms")
OF_STEPS = ("step_id", "agent_id", "status", "error")


def get_run_history(errand: Errand, told: dict[str, Any]) -> Any:
    """The newest runs of the agent's projects, with what their steps handed over."""
    mine = Run.visible_to(errand.agent).select(*COLUMNS)
    for name, condition in FILTERS.items():
        if told[name]:
            mine = mine.where(condition(told[name]))
    limit = told["limit"]
    found = list(mine.order_by(Run.created_at.desc(), Run.id.desc()).limit(limit + 1))
    told_of = run_history.history(found[:limit], len(found) > limit, told["include_steps"])
    return {"runs": [_short(run) for run in told_of["runs"]], "has_more": told_of["has_more"]}


def _short(run: dict[str, Any]) -> dict[str, Any]:
    named = {**run, "run_id": run["id"], "status": run["state"]}
    return {
        **{name: named[name] for name in ABOUT if named[name] is not None},
        "outputs": _cut(run["outputs"]),
        "steps": [
            {
                **{name: step[name] for name in OF_STEPS if step[name]},
                "outputs": _cut(step["outputs"]),
            }
            for step in run["steps"]
        ],
    }


def _cut(outputs: dict[str, Any]) -> dict[str, str]:
    return {key: excerpt(str(value)) for key, value in outputs.items()}


TOOLS = (
    Tool(
        described(
            "get_run_history",
            "What earlier runs of your projects came to, the newest first. Look before you have"
            " something done that may have been tried.",
            project_id=text("Only of this project", default="", **ID),
            task_id=text("Only at this task", default="", **ID),
            agent_id=text("Only with this agent", default="", **ID),
            status=text(
                "Only with this status; `terminal` are all that are over",
                enum=[*STATUSES, ""],
                default="",
            ),
            since=number("Only made since (epoch milliseconds)", 0, minimum=0, maximum=2**53),
            limit=number("At most so many", LIMIT, maximum=MOST),
            include_steps={
                "type": "boolean",
                "description": "Whether to tell of their steps as well",
                "default": True,
            },
        ),
        reads(get_run_history),
    ),
)
