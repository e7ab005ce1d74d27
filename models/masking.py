"""What may be shown of a secret, and taking secrets out of texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

HIDDEN = "***"
LEAST = 8  # characters; of a shorter secret nothing is shown
SPOKEN = 20  # characters; a longer key may show its prefix and how it ends


def mask(secret: str) -> str:
    """A secret's beginning and end, at most a third and a quarter of it."""
    if len(secret) < LEAST:
        return HIDDEN
    head, tail = min(8, len(secret) // 3), min(4, len(secret) // 4)
    return f"{secret[:head]}...{secret[-tail:]}"


def mask_key(key: str) -> str:
    """A provider's key as `sk-...abcd`: never more than a third of it."""
    if len(key) < SPOKEN:
        return HIDDEN
    prefix = key[: key.find("-") + 1] if 0 < key.find("-") < LEAST else ""
    shown = prefix[: len(key) // 3 - 4]
    return f"{shown}...{key[-4:]}"


def lines(secret: str) -> Iterator[str]:
    """The secret itself and, of one with several lines, each that tells something of it."""
    yield secret
    for line in secret.splitlines():
        if len(line) >= SPOKEN // 2 and not line.startswith("-----"):
            yield line


def beginning(text: str, secrets: Iterable[str]) -> str:
    """The longest end of the text with which one of these secrets may begin."""
    longest = 0
    for secret in secrets:
        for length in range(min(len(secret) - 1, len(text)), longest, -1):
            if text.endswith(secret[:length]):
                longest = length
                break
    return text[len(text) - longest :]


def without(text: str, secrets: Iterable[str]) -> str:
    """The text with every one of these secrets blotted out, the longest first."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= 4:
            text = text.replace(secret, HIDDEN)
    return text
