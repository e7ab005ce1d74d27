"""The second factor: answering for it, turning it on and off, recovery codes.

Everything is decided under the user's row lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from models import audit
from models import second_factor as factor
from models.accounts import Challenge, RecoveryCode, User, keyed_digest, server_key
from models.base import db, now_ms
from models.errors import Conflict, Malformed, Unauthenticated
from models.principals import Principal
from tasks import logins
from tasks.logins import Login, Origin
from tasks.proofs import allow, knows, logged_in, note_failure

Proof = Callable[[User, str], bool]
TRIES = 5  # with one challenge
WRONG = "The code is wrong, or was used already"
OFF = "Two-factor authentication is not on"
ON = "Two-factor authentication is on already"


class Enrolment(NamedTuple):
    """What an authenticator needs to know."""

    secret: str
    email: str


def answer(challenge_id: str, code: str, origin: Origin) -> Login:
    """Open the login that waits for this code, of an authenticator or for recovery.

    Raises Unauthenticated for a wrong code or a login that waits no more, TooMany.
    """
    if factor.is_recovery_code(code):
        return recover(challenge_id, code, origin)
    return _answered(challenge_id, code, origin, _proves)


def recover(challenge_id: str, code: str, origin: Origin) -> Login:
    """Open the login that waits, with a recovery code; the same errors."""
    return _answered(challenge_id, code, origin, _burns)


def codes_left(user: User) -> int:
    """How many recovery codes are unused."""
    unused = (RecoveryCode.user == user.id) & RecoveryCode.used_at.is_null()
    return int(RecoveryCode.select().where(unused).count())


def enrol(principal: Principal) -> Enrolment:
    """Draw a secret for the caller's authenticator; it counts once `confirm` has seen a code."""
    secret = factor.drawn_secret()
    with db.atomic():
        user = logged_in(principal)
        if user.totp_enabled:
            raise Conflict(ON)
        user.lock_up(totp_secret=secret)
        user.put(totp_secret=user.totp_secret, totp_confirmed_at=None, updated_at=now_ms())
    return Enrolment(secret, user.email)


def confirm(principal: Principal, code: str) -> list[str]:
    """Turn the second factor on; gives recovery codes. The caller's other logins end."""
    with db.atomic():
        user = logged_in(principal)
        if user.totp_enabled:
            raise Conflict(ON)
        if user.totp_secret is None:
            raise Malformed("Begin with POST /v1/auth/2fa/enable")
        allow(user)
        codes = _confirmed(user, principal, code)
    if codes is None:
        raise Malformed(WRONG)
    return codes


def disable(principal: Principal, password: str | None, code: str | None) -> None:
    """Turn the second factor off for whoever proves to be its owner by password or code."""
    stored = knows(principal, password)
    with db.atomic():
        user = logged_in(principal)
        if not user.totp_enabled:
            raise Malformed(OFF)
        allow(user)
        known = stored is not None and stored == user.password_hash
        done = known or _proves(user, code or "")
        if done:
            user.put(totp_enabled=False, totp_secret=None, totp_confirmed_at=None)
            _replace_codes(user, [])
            audit.record(principal, "user.second_factor_off", user.id)
        else:
            note_failure(user)
    if not done:
        raise Unauthenticated("Neither the password nor the code is right")


def renew_codes(principal: Principal, code: str) -> list[str]:
    """Give new recovery codes in place of all old ones."""
    codes = factor.drawn_codes()
    with db.atomic():
        user = logged_in(principal)
        if not user.totp_enabled:
            raise Malformed(OFF)
        allow(user)
        done = _proves(user, code)
        if done:
            _replace_codes(user, codes)
            audit.record(principal, "user.recovery_codes_renewed", user.id)
        else:
            note_failure(user)
    if not done:
        raise Unauthenticated(WRONG)
    return codes


def _answered(challenge_id: str, code: str, origin: Origin, proves: Proof) -> Login:
    with db.atomic():
        login = _tried(challenge_id, code, origin, proves)
    if login is None:
        raise Unauthenticated(WRONG)
    return login


def _tried(challenge_id: str, code: str, origin: Origin, proves: Proof) -> Login | None:
    """None: the try counts, and the code was wrong."""
    waiting = Challenge.find(challenge_id)
    user = User.locked(waiting.user_id) if waiting else None
    challenge = Challenge.find(challenge_id)  # as it is under the lock
    if challenge is None or user is None or not user.is_active:
        raise Unauthenticated(logins.OVER)
    if not user.totp_enabled:
        raise Malformed(OFF)
    if challenge.used_at or challenge.tries >= TRIES or challenge.expires_at <= now_ms():
        raise Unauthenticated(logins.OVER)
    allow(user)
    if proves(user, code):
        challenge.put(used_at=now_ms())
        return logins.begin(user, origin)
    challenge.put(tries=challenge.tries + 1)
    if challenge.tries == TRIES:
        audit.record(None, "login.second_factor_exhausted", user.id, address=origin.address)
    return None


def _confirmed(user: User, principal: Principal, code: str) -> list[str] | None:
    if not _proves(user, code):
        note_failure(user)
        return None
    codes = factor.drawn_codes()
    user.put(totp_enabled=True, totp_confirmed_at=now_ms(), updated_at=now_ms())
    _replace_codes(user, codes)
    logins.end_all(user.id, but=principal.session_id)
    audit.record(principal, "user.second_factor_on", user.id)
    return codes


def _proves(user: User, code: str) -> bool:
    """Whether the code is the authenticator's; it works this once."""
    step = factor.step_of(user.reveal("totp_secret") or "", code, user.totp_step, now_ms())
    if step is None:
        return False
    user.put(totp_step=step)
    return True


def _burns(user: User, code: str) -> bool:
    """Whether this is an unused recovery code; it is used now."""
    text = """
        UPDATE user_recovery_codes SET used_at = %s
        WHERE user_id = %s AND code_hash = %s AND used_at IS NULL
    """
    return bool(db.now(text, (now_ms(), user.id, _digest(code))).rowcount)


def _replace_codes(user: User, codes: list[str]) -> None:
    db.later("DELETE FROM user_recovery_codes WHERE user_id = %s", (user.id,))
    for code in codes:
        RecoveryCode(user_id=user.id, code_hash=_digest(code)).add()


def _digest(code: str) -> str:
    return keyed_digest(factor.bare(code), server_key("recovery codes"))
