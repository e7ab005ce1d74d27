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
        model = type(self)
        mine = model._meta.primary_key == self.get_id()
        moved = model._moved(target, (mine, *guards), changes).execute()
        for row in moved:
            self.__data__.update(row.__data__)
            self._dirty.clear()  # type: ignore[attr-defined]
            return self
        raise Conflict(
            f"{model.label or model.__name__} {self.get_id()} cannot become {target}"
            f" (it was {self.state})"
        )

    @classmethod
    def move_all(cls, target: str, *guards: Any, **changes: Any) -> int:
        """Move every row that may and that the guards choose; gives how many moved."""
        return len(list(cls._moved(target, guards, changes).execute()))

    @classmethod
    def _moved(cls, target: str, guards: tuple[Any, ...], changes: dict[str, Any]) -> Any:
        fields = cls._meta.fields
        changes = {"updated_at": now_ms(), **changes, "state": target}
        query = cls.update(changes).where(fields["state"].in_(fields["state"].sources(target)))
        return query.where(*guards).returning(*[fields[name] for name in changes])
