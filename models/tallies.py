"""Tallies: what model calls add up to, so that no page counts them.

There are those per hour, day and month (UTC) by all that history is asked by, and those per run.

They are right at every commit. All who use the same model in the same hour would wait for one
another at the same three rows, so a call is written down as fresh first, and the clock adds the
fresh ones to the tallies, many at once; whoever asks reads both (`Usage`). Whoever writes or
deletes calls holds the lock of their runs; fresh calls come next, then the tallies, in the order
of their keys, and budgets after them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from peewee import JOIN, BigIntegerField, CharField, CompositeKey, DecimalField, ForeignKeyField, fn

from models import spans
from models.base import IDENTIFIER, Model, Moment, db
from models.principals import Principal
from models.runs import Run

CHAT, RUN = "chat", "run"  # what a call was made for
MOST_ROWS = 10_000  # of a history by groups
ALIKE = ("owner_id", "span", "start", "type", "project_id", "agent_id", "provider", "model")
MOST_FOLDED = 10_000  # calls in one statement


class FreshCall(Model):
    """A call that no tally but its run's knows of yet."""

    call_id = CharField(max_length=IDENTIFIER, primary_key=True)

    class Meta:
        table_name = "fresh_calls"


class Sums(Model):
    """What calls add up to; those without a known price are `unpriced` and cost nothing here."""

    calls = BigIntegerField()
    unpriced = BigIntegerField()
    input_tokens = BigIntegerField()
    output_tokens = BigIntegerField()
    cache_read_tokens = BigIntegerField()
    cache_write_tokens = BigIntegerField()
    total_tokens = BigIntegerField()
    cost_total = DecimalField(max_digits=20, decimal_places=8)


class Tally(Sums):
    """What the calls of one span that are alike in all the rest add up to; '' stands for none.

    Without the fresh calls.
    """

    owner_id = CharField(max_length=IDENTIFIER)
    span = CharField(max_length=8)
    start = Moment()
    type = CharField(max_length=8)
    project_id = CharField(max_length=IDENTIFIER)
    agent_id = CharField(max_length=IDENTIFIER)
    provider = CharField(max_length=64)
    model = CharField(max_length=256)

    class Meta:
        table_name = "tallies"
        primary_key = CompositeKey(*ALIKE)


class Usage(Tally):
    """The tallies and each fresh call, which may be alike: a view, to be summed."""

    label = "Usage"

    class Meta:
        table_name = "usage"

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """One's own: what others use their admins see run by run."""
        return cls.select().where(cls.owner_id == principal.id)


class RunTally(Sums):
    """What the calls of a run add up to."""

    run_id: str

    run = ForeignKeyField(Run, primary_key=True, on_delete="CASCADE")

    class Meta:
        table_name = "run_tallies"


SUMS = {
    "callCount": "calls",
    "unpricedCalls": "unpriced",
    "totalInputTokens": "input_tokens",
    "totalOutputTokens": "output_tokens",
    "totalCacheReadTokens": "cache_read_tokens",
    "totalCacheWriteTokens": "cache_write_tokens",
    "totalTokens": "total_tokens",
    "totalCost": "cost_total",
}
GROUPS = {
    "provider": Usage.provider,
    "model": Usage.model,
    "agent": Usage.agent_id,
    "type": Usage.type,
    "project": Usage.project_id,
}


def count(call_id: str) -> None:
    """Add a call that the current transaction has written."""
    db.later("INSERT INTO fresh_calls (call_id) VALUES (%s)", (call_id,))
    db.later(_COUNT_FOR_RUN, (call_id,))


def uncount(run_ids: Collection[str]) -> None:
    """Take the calls of these runs away, which the current transaction is about to delete.

    What is told per run goes with the run.
    """
    db.later(_UNCOUNT, {"runs": list(run_ids)})


def fold() -> None:
    """Add the fresh calls to the tallies."""
    db.execute_sql(_FOLD, (MOST_FOLDED,))


def total(usage: Any) -> dict[str, Any]:
    """What a query of usage adds up to altogether."""
    (row,) = _summed(Usage, usage.where(Usage.span == spans.MONTH)).dicts()
    return _plain(row)


def total_of_runs(queries: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, Any]]:
    """How many rows each query finds, and what the runs with their ids add up to altogether."""
    found, sums = {}, []
    for name, query in queries.items():
        key = query.model.id
        joined = query.join(RunTally, JOIN.LEFT_OUTER, on=(RunTally.run == key))
        (row,) = _summed(RunTally, joined, fn.count(key).alias("found")).dicts()
        found[name] = row.pop("found")
        sums.append(row)
    return found, _plain({name: sum(row[name] for row in sums) for name in SUMS})


