"""What each agent of an onboarding is told, and what a project is told of it in the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.agents import Agent
from models.base import dumps
from models.onboarding import OnboardingSession, phase_of

MOST_KNOWN = 12_000  # characters of what is known that an agent is told
MOST_SECTION = 20_000  # of a section of the vision

BEGINNING = "(The person has just come. Greet them in a sentence and ask your first question.)"
AGAIN = "(The person is back. Say in a sentence where you were, and go on with your next question.)"

PARTS: Mapping[str, str] = {
    "intake": "find out what the project is called, what it is to achieve, where its code lives or"
    " is to live, and whether it is open source",
    "strategy": "find out who it is for, what it is worth to them, how it earns money if it is to,"
    " and by when what has to be there",
    "product": "find out what the first version does and what it leaves out, and walk with the"
    " person through the one or two things its users do most",
    "architecture": "settle the technology, the parts and where they run; then write down in"
    " `architecture_summary` what was decided, and in `planning_context` all that somebody who cuts"
    " the work into tasks has to know",
}

TALK = """You help a person turn an idea into a project, as one of several agents who talk to them \
one after another. Your part: {part}.
Ask one question at a time, the most important first, and never one whose answer is known already. \
Propose an answer where the person hesitates. Four to six questions are enough.
Write down each answer at once with update_onboarding_context: that is what the others will know, \
and what the project is made of. Keys that are in use: project_name, goal, repo, open_source, \
revenue_goal, target_customer, monetization, timeline, v1_scope, tech_preferences, summary, \
planning_context, architecture_summary.
When something worth seeing has changed, show it with update_onboarding_landing_page: one whole \
HTML page that tells what the project will be, without scripts and without anything from elsewhere.
When your part is done, or the person wants to go on, say goodbye in a sentence and call \
onboarding_handoff with next_agent {later}. After that you say nothing more."""

SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Goal", ("goal",)),
    ("Target Customer", ("target_customer",)),
    ("V1 Scope", ("v1_scope",)),
    ("Technical Architecture", ("architecture_summary", "tech_preferences")),
    ("Business Model", ("monetization", "revenue_goal")),
    ("Timeline", ("timeline",)),
)


def taking_over(former: str) -> str:
    """What an agent hears first that takes over from another one."""
    return (
        f"({former} has handed over to you. Say in a sentence what you have understood so far and"
        " ask your first question.)"
    )


def supplement(session: OnboardingSession, agent: Agent) -> str:
    """What an agent is told beside who it is."""
    part = PARTS.get(phase_of(agent.id), PARTS["product"])
    place = session.chain.index(agent.id)
    later = " or ".join([*session.chain[place + 1 :], "done"])
    return TALK.format(part=part, later=later) + _known(session.context)


def vision(known: Mapping[str, Any], repository: str | None) -> str:
    """What is known as the vision of a project, in Markdown; a section for each thing known."""
    told = [(title, _text(known, keys)) for title, keys in SECTIONS]
    told += [("Repository", repository or ""), ("Summary", _text(known, ("summary",)))]
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in told if text)


def _known(context: Mapping[str, Any]) -> str:
    facts = {key: value for key, value in context.items() if key != "conversation_highlights"}
    if not facts:
        return ""
    lines = [f"- {key}: {_said(value)}" for key, value in sorted(facts.items())]
    lines += [f"- remembered: {_said(each)}" for each in _highlights(context)]
    return "\n\nWhat is known so far:\n" + "\n".join(lines)[:MOST_KNOWN]


def _highlights(context: Mapping[str, Any]) -> list[Any]:
    told = context.get("conversation_highlights")
    return told if isinstance(told, list) else []


def _text(known: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    said = [_said(known[key]) for key in keys if known.get(key) not in (None, "", [], {})]
    return "\n\n".join(said)[:MOST_SECTION]


def _said(value: Any) -> str:
    return value.strip() if isinstance(value, str) else dumps(value)
