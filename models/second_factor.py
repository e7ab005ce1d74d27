"""The second factor: codes of an authenticator (RFC 6238), and those for when it is lost."""

from __future__ import annotations

import base64
import re
import secrets

import pyotp
from pyotp.utils import strings_equal

STEP_MS = 30_000
DRIFT = 1  # steps to either side that a clock may be off
CODES = 10  # recovery codes in a set
RECOVERY_BYTES = 10  # 80 bits: cannot be guessed even by who has the digests
_SPELLED = RECOVERY_BYTES * 8 // 5


def drawn_secret() -> str:
    """A new secret for an authenticator: 160 bits in base32."""
    return pyotp.random_base32()


def uri(secret: str, email: str, issuer: str) -> str:
    """What an authenticator reads from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=issuer)


def step_of(secret: str, code: str, beyond: int, now: int) -> int | None:
    """The time step whose code this is, if it is a current one (`now` in ms) and beyond `beyond`.

    Who remembers the step and asks beyond it the next time lets every code in once.
    """
    totp = pyotp.TOTP(secret)
    current = now // STEP_MS
    for step in range(current - DRIFT, current + DRIFT + 1):
        if step > beyond and strings_equal(totp.generate_otp(step), code.strip()):
            return step
    return None


def drawn_codes() -> list[str]:
    """A new set of recovery codes, each XXXX-XXXX-XXXX-XXXX in base32."""
    return [_drawn() for _ in range(CODES)]


def is_recovery_code(text: str) -> bool:
    """Whether this can be a recovery code; what is not may be an authenticator's."""
    return len(bare(text)) == _SPELLED


def bare(text: str) -> str:
    """A recovery code without what people and their editors do to it: case, dashes, blanks."""
    return re.sub(r"[^A-Z2-7]", "", text.upper())


def _drawn() -> str:
    spelled = base64.b32encode(secrets.token_bytes(RECOVERY_BYTES)).decode()
    return "-".join(spelled[place : place + 4] for place in range(0, _SPELLED, 4))
