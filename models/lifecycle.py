"""State machines as data: arrows on the field, one conditional update that moves along them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Self

from peewee import CharField

from models.base import NOW, Expression, Model, Places, db, places
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

    def move(self, target: str, guard: Mapping[str, Any] | None = None, **changes: Any) -> Self:
        """Move to `target` if an arrow leads there and the columns of `guard` hold; else Conflict.

        One UPDATE decides; the row in memory follows it, also in what the database worked out.
        """
        changes = {"updated_at": NOW, **changes, "state": target}
        guard = {"id": self.get_id(), **(guard or {})}
        where = " AND ".join(f"{column} = %s" for column in guard)
        worked_out = [name for name, value in changes.items() if isinstance(value, Expression)]
        asked = ["id", *worked_out]
        movement = _movement(type(self), where, target, places(changes))
        text = f"{movement} RETURNING {', '.join(asked)}"
        found = db.now(text, [*self.stored(changes), *guard.values()]).fetchone()
        if found is None:
            raise Conflict(
                f"{self.label or type(self).__name__} {self.get_id()} cannot become {target}"
                f" (it was {self.state})"
            )
        self.__data__.update({**changes, **dict(zip(asked, found, strict=True))})
        self._dirty.clear()  # type: ignore[attr-defined]
        return self

    @classmethod
    def move_all(cls, target: str, column: str, among: Sequence[Any], **changes: Any) -> None:
        """Move every row that may and whose `column` is `among` these, by the commit."""
        changes = {"updated_at": NOW, **changes, "state": target}
        text = _movement(cls, f"{column} = ANY(%s)", target, places(changes))
        db.later(text, [*cls.stored(changes), list(among)])


@cache
def _movement(model: type[Stateful], where: str, target: str, written: Places) -> str:
    sources = ", ".join(f"'{source}'" for source in model._meta.fields["state"].sources(target))
    return f"{model.updating(written)} WHERE {where} AND state IN ({sources or 'NULL'})"
