"""Keeping browser cookies, and lending them to agents."""

from __future__ import annotations

from typing import Any

from models import audit, netscape
from models.base import db, now_ms
from models.cookies import LARGEST, MOST, MOST_COOKIES, CookieGrant, CookieSet
from models.errors import Conflict, Malformed, NotFound, TooLarge
from models.netscape import Cookie
from models.principals import Principal


def keep(principal: Principal, name: str, file: bytes) -> CookieSet:
    """Keep a cookie file under a name."""
    cookies = read(file)
    with db.atomic():
        kept = CookieSet.select().where(CookieSet.owner_id == principal.id).count()
        if kept >= MOST:
            raise Conflict(f"You keep {MOST} cookie sets already: delete one that is not needed")
        person = principal.id if principal.is_person else None
        made = CookieSet(owner_id=principal.id, user=person, name=name)
        _fill(made, cookies)
        made.add()
        audit.record(principal, "cookies.created", made.id, domain=made.domain)
    return made


def replace(principal: Principal, set_id: str, file: bytes) -> tuple[CookieSet, int]:
    """Put other cookies into a set; gives how many agents find them from their next step on."""
    cookies = read(file)
    with db.atomic():
        kept = _held(principal, set_id)
        _fill(kept, cookies)
        kept.updated_at = now_ms()
        kept.save()
        audit.record(principal, "cookies.replaced", kept.id, cookies=len(cookies))
        agents = CookieGrant.select().where(CookieGrant.cookie_set == kept.id).count()
    return kept, agents


def delete(principal: Principal, set_id: str) -> None:
    """Forget a set, and with it which agents were lent it."""
    with db.atomic():
        kept = _held(principal, set_id)
        kept.delete_instance()
        audit.record(principal, "cookies.deleted", kept.id, domain=kept.domain)


def grant(principal: Principal, set_id: str, agent_id: str) -> CookieSet:
    """Lend a set to an agent; once is enough."""
    with db.atomic():
        kept = _held(principal, set_id)
        if CookieGrant.get_or_none(cookie_set=kept.id, agent_id=agent_id) is None:
            CookieGrant.create(cookie_set=kept.id, agent_id=agent_id, granted_by=principal.id)
            audit.record(principal, "cookies.granted", kept.id, agent=agent_id)
    return kept


def revoke(principal: Principal, set_id: str, agent_id: str) -> None:
    """Take a set from an agent: its next step begins without."""
    with db.atomic():
        kept = _held(principal, set_id)
        given = (CookieGrant.cookie_set == kept.id) & (CookieGrant.agent_id == agent_id)
        if not CookieGrant.delete().where(given).execute():
            raise NotFound(f"Agent {agent_id} was not given these cookies")
        audit.record(principal, "cookies.revoked", kept.id, agent=agent_id)


def read(file: bytes) -> list[Cookie]:
    """The cookies of an uploaded file; raises TooLarge, and Malformed for one without any."""
    if len(file) > LARGEST:
        raise TooLarge(f"A cookie file may have {LARGEST >> 20} MiB")
    try:
        text = file.decode()
    except UnicodeDecodeError:
        raise Malformed("The cookie file is not text in UTF-8") from None
    if "\0" in text:
        raise Malformed("The cookie file is not text: it has NUL characters")
    cookies = netscape.parse(text)
    if not cookies:
        raise Malformed("No cookies found: export them in Netscape's format, seven fields a line")
    if len(cookies) > MOST_COOKIES:
        raise Malformed(f"{len(cookies)} cookies are too many: a set has at most {MOST_COOKIES}")
    return cookies


def _fill(kept: CookieSet, cookies: list[Cookie]) -> None:
    facts: dict[str, Any] = {
        "domain": netscape.main_domain(cookies),
        "cookie_count": len(cookies),
        "expires_at": netscape.first_expiry(cookies),
    }
    for column, value in facts.items():
        setattr(kept, column, value)
    kept.lock_up(content=netscape.render(cookies))


def _held(principal: Principal, set_id: str) -> CookieSet:
    """The set under its row lock, if the caller may change it."""
    mine = CookieSet.visible_to(principal).where(CookieSet.id == set_id)
    kept: CookieSet | None = mine.for_update("FOR NO KEY UPDATE").first()
    if kept is None:
        raise CookieSet.missing(set_id)
    return kept
