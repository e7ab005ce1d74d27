"""Doing what an event entails, in the one transaction that also says that it was done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from models import github_app
from models.agents import Agent
from models.assignments import Assignment, Trigger
from models.config import settings
from models.errors import NotFound
from models.github import Connection
from models.pull_requests import OPEN, PullRequest
from models.webhooks import WebhookEvent
from tasks import assignments, github, pull_requests
from tasks.pull_requests import pull_request_merged
from workers.github import orders, routing
from workers.github.facts import Facts, items, text


@dataclass(frozen=True)
class Concerned:
    """The projects whose repository an event is about, and their agents assigned to its kind."""

    connections: Sequence[Connection]
    assigned: Sequence[Assignment]


def concerned(event: WebhookEvent, facts: Facts) -> Concerned:
    """Whom an event may concern: an installation speaks of the repositories it covers alone."""
    connections = [
        connection
        for connection in (Connection.to(facts.repository) if facts.repository else [])
        if event.installation_id in (None, connection.installation_id)
    ]
    projects = [connection.project_id for connection in connections]
    return Concerned(connections, Assignment.listening(projects, facts.kind) if projects else [])


def completed(facts: Facts, whom: Concerned) -> Facts:
    """The facts with what only GitHub can tell, where deciding needs it."""
    if not routing.needs_paths(whom.assigned, facts) or facts.number is None:
        return facts
    installation_id = whom.connections[0].installation_id
    try:
        paths = github_app.changed_files(installation_id, facts.repository, facts.number)
    except NotFound:  # it is gone meanwhile
        paths = []
    return replace(facts, paths=tuple(paths))


def act(event: WebhookEvent, payload: Mapping[str, Any], facts: Facts, whom: Concerned) -> None:
    """Do everything that an event entails; the caller holds its lock."""
    entailed = ACTS.get(facts.change)
    if entailed and event.installation_id is not None:
        entailed(event.installation_id, event, payload)
    for connection in whom.connections:
        if facts.kind == "push":
            github.pushed(connection, event.received_at)
        if facts.change == ("pull_request", "closed") and facts.merged:
            pull_request_merged(connection.project_id, **merged(event, payload, facts))
        if facts.change == ("pull_request", "opened") and facts.own_branch:
            pull_requests.noted(connection.project_id, facts.branch, opened(facts))
        mine = [row for row in whom.assigned if row.project_id == connection.project_id]
        _call(connection, event, facts, mine)


def merged(event: WebhookEvent, payload: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """A merged pull request as the board is told of it; times are in ms."""
    told = text(payload, "pull_request", "merged_at")
    return {
        "number": facts.number,
        "url": facts.url,
        "branch": facts.branch if facts.own_branch else "",  # forks name theirs as they like
        "merged_at": milliseconds(told) if told else event.received_at,
    }


def opened(facts: Facts) -> PullRequest:
    """A pull request that somebody has opened, perhaps one of us who died before saying so."""
    return PullRequest(
        number=facts.number or 0,
        url=facts.url,
        title=facts.title,
        state=OPEN,
        draft=facts.draft,
        branch=facts.branch,
        base="",
        commit="",
    )


def milliseconds(moment: str) -> int:
    """One of GitHub's dates as we keep them."""
    return int(datetime.fromisoformat(moment).timestamp() * 1000)


def _call(
    connection: Connection, event: WebhookEvent, facts: Facts, assigned: Sequence[Assignment]
) -> None:
    known = [agent.id for agent in Agent.select(Agent.id)] if facts.said else []
    called = routing.calls(facts, assigned, known, f"{settings().github.app_name}[bot]")
    if facts.wants_review and not any(call.agent_id == routing.REVIEWER for call in called):
        mine = {each.project_id for each in Connection.open_to(routing.REVIEWER)}
        if connection.project_id in mine:
            called.append(routing.Call(routing.REVIEWER, None))
    for call in called:
        trigger = Trigger(
            project=connection.project_id,
            agent_id=call.agent_id,
            assignment_id=call.assignment_id,
            event_id=event.id,
            event_type=event.event_type,
            event_action=event.action,
            subject=facts.subject,
        )
        reviews = facts.wants_review and call.agent_id == routing.REVIEWER
        prompt = orders.order(facts, event.id, reviews)
        if call.at_once and call.routine_id is not None:
            assignments.wake(trigger, call.routine_id, prompt)
        elif call.at_once:
            assignments.call(trigger, _task(facts), prompt)
        else:
            about = {"subject": facts.subject, "told": orders.told(facts), "url": facts.url}
            assignments.note(trigger, prompt, about)


def _task(facts: Facts) -> str:
    """What the work is called, in a branch's name."""
    return f"{facts.noun.lower().replace(' ', '-')}-{facts.number}" if facts.number else facts.kind


def _uninstalled(installation_id: int, event: WebhookEvent, payload: Mapping[str, Any]) -> None:
    github.uninstalled(installation_id, event.received_at)


def _suspended(installation_id: int, event: WebhookEvent, payload: Mapping[str, Any]) -> None:
    github.suspended(installation_id, event.action == "suspend")


def _withdrawn(installation_id: int, event: WebhookEvent, payload: Mapping[str, Any]) -> None:
    removed = [text(each, "full_name") for each in items(payload, "repositories_removed")]
    github.withdrawn(installation_id, removed, event.received_at)


def _renamed(installation_id: int, event: WebhookEvent, payload: Mapping[str, Any]) -> None:
    full_name = event.repository_full_name or ""
    former = text(payload, "changes", "repository", "name", "from")
    github.renamed(installation_id, f"{full_name.partition('/')[0]}/{former}", full_name)


Act = Callable[[int, WebhookEvent, Mapping[str, Any]], None]
ACTS: Mapping[tuple[str, str | None], Act] = {
    ("installation", "deleted"): _uninstalled,
    ("installation", "suspend"): _suspended,
    ("installation", "unsuspend"): _suspended,
    ("installation_repositories", "removed"): _withdrawn,
    ("repository", "renamed"): _renamed,
}