def history(
    usage: Any, span: str, first: int, last: int, by: str | None = None
) -> list[dict[str, Any]]:
    """A query of usage by spans from `first` to before `last` (ms), and by groups if asked for.

    Spans without a call are there with zeros, for every group that has calls in any of them.
    """
    starts = list(spans.beginnings(span, first, last))
    chosen = usage.where((Usage.span == span) & Usage.start.between(starts[0], starts[-1]))
    columns = [Usage.start] if by is None else [Usage.start, GROUPS[by].alias("group")]
    rows = list(_summed(Usage, chosen.where(Usage.calls > 0), *columns).group_by(*columns).dicts())
    found = {(row["start"], row.get("group")): _plain(row) for row in rows}
    groups = [None] if by is None else sorted({row["group"] for row in rows})
    if len(starts) * len(groups) > MOST_ROWS:
        raise spans.invalid("group_by", f"More than {MOST_ROWS} rows: ask for a shorter time.")
    nothing = dict.fromkeys(SUMS, 0) | {"totalCost": 0.0}
    places = [(start, group) for start in starts for group in groups]
    named = [{"start": start} | ({} if by is None else {"group": group}) for start, group in places]
    return [
        nothing | found.get(place, {}) | name for place, name in zip(places, named, strict=True)
    ]


def _summed(model: Any, rows: Any, *columns: Any) -> Any:
    figures = {name: model._meta.fields[column] for name, column in SUMS.items()}
    sums = [fn.coalesce(fn.sum(figure), 0).alias(name) for name, figure in figures.items()]
    return rows.select(*columns, *sums)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Counts as whole numbers, dollars as a number."""
    counts = {name: int(row[name]) for name in SUMS}
    return row | counts | {"totalCost": float(row["totalCost"])}


_KEY = ", ".join(ALIKE)
_FIGURES = list(SUMS.values())
_START = """
    (extract(epoch FROM date_trunc(
        spans.name, to_timestamp(calls.created_at / 1000) AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
    ) * 1000)::bigint
"""


def _figures(sign: str) -> str:
    return f"""
        {sign} count(*), {sign} count(*) FILTER (WHERE calls.cost_total IS NULL),
        {sign} sum(calls.input_tokens), {sign} sum(calls.output_tokens),
        {sign} sum(calls.cache_read_tokens), {sign} sum(calls.cache_write_tokens),
        {sign} sum(calls.total_tokens), {sign} coalesce(sum(calls.cost_total), 0)
    """


def counted(which: str, sign: str = "") -> str:
    """The query for what calls add up to, as rows of tallies in the order of their keys."""
    return f"""
        SELECT coalesce(calls.owner_id, ''), spans.name, {_START},
            CASE runs.kind WHEN 'chat' THEN 'chat' ELSE 'run' END,
            coalesce(runs.project_id, chats.project_id, ''),
            calls.agent_id, calls.provider, calls.model, {_figures(sign)}
        FROM llm_calls AS calls LEFT JOIN runs ON runs.id = calls.run_id
            LEFT JOIN chat_sessions AS chats ON chats.id = calls.run_id
            CROSS JOIN unnest('{{day,hour,month}}'::text[]) AS spans (name)
        WHERE {which}
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8
    """  # noqa: S608


def counted_by_run(which: str, sign: str = "") -> str:
    """The query for what calls add up to, as rows of tallies of runs."""
    return f"""
        SELECT calls.run_id, {_figures(sign)}
        FROM llm_calls AS calls JOIN runs ON runs.id = calls.run_id
        WHERE {which} GROUP BY calls.run_id
    """  # noqa: S608


_UNEQUAL = " OR ".join(f"sum({name}) <> 0" for name in _FIGURES)
# A tally for which there is another sum of calls than it says, both ways.
WRONG = f"""
    SELECT concat_ws(' ', owner_id, span, start, type, project_id, agent_id, provider, model)
    FROM (SELECT {_KEY}, {", ".join(_FIGURES)} FROM usage
        UNION ALL ({counted("true", "-")})) AS both_ways
    GROUP BY {_KEY} HAVING {_UNEQUAL}
    UNION ALL SELECT run_id FROM (SELECT run_id, {", ".join(_FIGURES)} FROM run_tallies
        UNION ALL ({counted_by_run("true", "-")})) AS both_ways
    GROUP BY run_id HAVING {_UNEQUAL}
"""  # noqa: S608


def _into(table: str, key: str, rows: str) -> str:
    """The statement that adds rows to those of their keys."""
    added = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in _FIGURES)
    into = f"INSERT INTO {table} ({key}, {', '.join(_FIGURES)})"
    return f"{into} {rows} ON CONFLICT ({key}) DO UPDATE SET {added}"


_GONE = "calls.run_id = ANY(%(runs)s::text[])"
_FOLDED = counted("calls.id IN (SELECT call_id FROM folded)")
_UNDONE = counted(f"{_GONE} AND calls.id NOT IN (SELECT call_id FROM unfolded)", "-")  # noqa: S608
_FOLD = f"""
    WITH folded AS (
        DELETE FROM fresh_calls WHERE call_id = ANY(ARRAY(
            SELECT call_id FROM fresh_calls LIMIT %s FOR UPDATE SKIP LOCKED))
        RETURNING call_id
    )
    {_into("tallies", _KEY, _FOLDED)}
"""  # noqa: S608
# A call that is being folded at this moment is waited for, and then not among the fresh ones.
_UNCOUNT = f"""
    WITH unfolded AS (
        DELETE FROM fresh_calls USING llm_calls AS calls WHERE calls.id = call_id AND {_GONE}
        RETURNING call_id
    )
    {_into("tallies", _KEY, _UNDONE)}
"""  # noqa: S608
_COUNT_FOR_RUN = _into("run_tallies", "run_id", counted_by_run("calls.id = %s"))
