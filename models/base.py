"""What every row has: the database, ids with a prefix, times in milliseconds, honest JSON."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit, urlunsplit

import orjson
import peewee
from peewee import BigIntegerField, CharField, SchemaManager, TextField

from models.database import Database
from models.errors import NotFound
from models.prepared import Connection, Params

db = Database(None)

Places = tuple[tuple[str, str], ...]

TAG_LENGTH = 8
# Times in ms. A process that was stopped amid a transaction, or waiting for a lock, must not keep
# its locks from its successor; one that died is noticed even while its statement runs.
SESSION = {
    "idle_in_transaction_session_timeout": 2_000,
    "lock_timeout": 3_000,
    "client_connection_check_interval": 500,
}

LINK: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 30,
    "tcp_user_timeout": 10_000,  # ms; a server that vanished without a word is given up
}

IDENTIFIER = 128  # the longest id that a client may name
DEEPEST = 100  # levels of lists and objects in what others send

CLOCK = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"  # the database's time in ms


def connect(url: str, connections: int = 20, **session: int) -> None:
    """Point every model at `url` (postgresql://...); opens nothing yet.

    `session` are settings of Postgres (times in ms) that are other than usual here.
    """
    db.init(
        url,
        connection_factory=Connection,
        max_connections=connections,
        stale_timeout=300,
        timeout=10,
        application_name=f"djinnbot {tag()}",  # by which the sweep sees that this process lives
        options=" ".join(f"-c {name}={value}" for name, value in (SESSION | session).items()),
        **LINK,
    )


@cache
def tag() -> str:
    """A name that no other process has."""
    return secrets.token_hex(TAG_LENGTH // 2)


def renamed(url: str, database: str) -> str:
    """The same server's URL with another database name."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


def now_ms() -> int:
    """Milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000


def database_ms() -> int:
    """The database's time (ms): deadlines are set and met by one clock, whoever looks."""
    return int(db.execute_sql(f"SELECT {CLOCK}").fetchone()[0])


@dataclass(frozen=True)
class Expression:
    """What the database works out itself when it writes a column."""

    sql: str


NOW: Any = Expression(CLOCK)  # whoever writes it, one clock says when


def clean(value: Any) -> Any:
    """The same JSON value with what Postgres cannot store (NUL, lone surrogates) replaced."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value


def dumps(value: Any) -> str:
    """Compact JSON that Postgres accepts."""
    text = _COMPACT.encode(value)
    return text if text.isascii() and "\\u0000" not in text else _COMPACT.encode(clean(value))


_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def encoded(value: Any) -> bytes:
    """Compact JSON as bytes: quickly, and slowly what orjson will not write, such as 10^30."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return dumps(value).encode()


def is_deep(value: Any) -> bool:
    """Whether walking through `value` could exhaust the stack; level by level, so as not to."""
    level = [value]
    for _ in range(DEEPEST):
        if not level:
            break
        lists = [part for part in level if isinstance(part, list)]
        objects = [part.values() for part in level if isinstance(part, dict)]
        level = [item for part in (*lists, *objects) for item in part]
    return bool(level)


class JsonField(peewee.JSONField):
    """A JSONB column."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dumps=dumps, **kwargs)


class LongText(TextField):
    """Text without a limit, free of NUL."""

    def db_value(self, value: Any) -> Any:
        return clean(super().db_value(value))


class Moment(BigIntegerField):
    """Milliseconds since the epoch, UTC."""


class Touched(Moment):
    """When a row was last written, by the database's clock; in memory our own until it is read."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(default=now_ms, **kwargs)


class Model(peewee.Model):
    """A row of ours."""

    label: ClassVar[str] = ""  # what a person calls it; the class name by default

    class Meta:
        database = db
        legacy_table_names = False
        schema_manager_class = SchemaManager

    def add(self) -> Self:
        """Insert this row, every column as it is in memory."""
        db.later(*self.insertion())
        self._dirty.clear()  # type: ignore[attr-defined]
        return self

    def insertion(self) -> tuple[str, list[Any]]:
        """The INSERT of this row, one text per model, and what goes into it."""
        statement, fields = _insertion(type(self))
        return statement, [field.db_value(self.__data__.get(field.name)) for field in fields]

    def put(self, **changes: Any) -> None:
        """Write these columns of this row, in memory and, by the commit, in the database."""
        text = f"{self.updating(places(changes))} WHERE id = %s"
        db.later(text, [*self.stored(changes), self.get_id()])
        known = {name: now_ms() if value is NOW else value for name, value in changes.items()}
        self.__data__.update(known)

    @classmethod
    def updating(cls, written: Places) -> str:
        """The beginning of an UPDATE that writes these columns."""
        fields = cls._meta.fields
        columns = ", ".join(f'"{fields[name].column_name}" = {place}' for name, place in written)
        return f'UPDATE "{cls._meta.table_name}" SET {columns}'  # noqa: S608

    @classmethod
    def stored(cls, changes: Mapping[str, Any]) -> list[Any]:
        """The values of columns as the database takes them, but for those it works out."""
        fields = cls._meta.fields
        told = {name: value for name, value in changes.items() if not _worked_out(value)}
        return [fields[name].db_value(value) for name, value in told.items()]

    @classmethod
    def find(cls, key: str) -> Self | None:
        """The row with this id, or None."""
        text = f'SELECT * FROM "{cls._meta.table_name}" WHERE id = %s'  # noqa: S608
        return next(iter(cls.read(text, key)), None)

    @classmethod
    def read(cls, sql: str, *params: Any) -> list[Self]:
        """The rows that a prepared statement gives, with the columns that it names."""
        return cls.read_named(sql, params)

    @classmethod
    def read_named(cls, sql: str, params: Params) -> list[Self]:
        """The same with the parameters in a sequence, or in a mapping by their names."""
        cursor = db.now(sql, params)
        fields = cls._meta.columns
        columns = [column.name for column in cursor.description]
        names = [fields[name].name if name in fields else name for name in columns]
        return [cls._as_read(dict(zip(names, values, strict=True))) for values in cursor]

    @classmethod
    def _as_read(cls, values: dict[str, Any]) -> Self:
        row = cls(__no_default__=True)
        row.__data__ = values
        return row

    @classmethod
    def upsert(cls, row: Mapping[str, Any]) -> None:
        """Insert a row with all its columns, or replace what stands under its id."""
        kept = [cls._meta.fields[name] for name in row if name not in {"id", "created_at"}]
        query = cls.insert(row).on_conflict(conflict_target=[cls._meta.primary_key], preserve=kept)
        query.execute()

    @classmethod
    def missing(cls, key: str) -> NotFound:
        """The error for a row that is not there, or not visible: the two read the same."""
        return NotFound(f"{cls.label or cls.__name__} {key} not found")


class Common(Model):
    """A row that everybody who may call may see."""

    @classmethod
    def visible_to(cls, principal: Any) -> Any:
        """Every row, whoever asks."""
        return cls.select()


def places(changes: Mapping[str, Any]) -> Places:
    """The columns that are written, each with what stands for its value in a statement."""
    return tuple(
        (name, value.sql if _worked_out(value) else "%s") for name, value in changes.items()
    )


def _worked_out(value: Any) -> bool:
    return isinstance(value, Expression)


@cache
def _insertion(model: type[Model]) -> tuple[str, list[Any]]:
    fields = [field for field in model._meta.sorted_fields if not field.auto_increment]
    columns = ", ".join(f'"{field.column_name}"' for field in fields)
    values = ", ".join(CLOCK if isinstance(field, Touched) else "%s" for field in fields)
    told = [field for field in fields if not isinstance(field, Touched)]
    return f'INSERT INTO "{model._meta.table_name}" ({columns}) VALUES ({values})', told  # noqa: S608


def id_field(cls_prefix: str) -> CharField:
    """A primary key `prefix` + 16 hex digits, drawn when the row is made."""
    return CharField(
        max_length=IDENTIFIER,
        primary_key=True,
        default=lambda: f"{cls_prefix}{secrets.token_hex(8)}",
    )
