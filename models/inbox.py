"""What agents leave for each other, until a session of the addressee has read it, once.

A message belongs to the run that it was sent from: only sessions of the same owner, or of the same
project, get to read it. Agents are everybody's, what they tell each other is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from peewee import CharField

from models.base import CLOCK, IDENTIFIER, LongText, Model, Moment, db, id_field, now_ms
from models.errors import Conflict
from models.principals import Principal
from models.projects import shared
from models.runs import Run
from models.timetable import DAY_MS

LONGEST = 4_000  # characters of a message
MOST_UNREAD = 200  # of one owner for one agent
SHOWN = 5  # of them at the beginning of a session
KEPT_MS = 90 * DAY_MS
SYSTEM = "system"  # the sender of what a pipeline says


class InboxMessage(Model):
    """One message. `taken_by` names the execution that is about to read it, or has.

    `carried_by` names the run of a wake that was asked for with it, which reads it first.
    """

    label = "Message"

    id = id_field("inb_")
    to_agent = CharField(max_length=IDENTIFIER)
    from_agent = CharField(max_length=IDENTIFIER)
    message = LongText()
    owner_id = CharField(max_length=IDENTIFIER, null=True)
    project_id = CharField(max_length=IDENTIFIER, null=True)
    run_id = CharField(max_length=IDENTIFIER, null=True)
    carried_by = CharField(max_length=IDENTIFIER, null=True)
    taken_by = CharField(max_length=IDENTIFIER, null=True)
    read_at = Moment(null=True)
    created_at = Moment(default=now_ms)

    class Meta:
        table_name = "inbox_messages"
        indexes = ((("to_agent", "created_at", "id"), False), (("created_at",), False))

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Whose run sent it, the members of its project, and admins."""
        return shared(cls, principal)

    @classmethod
    def take(cls, agent_id: str, run: Run, execution_id: str) -> tuple[Sequence[Self], int]:
        """The messages that this execution is to read, oldest first, and how many are left.

        Nobody else gets them, unless the execution ends without having begun to talk.
        """
        known = {"agent": agent_id, "owner": run.owner_id, "project": run.project_id}
        known |= {"run": run.id, "execution": execution_id}
        found = cls.read_named(_TAKE, {**known, "limit": SHOWN})
        taken = sorted(found, key=lambda each: (each.created_at, each.id))
        if len(taken) < SHOWN:
            return taken, 0
        left = int(db.now(_LEFT, known).fetchone()[0]) - len(taken)
        return taken, max(0, left)

    def deliver(self) -> None:
        """Insert the row; Conflict when the addressee has too many that nobody has read."""
        unread = db.now(_UNREAD, (self.to_agent, self.owner_id)).fetchone()[0]
        if unread >= MOST_UNREAD:
            raise Conflict(f"{self.to_agent} has {unread} unread messages; do not send more")
        self.add()


# What is unread and may be read in this run: not what a wake brings along that is still under way,
# nor what another execution has taken that is under way.
_FREE = """
    to_agent = %(agent)s AND read_at IS NULL
    AND (owner_id IS NOT DISTINCT FROM %(owner)s::text OR project_id = %(project)s::text)
    AND (carried_by IS NULL OR carried_by = %(run)s::text OR NOT EXISTS (
        SELECT FROM runs WHERE runs.id = carried_by
            AND runs.state IN ('pending', 'running', 'paused')))
    AND (taken_by IS NULL OR taken_by = %(execution)s::text OR NOT EXISTS (
        SELECT FROM steps WHERE steps.id = taken_by
            AND steps.state IN ('queued', 'running', 'waiting')))
"""
# An array is looked for once; what a join looks for once for each row passes over what is locked
# already by then, and takes more than the limit.
_TAKE = f"""
    UPDATE inbox_messages SET taken_by = %(execution)s WHERE id = ANY(ARRAY(
        SELECT id FROM inbox_messages WHERE {_FREE}
        ORDER BY carried_by IS NOT DISTINCT FROM %(run)s::text DESC, created_at, id
        LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED))
    RETURNING *
"""  # noqa: S608
_LEFT = f"SELECT count(*) FROM inbox_messages WHERE {_FREE}"  # noqa: S608
_UNREAD = """
    SELECT count(*) FROM inbox_messages
    WHERE to_agent = %s AND read_at IS NULL AND owner_id IS NOT DISTINCT FROM %s::text
"""


def mark_read(message_ids: Sequence[str], execution_id: str) -> None:
    """Write, by the commit, that an execution has read what it took."""
    db.later(
        f"""
        UPDATE inbox_messages SET read_at = {CLOCK}
        WHERE id = ANY(%s) AND taken_by = %s AND read_at IS NULL
        """,  # noqa: S608
        (list(message_ids), execution_id),
    )


def unread(principal: Principal, agent_ids: Sequence[str]) -> dict[str, int]:
    """How many messages wait for each of these agents, of those that one may see."""
    mine = InboxMessage.visible_to(principal).select(InboxMessage.id)
    text, params = mine.sql()
    rows = db.execute_sql(
        f"""
        SELECT to_agent, count(*) FROM inbox_messages
        WHERE read_at IS NULL AND to_agent = ANY(%s) AND id IN ({text}) GROUP BY to_agent
        """,  # noqa: S608
        (list(agent_ids), *params),
    )
    return dict(rows.fetchall())


def forget_old() -> None:
    """Drop messages that were sent so long ago that nobody will read them."""
    db.execute_sql(f"DELETE FROM inbox_messages WHERE created_at < {CLOCK} - %s", (KEPT_MS,))  # noqa: S608
