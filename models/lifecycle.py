"""State machines as data: arrows on the field, one conditional update that moves along them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from peewee import CharField

from models.base import Model, now_ms
from models.errors import Conflict

Arrows = Mapping[str, frozenset[str] | set[str]]


class StateField(CharField):
    """A state with its arrows; the first key of the arrows is where a row starts."""

    def __init__(self, arrows: Arrows, **kwargs: Any) -> None:
        self.arrows = {source: frozenset(targets) for source, targets in arrows.items()}
        super().__init__(max_length=16, default=next(iter(self.arrows)), **kwargs)

    def sources(self, target: str) -> list[str]:
        """The states from which `target` can be reached in one move."""
        return [source for source, targets in self.arrows.items() if target in targets]

    @property
    def final(self) -> list[str]:
        """The states without an arrow out of them."""
        return [state for state, targets in self.arrows.items() if not targets]


class Stateful(Model):
    """A row whose column `state` only ever changes through `move`."""

    state: StateField

    def move(self, target: str, *guards: Any, **changes: Any) -> Self:
        """Move to `target` if an arrow leads there and every guard holds; Conflict if not.

        One UPDATE decides; the row in memory follows it. Changes are column values or expressions.
        """
        field = type(self)._meta.fields["state"]
        changes = {"updated_at": now_ms()} | changes
        row = (
            type(self)
            .update(state=target, **changes)
            .where(type(self)._meta.primary_key == self.get_id())
            .where(field.in_(field.sources(target)), *guards)
            .returning(type(self))
            .execute()
        )
        for moved in row:
            self.__data__.update(moved.__data__)
            self._dirty.clear()  # type: ignore[attr-defined]
            return self
        raise Conflict(
            f"{type(self).label or type(self).__name__} {self.get_id()} cannot become {target}"
            f" (it was {self.state})"
        )
