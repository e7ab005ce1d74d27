"""Performing wakes that boards ask for."""

from __future__ import annotations

from tasks import moving, wakes
from workers.broker import performs


@performs(moving.call)
def call(agent_id: str, task_id: str, act: str) -> None:
    """Wake the agent, as far as the guardrails let it."""
    wakes.answer_board(agent_id, task_id, act)
