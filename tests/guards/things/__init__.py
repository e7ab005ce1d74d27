"""One of everything that has an id, the owner's, in the project that the teammate shares.

Each noun has a module. Its `make` gives what stands in an address in place of each `<name>`;
`BODIES` (or `UPLOADS`) and `QUERIES` are for views whose documented example does not fit these
things, `OTHERS` for addresses that name another kind than usual.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from flask.testing import FlaskClient

from tests.guards.things.shipped import AGENT, SHIPPED

__all__ = ["AGENT", "BODIES", "QUERIES", "SHIPPED", "UPLOADS", "address", "make"]


def _nouns() -> list[ModuleType]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [importlib.import_module(f"{__name__}.{name}") for name in names if name != "shipped"]


def _collected(name: str) -> dict[str, Any]:
    return {key: value for noun in _nouns() for key, value in getattr(noun, name, {}).items()}


BODIES = _collected("BODIES")
QUERIES = _collected("QUERIES")
OTHERS = _collected("OTHERS")
UPLOADS = _collected("UPLOADS")


def address(rule: str, made: Mapping[str, str]) -> str:
    """The path of a rule with what was made in place of its names."""
    other = OTHERS.get(rule, {})
    return re.sub(r"<(?:\w+:)?(\w+)>", lambda found: made[other.get(found[1], found[1])], rule)


def make(owner: FlaskClient, work: Callable[..., int]) -> dict[str, str]:
    """Make everything; gives the ids by the names that addresses have for them."""
    made = dict(SHIPPED)
    for noun in _nouns():
        made |= noun.make(owner, work)
    return made
