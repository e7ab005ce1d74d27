"""Run keys: what an agent at work calls the API with. A key is worth nothing without its lease.

It names an execution and signs it together with the lease that somebody holds on it, so there is
no row to keep or to clean up: when the step ends, is cancelled or is taken over, the key is over.
"""

from __future__ import annotations

import hmac

from models.accounts import keyed_digest
from models.base import CLOCK, db
from models.config import settings
from models.principals import Principal
from models.runs import Run
from models.steps import Step

PREFIX = "djb_run_"
EXECUTION = "exec_"  # how the ids of executions begin


def drawn(step: Step) -> str | None:
    """The key of the agent at this step, for as long as its lease lasts; None without a signer."""
    secret = settings().auth_secret
    if secret is None or step.lease_id is None:
        return None
    name = step.id.removeprefix(EXECUTION)
    return f"{PREFIX}{name}_{_signature(step.id, step.lease_id, secret)}"


def resembles(token: str) -> bool:
    """Whether the text has the shape of a run key."""
    return token.startswith(PREFIX)


def caller(token: str) -> Principal | None:
    """The agent behind a key, while somebody holds the lease it was drawn for."""
    name, _, signature = token.removeprefix(PREFIX).rpartition("_")
    execution, secret = EXECUTION + name, settings().auth_secret
    row = db.now(_AT_WORK, (execution,)).fetchone() if secret else None
    if row is None or secret is None:
        return None
    lease_id, agent_id, *own = row
    known = _signature(execution, lease_id, secret)
    if not hmac.compare_digest(signature.encode(), known.encode()):
        return None
    run_id, owner_id, project_id = own
    return Run(id=run_id, owner_id=owner_id, project_id=project_id).caller(agent_id)


def _signature(execution: str, lease_id: str, secret: str) -> str:
    return keyed_digest(f"run key\n{execution}\n{lease_id}", secret)


_AT_WORK = f"""
    SELECT lease_id, steps.agent_id, runs.id, owner_id, project_id
    FROM steps JOIN runs ON runs.id = run_id
    WHERE steps.id = %s AND steps.state = 'running' AND leased_until > {CLOCK}
"""  # noqa: S608
