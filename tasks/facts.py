"""What is known in an onboarding, and what is shown of it; both are told to whoever listens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models import events, onboarding
from models.base import db
from models.errors import Conflict, Invalid, Malformed, TooLarge
from models.onboarding import OnboardingSession

MOST_TOLD = 64 << 10  # characters of a page that an event carries; a longer one is to be fetched


def learn(session: OnboardingSession, more: Mapping[str, Any]) -> dict[str, Any]:
    """Add to what is known; TooLarge when that is more than there is room for."""
    with db.atomic():
        known = onboarding.merge(session.id, more)
        if known is None:
            refuse_ended(OnboardingSession.locked(session.id))
            raise TooLarge(f"What is known may have {onboarding.MOST_CONTEXT >> 10} KiB")
        tell(session, "context_updated", context=known)
    return known


def show(
    session: OnboardingSession, agent_id: str, html: str, caption: str | None
) -> dict[str, Any]:
    """Put up a landing page in place of the one there was."""
    if len(html.encode()) > onboarding.MOST_HTML:
        fault = {"loc": ["body", "html"], "msg": "Longer than 512 KiB.", "type": "invalid"}
        raise Invalid("html: Longer than 512 KiB.", errors=[fault])
    with db.atomic():
        page = onboarding.show(session.id, agent_id, html, caption)
        if page is None:
            refuse_ended(OnboardingSession.locked(session.id))
            raise Conflict(f"Onboarding session {session.id} is changing; try again")
        small = len(html) <= MOST_TOLD
        tell(session, "landing_page_updated", landingPageState=page if small else _unread(page))
    return page


def refuse_ended(session: OnboardingSession) -> None:
    """Raise Malformed where a session does not go on."""
    if session.state != onboarding.ACTIVE:
        raise Malformed(f"Onboarding session {session.id} is not active (it is {session.state})")


def tell(session: OnboardingSession, what: str, **more: Any) -> None:
    """Tell the streams of whoever it belongs to."""
    about = {"sessionId": session.id, **more}
    events.announce(session.owner_id, (f"onboarding_{what}", about))


def _unread(page: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in page.items() if name != "html"}
