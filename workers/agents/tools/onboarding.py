"""What agents of an onboarding do: write down what they hear, show it, hand over."""

from __future__ import annotations

from typing import Any

from models.onboarding import DONE, OnboardingSession
from tasks import facts, onboarding
from workers.agents.tools.base import Tool, ToolError, described, text
from workers.agents.tools.errands import Errand, writes


def update_onboarding_context(errand: Errand, told: dict[str, Any]) -> Any:
    """What is known from now on, by its keys."""
    known = facts.learn(_session(errand), told["context"])
    return f"Written down. Known by now: {', '.join(sorted(known))}."


def update_onboarding_landing_page(errand: Errand, told: dict[str, Any]) -> Any:
    """The number of the page that is shown now."""
    caption = told["caption"] or None
    page = facts.show(_session(errand), errand.agent_id, told["html"], caption)
    return f"Version {page['version']} is shown."


def onboarding_handoff(errand: Errand, told: dict[str, Any]) -> Any:
    """Who has the word now, or the project that has come of it."""
    form = {
        "next_agent_id": told["next_agent"],
        "from_agent_id": errand.agent_id,
        "summary": told["summary"],
        "context_update": told["context_update"],
        "conversation_highlights": told["conversation_highlights"],
    }
    became, session = onboarding.hand_over(errand.owner, _session(errand), form)
    if became == "finalized":
        return f"The project {session.project_id} has been made. Say nothing more."
    return f"{session.current_agent_id} has the word now. Say nothing more."


def _session(errand: Errand) -> OnboardingSession:
    session = OnboardingSession.of_chat(errand.run.id)
    if session is None:
        raise ToolError("you have handed over already: the person talks to somebody else now")
    return session


CONTEXT = {
    "type": "object",
    "description": "What you have found out, by key; what was known under a key is replaced",
    "maxProperties": 50,
}
TOOLS = (
    Tool(
        described(
            "update_onboarding_context",
            "Write down what the person has told you; the others know it, too, from then on.",
            context=CONTEXT,
        ),
        writes(update_onboarding_context),
        effect="rows",
    ),
    Tool(
        described(
            "update_onboarding_landing_page",
            "Show the person a page about their project, in place of the one there was.",
            html=text("A whole HTML page of at most 512 KiB", minLength=1, maxLength=524_288),
            caption=text("What has changed, in a few words", default="", maxLength=500),
        ),
        writes(update_onboarding_landing_page),
        effect="rows",
    ),
    Tool(
        described(
            "onboarding_handoff",
            f"Hand over to an agent that comes later, or finish with {DONE}: then the project is"
            " made and planned. It is the last thing you do.",
            next_agent=text(f"The id of that agent, or {DONE}", minLength=1, maxLength=128),
            summary=text(
                "What you have agreed on, in a few sentences", default="", maxLength=8_000
            ),
            context_update={**CONTEXT, "default": {}},
            conversation_highlights={
                "type": "array",
                "description": "Two to four things worth remembering",
                "items": {"type": "string", "maxLength": 1_000},
                "maxItems": 10,
                "default": [],
            },
        ),
        writes(onboarding_handoff),
        effect="rows",
    ),
)
