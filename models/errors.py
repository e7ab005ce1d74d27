"""What can go wrong, in the words of the domain. The docstring is the message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class DomainError(Exception):
    """Something is wrong."""

    def __init__(self, message: str | None = None, **data: Any) -> None:
        super().__init__(message or self.__doc__)
        self.data = data


class NotFound(DomainError):
    """There is no such thing, or it is not yours to see."""


class Unauthenticated(DomainError):
    """Not authenticated"""


class Forbidden(DomainError):
    """You may not do this."""


class Conflict(DomainError):
    """The thing is not in a state that allows this."""


class Invalid(DomainError):
    """The request is not valid."""

    def __init__(
        self, message: str | None = None, *, errors: Sequence[dict[str, Any]] = (), **data: Any
    ) -> None:
        super().__init__(message, **data)
        self.errors = list(errors)


class Malformed(DomainError):
    """The request makes no sense as it stands."""


class TooLarge(DomainError):
    """The body is larger than allowed."""


class Unrecognised(DomainError):
    """The file is of no kind that is taken."""


class TooMany(DomainError):
    """Too many requests; try again later."""

    def __init__(self, message: str | None = None, *, after: int = 1, **data: Any) -> None:
        super().__init__(message, **data)
        self.after = after


class Unavailable(DomainError):
    """A part this needs is not available right now; try again."""

    after = 2


class Unsupported(DomainError):
    """This server does not do that."""


class Unreachable(DomainError):
    """Something outside this server that this needs did not answer as it should."""
