"""Asking about budgets: set and raise them, and what happens when one is reached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from models import accounts, budgets, runs
from models.accounts import User
from models.base import db
from models.budgets import Budget
from models.errors import Conflict
from models.events import Event
from models.principals import Principal
from models.runs import Run
from models.spending import NOTHING, Reached
from tasks import task
from tasks.steps import interrupt

REACHED = "budget_reached"  # the event and the reason for the pause


@task(queue="short")
def pass_on(run_id: str) -> None:
    """Tell the run whose agent waits for an executor that this one is paused, and why."""


def raise_run(principal: Principal, run_id: str, limits: Mapping[str, Any]) -> Budget:
    """Set or take away (None) limits of a run, or of a session by its run; gives its budget.

    A run at work that has spent all of it already is stopped at once, amid whatever it does.
    """
    with db.atomic():
        theirs = Run.limited_by(principal).where(Run.id == run_id).exists()
        run = Run.locked(run_id) if theirs else None
        if run is None:
            raise Run.missing(run_id)
        budgets.limit(run, limits)
        budget = budgets.of_run(run) or Budget(run=run.id)
        if budget.spent and run.state == runs.RUNNING and run.kind not in runs.OPEN_ENDED:
            pause(run, Reached(budget, NOTHING, None, None))
        return budget


def raise_swarm(swarm_id: str, limits: Mapping[str, Any]) -> Budget:
    """Set or take away (None) limits of all executors of a swarm together; gives the budget."""
    with db.atomic():
        budgets.limit_swarm(swarm_id, limits)
        return budgets.of_swarms(swarm_id).get(swarm_id) or Budget()


def raise_day(user_id: str, limits: Mapping[str, Any]) -> Budget:
    """Set or take away (None) limits of what a user may spend today, UTC; gives the budget.

    Conflict where the settings give users no daily budget: then nobody counts. NotFound without
    such a user.
    """
    if not budgets.has_days():
        raise Conflict(
            "Users have no daily budget here: it takes USER_DAILY_BUDGET_USD or"
            " USER_DAILY_BUDGET_TOKENS in the settings"
        )
    if not accounts.is_open(user_id):
        raise User.missing(user_id)
    with db.atomic():
        budgets.limit_day(user_id, limits)
        return budgets.of_day(user_id)


def pause(run: Run, reached: Reached) -> None:
    """Pause a run whose next call does not fit a budget; the caller holds the run's lock.

    The step under way goes back to the queue unasked and goes on from there when it is resumed.
    """
    if run.state == runs.PAUSED:
        run.put(pause_reason=REACHED)
    else:
        run.move(runs.PAUSED, pause_reason=REACHED)
    interrupt(run, "Budget reached")
    run.record((REACHED, {"stepId": run.current_step or "", **told(run, reached)}))
    run.announce_state()
    if run.kind == runs.EXECUTOR and run.parent_id is not None:
        pass_on.enqueue_twice(run.id)


def tell_planner(run_id: str) -> None:
    """Do what `pass_on` asks for, once; nothing when the executor goes on already."""
    with db.atomic():
        executor = Run.find(run_id)
        if executor is None or executor.state != runs.PAUSED or executor.parent_id is None:
            return
        planner = Run.locked(executor.parent_id)
        happened = next(iter(_happened(run_id)), None)
        if planner is None or not planner.active or happened is None:
            return
        paused = {"pausedRunId": run_id, "pausedSeq": happened.seq}
        if not any(paused.items() <= known.data.items() for known in _happened(planner.id)):
            about = {"stepId": planner.current_step or "", **paused}
            planner.record((REACHED, {**happened.data, **about}))


def told(run: Run, reached: Reached) -> dict[str, Any]:
    """What the event says: whose limit, how much of it is spent, and how the run goes on."""
    budget = reached.budget
    shared = budget.scope == "share"
    return {
        "scope": budget.scope,
        "of": budget.holder,
        "limitUsd": _number(budget.limit_usd),
        "limitTokens": budget.limit_tokens,
        **({"limitCalls": budget.limit_calls, "spentCalls": budget.spent_calls} if shared else {}),
        "spentUsd": _number(budget.spent_usd),
        "spentTokens": budget.spent_tokens,
        "needsUsd": _number(reached.needs.usd),
        "needsTokens": reached.needs.tokens,
        "raise": _remedy(run, reached),
    }


def _happened(run_id: str) -> Iterable[Event]:
    """Each time a budget was reached that the run has heard of, the latest first."""
    told = Event.select().where((Event.run_id == run_id) & (Event.type == REACHED))
    found: Iterable[Event] = told.order_by(Event.seq.desc())
    return found


def _remedy(run: Run, reached: Reached) -> str:
    budget, fails = reached.budget, run.kind in runs.OPEN_ENDED
    go_on = "try again" if fails else f"resume run {run.id}"
    if budget.scope == "share":
        return _remedy_of_share(reached, go_on)
    if budget.limit_usd is not None and reached.needs.usd is None:
        return (
            "Nobody knows what this model costs, so no limit in dollars can be kept: take it away"
            " (budget_usd: null), limit budget_tokens instead, or use another model."
        )
    if budget.run_id == run.id and run.kind in (runs.PULSE, runs.WAKE):
        return (
            "RUN_BUDGET_USD and RUN_BUDGET_TOKENS in the server's settings say what one session of"
            " an agent may spend unasked."
        )
    if budget.run_id:
        return (
            f"Set a higher budget_usd or budget_tokens with PUT /v1/runs/{budget.run_id}/budget,"
            f" then {go_on}."
        )
    if budget.scope == "swarm":
        return (
            f"Set a higher budget_usd or budget_tokens with PUT /v1/swarm/{budget.holder}/budget,"
            " then resume those of its runs that are paused."
        )
    return (
        f"{go_on[0].upper()}{go_on[1:]} on the next day (UTC), or after an admin has set a higher"
        " budget_usd or budget_tokens for today with PUT /v1/usage/budget."
    )


def _remedy_of_share(reached: Reached, go_on: str) -> str:
    provider = reached.budget.provider
    why = f"This is all that may be used today (UTC) of the server's key of {provider}"
    otherwise = f"{go_on} tomorrow"
    if reached.budget.limit_usd is not None and reached.needs.usd is None:
        why = f"Nobody knows what this model of {provider} costs, and its shared key has a limit"
        otherwise = "use another model"
    own = f"set a key of your own with PUT /v1/settings/user-providers/{provider}"
    return f"{why}: {otherwise}, or {own} or ask an admin for more and {go_on} then."


def _number(usd: Any) -> float | None:
    return None if usd is None else float(usd)
