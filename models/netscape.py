"""Cookie files as browsers' extensions and curl write them: one cookie a line, seven fields.

The format is Netscape's: domain, whether subdomains count, path, whether only over TLS, expiry in
epoch seconds (0 for the session), name, value, apart by tabs. `#HttpOnly_` before the domain is
part of the cookie (curl's `Cookie file format`), any other `#` begins a comment.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

HEADER = "# Netscape HTTP Cookie File"  # readers ask for it
HTTP_ONLY = "#HttpOnly_"
FIELDS = 7
FLAGS = {"TRUE": True, "FALSE": False}
WORDS = {flag: word for word, flag in FLAGS.items()}
LONGEST_DOMAIN = 255  # with the dot that may come first
EXPIRY = re.compile(r"(-?[0-9]{1,15})(?:\.[0-9]{1,9})?")
UNFIT = re.compile(r"[\x00-\x1f\x7f]")
BREAK = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class Cookie:
    """One cookie; `expires` is epoch seconds, 0 when it ends with the browser."""

    domain: str
    subdomains: bool
    path: str
    secure: bool
    expires: int
    name: str
    value: str
    http_only: bool = False


def parse(text: str) -> list[Cookie]:
    """The cookies of a file, in order; lines that are none are passed over."""
    read = (_cookie(line) for line in BREAK.split(text.removeprefix("\ufeff")))
    return [cookie for cookie in read if cookie is not None]


def render(cookies: Sequence[Cookie]) -> str:
    """A file that every reader of the format takes."""
    return "\n".join([HEADER, *map(_line, cookies), ""])


def main_domain(cookies: Sequence[Cookie]) -> str:
    """The domain that most of the cookies are for, without the dot that may come first."""
    counted = Counter(cookie.domain.removeprefix(".") for cookie in cookies)
    return counted.most_common(1)[0][0]


def first_expiry(cookies: Sequence[Cookie]) -> int | None:
    """When the first of the cookies ends that outlast the browser (epoch seconds)."""
    return min((cookie.expires for cookie in cookies if cookie.expires > 0), default=None)


def _cookie(line: str) -> Cookie | None:
    http_only = line.startswith(HTTP_ONLY)
    line = line.removeprefix(HTTP_ONLY)
    fields = line.split("\t")
    if len(fields) != FIELDS or line.startswith("#") or any(map(UNFIT.search, fields)):
        return None
    domain, subdomains, path, secure, expires, name, value = fields
    ends = EXPIRY.fullmatch(expires)
    if {subdomains.upper(), secure.upper()} - set(FLAGS) or ends is None:
        return None
    if not domain.strip(".") or len(domain) > LONGEST_DOMAIN or not name:
        return None
    flags = FLAGS[subdomains.upper()], FLAGS[secure.upper()]
    return Cookie(domain, flags[0], path, flags[1], int(ends[1]), name, value, http_only)


def _line(cookie: Cookie) -> str:
    flags = WORDS[cookie.subdomains], WORDS[cookie.secure]
    fields = (cookie.domain, flags[0], cookie.path, flags[1], str(cookie.expires))
    return (HTTP_ONLY if cookie.http_only else "") + "\t".join((*fields, cookie.name, cookie.value))
