"""What must hold of the rows at any moment: whatever is not final has an owner or a deadline.

Each invariant is a query for the rows that break it. What is on its way (a request in the outbox
or in Redis, a lease about to be recovered) has `GRACE_MS` to arrive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models.attachments import OVERDUE_MS
from models.base import db
from models.failures import LONGEST_WAIT, LOST_MS
from models.mail import LEASE_MS
from models.onboarding import SETTLING_MS
from models.pushes import IN_HAND_MS
from models.repositories import OVERDUE_MS as UNSEEN_MS
from models.swarms import MERGING_MS
from models.tallies import WRONG

GRACE_MS = 10_000
STEADY_MS = 30 * 60_000  # who has been there so long has done what was left undone
MISSED_MS, LISTED_MS = 24 * 3_600_000, 3 * 24 * 3_600_000  # GitHub keeps its list for three days
NAMED = 20  # rows that a breach names

_WORDS = {
    "<steady>": f"NOT seen_at <late> AND started_at + {STEADY_MS} <late>",
    "<late>": "< (extract(epoch FROM clock_timestamp()) * 1000)::bigint - %(grace)s",
    "<over>": "('completed', 'failed', 'cancelled')",
    "<merging>": str(MERGING_MS),
    "<reading>": str(2 * OVERDUE_MS),
    "<settling>": str(2 * SETTLING_MS),
    "<patience>": str(IN_HAND_MS),  # others may be before it in the queue of the agents
    "<looking>": str(2 * UNSEEN_MS),
    "<trying>": str(LOST_MS),
    # one that is being sent keeps the others, a delivery that failed is tried again so much later
    "<sending>": str(LEASE_MS + 1000 * LONGEST_WAIT),
    "<missed>": str(MISSED_MS),  # GitHub may be away, and thousands be before this one
    "<listed>": str(LISTED_MS),
}


@dataclass(frozen=True)
class Breach:
    """An invariant that does not hold, and the ids of rows that show it (the first of them)."""

    invariant: str
    rows: tuple[str, ...]


def breaches(grace_ms: int = GRACE_MS) -> list[Breach]:
    """Every invariant that is broken right now; nothing when all is well."""
    found = []
    for invariant, query in INVARIANTS.items():
        for word, meaning in _WORDS.items():
            query = query.replace(word, meaning)
        rows = db.execute_sql(f"{query} LIMIT {NAMED}", {"grace": grace_ms}).fetchall()
        if rows:
            found.append(Breach(invariant, tuple(str(row[0]) for row in rows)))
    return found


INVARIANTS: Mapping[str, str] = {
    "a run that should move has a step at work, waiting or asked for": """
        SELECT id FROM runs WHERE state IN ('pending', 'running') AND updated_at <late>
          AND NOT EXISTS (SELECT FROM steps WHERE steps.run_id = runs.id
              AND steps.state IN ('queued', 'running', 'waiting'))
          AND (kind <> 'chat' OR state = 'pending')""",
    "a session that nobody could resume is not paused": """
        SELECT id FROM runs WHERE state = 'paused' AND kind IN ('chat', 'pulse', 'wake')""",
    "a step that is due is taken while a worker of its queue lives and has nothing to do": """
        SELECT steps.id FROM steps JOIN runs ON runs.id = steps.run_id
        WHERE steps.state = 'queued' AND runs.state = 'running'
          AND greatest(steps.due_at, steps.updated_at) <late>
          AND EXISTS (SELECT FROM processes WHERE processes.queues ? steps.queue
                      AND NOT seen_at <late>)
          AND NOT EXISTS (SELECT FROM steps AS busy
                          WHERE busy.state = 'running' AND busy.queue = steps.queue)""",
    "a step at work has a lease that somebody renews": """
        SELECT id FROM steps WHERE state = 'running' AND leased_until <late>""",
    "a step that waits for a run is woken when that ends": """
        SELECT steps.id FROM steps LEFT JOIN runs AS delegate ON delegate.id = steps.waits_for
        WHERE steps.state = 'waiting' AND steps.waits_for NOT LIKE 'swarm%%'
          AND (delegate.id IS NULL
               OR delegate.state IN <over> AND delegate.completed_at <late>)""",
    "a step that waits for a swarm is woken when that ends": """
        SELECT steps.id FROM steps LEFT JOIN swarms ON swarms.id = steps.waits_for
        WHERE steps.state = 'waiting' AND steps.waits_for LIKE 'swarm%%'
          AND (swarms.id IS NULL OR swarms.state IN <over> AND swarms.completed_at <late>)""",
    "what a step had others do ends when nobody waits for it": """
        SELECT delegate.id FROM (
            SELECT id, meta->>'asked_by' AS asked_by, updated_at FROM runs
            WHERE state IN ('pending', 'running', 'paused') AND kind = 'executor'
              AND NOT meta ?| ARRAY['swarm_id', 'apart']
            UNION ALL
            SELECT id, asked_by, updated_at FROM swarms
            WHERE state IN ('pending', 'running', 'merging')
        ) AS delegate LEFT JOIN steps ON steps.id = split_part(delegate.asked_by, ':', 1)
        WHERE delegate.asked_by IS NOT NULL
          AND (steps.id IS NULL OR steps.state IN <over>)
          AND coalesce(steps.completed_at, delegate.updated_at) <late>""",
    "a run that is over has no step that is not": """
        SELECT steps.id FROM steps JOIN runs ON runs.id = steps.run_id
        WHERE runs.state IN <over> AND steps.state IN ('queued', 'running', 'waiting')""",
    "a session at work belongs to a step at work": """
        SELECT sessions.id FROM sessions LEFT JOIN steps ON steps.session_id = sessions.id
        WHERE sessions.state IN ('starting', 'running') AND sessions.execution_id IS NOT NULL
          AND (steps.id IS NULL OR steps.state <> 'running')""",
    "a swarm ends by its deadline": """
        SELECT id FROM swarms WHERE state IN ('pending', 'running') AND deadline <late>
        UNION ALL
        SELECT id FROM swarms WHERE state = 'merging' AND deadline + <merging> <late>""",
    "a task at work in a swarm has a run that is at work": """
        SELECT swarm_tasks.id FROM swarm_tasks LEFT JOIN runs ON runs.id = swarm_tasks.run_id
        WHERE swarm_tasks.state = 'running'
          AND (runs.id IS NULL OR runs.state IN <over> AND runs.completed_at <late>)""",
    "a swarm that is over has no task or executor that is not": """
        SELECT swarm_tasks.id FROM swarm_tasks JOIN swarms ON swarms.id = swarm_tasks.swarm_id
            LEFT JOIN runs ON runs.id = swarm_tasks.run_id
        WHERE swarms.state IN <over> AND swarms.completed_at <late>
          AND (swarm_tasks.state IN ('pending', 'ready', 'running')
               OR runs.state IN ('pending', 'running', 'paused') AND NOT runs.meta ? 'apart')""",
    "a task that a run works on has a run that is at work": """
        SELECT tasks.id FROM tasks LEFT JOIN runs ON runs.id = tasks.run_id
        WHERE tasks.run_id IS NOT NULL
          AND (runs.id IS NULL OR runs.state IN <over> AND runs.completed_at <late>)
          AND NOT EXISTS (SELECT FROM swarm_tasks JOIN swarms ON swarms.id = swarm_id
              WHERE swarm_tasks.run_id = tasks.run_id AND swarms.state NOT IN <over>)""",
    "an execution of a task is over when its run is": """
        SELECT task_runs.id FROM task_runs JOIN runs ON runs.id = task_runs.run_id
        WHERE task_runs.status = 'running' AND runs.state IN <over> AND runs.completed_at <late>""",
    "money is set aside only for steps at work": """
        SELECT reservations.execution_id FROM reservations
            LEFT JOIN steps ON steps.id = reservations.execution_id
        WHERE steps.id IS NULL OR steps.state IN <over> AND steps.completed_at <late>""",
    "what budgets have set aside is what calls have reserved": """
        SELECT budgets.key FROM budgets LEFT JOIN (
            SELECT key, sum(usd) AS usd, sum(tokens) AS tokens, count(*) AS calls
            FROM reservations GROUP BY key
        ) AS open USING (key)
        WHERE budgets.reserved_usd <> coalesce(open.usd, 0)
           OR budgets.reserved_tokens <> coalesce(open.tokens, 0)
           OR budgets.reserved_calls <> coalesce(open.calls, 0)""",
    "usage adds up to what the calls say": WRONG,
    "the events of a run are numbered 1, 2, 3 without a gap": """
        SELECT runs.id FROM runs LEFT JOIN (
            SELECT run_id, count(*) AS number, max(seq) AS last FROM events GROUP BY run_id
        ) AS told ON told.run_id = runs.id
        WHERE runs.event_seq <> coalesce(told.number, 0)
           OR runs.event_seq <> coalesce(told.last, 0)""",
    "a run ends once: its last event says so, and only one does in each attempt": """
        SELECT run_id FROM events WHERE type IN ('run_complete', 'run_failed')
        GROUP BY run_id HAVING count(*) > (SELECT attempt FROM runs WHERE runs.id = run_id)
            + (SELECT count(*) FROM events AS undone WHERE undone.run_id = events.run_id
               AND undone.type = 'human_intervention')""",
    "the acts of an execution are numbered 0, 1, 2 without a gap, all but the last sealed": """
        SELECT execution_id FROM ledger GROUP BY execution_id
        HAVING count(*) <> max(seq) + 1
            OR bool_or(sealed_at IS NULL AND seq < (
                SELECT max(seq) FROM ledger AS later
                WHERE later.execution_id = ledger.execution_id))""",
    "a message that waits is answered next, or its session's turn is under way": """
        SELECT chat_messages.id FROM chat_messages JOIN runs ON runs.id = session_id
        WHERE chat_messages.state IN ('queued', 'running') AND chat_messages.updated_at <late>
          AND runs.state NOT IN ('pending') AND runs.updated_at <late>
          AND NOT EXISTS (SELECT FROM steps WHERE steps.run_id = session_id
              AND steps.state IN ('queued', 'running', 'waiting'))""",
    "an answer is being given while its turn is under way": """
        SELECT chat_messages.id FROM chat_messages
            LEFT JOIN steps ON steps.id = chat_messages.execution_id
        WHERE chat_messages.state = 'running'
          AND (steps.id IS NULL OR steps.state IN <over>)""",
    "a chat is over when its run is": """
        SELECT chat_sessions.id FROM chat_sessions JOIN runs USING (id)
        WHERE (chat_sessions.state IN ('completed', 'failed')) <> (runs.state IN <over>)""",
    "a chat in which nobody says anything ends by its deadline": """
        SELECT id FROM chat_sessions WHERE state IN ('starting', 'running')
          AND idle_until <late> AND NOT EXISTS (
              SELECT FROM chat_messages WHERE session_id = chat_sessions.id
                AND chat_messages.state IN ('queued', 'running'))""",
    "a file that somebody sent is read, or it says why not": """
        SELECT id FROM chat_attachments WHERE state IN ('uploaded', 'processing')
          AND updated_at + <reading> <late>""",
    "an onboarding that goes on has a chat that does": """
        SELECT sessions.id FROM onboarding_sessions AS sessions
            LEFT JOIN chat_sessions AS chats ON chats.id = chat_session_id
        WHERE sessions.state = 'active' AND sessions.updated_at + <settling> <late>
          AND (chats.id IS NULL OR chats.state IN ('completed', 'failed')
              AND chats.updated_at + <settling> <late>)""",
    "a project that was talked about is planned, or it says why not": """
        SELECT sessions.id FROM onboarding_sessions AS sessions
            LEFT JOIN project_repositories AS code USING (project_id)
        WHERE sessions.state = 'completed' AND planning_run_id IS NULL AND planning_error IS NULL
          AND greatest(sessions.updated_at, code.updated_at) + <settling> <late>
          AND code.state IS DISTINCT FROM 'queued'""",
    "what is to be pushed is tried when that is due": """
        SELECT id FROM pushes WHERE state = 'queued' AND due_at + <patience> <late>""",
    "a repository is looked at, or it says why not, while a worker lives": """
        SELECT id FROM project_repositories WHERE state = 'queued'
          AND updated_at + <looking> <late>
          AND EXISTS (SELECT FROM processes WHERE processes.queues ? 'agents' AND <steady>)""",
    "a letter that is due is sent, or another one is, while a worker lives": """
        SELECT id FROM letters WHERE state IN ('waiting', 'sending')
          AND greatest(due_at, updated_at) + <sending> <late>
          AND NOT EXISTS (SELECT FROM letters AS tried
                          WHERE tried.tries > 0 AND NOT tried.updated_at + <sending> <late>)
          AND EXISTS (SELECT FROM processes WHERE processes.queues ? 'short' AND <steady>)""",
    "what failed is asked for again when that is due, while a clock lives": """
        SELECT id FROM failures WHERE due_at + <trying> <late>
          AND EXISTS (SELECT FROM processes WHERE kind = 'clock' AND started_at <late>
                      AND NOT seen_at <late>)""",
    "what GitHub could not deliver is asked for while it can be had, and a worker lives": """
        SELECT guid FROM webhook_misses WHERE due_at + <missed> <late>
          AND NOT failed_at + <listed> <late>
          AND EXISTS (SELECT FROM processes WHERE processes.queues ? 'short' AND <steady>)""",
    "a routine that is due is looked at while a clock lives": """
        SELECT id FROM pulse_routines WHERE enabled AND look_at <late>
          AND EXISTS (SELECT FROM processes WHERE kind = 'clock' AND NOT seen_at <late>)""",
    "a routine that has come up becomes a run while a worker lives, or is told why not": """
        SELECT id FROM pulse_firings WHERE state = 'pending' AND updated_at <late>
          AND EXISTS (SELECT FROM processes WHERE processes.queues ? 'short'
                      AND NOT seen_at <late>)""",
    "a pulse at work has a run that is at work": """
        SELECT pulse_firings.id FROM pulse_firings LEFT JOIN runs ON runs.id = run_id
        WHERE pulse_firings.state = 'running'
          AND (runs.id IS NULL OR runs.state IN <over> AND runs.completed_at <late>)""",
    "what GitHub has asked of a routine comes to a run, or is told why not": """
        SELECT called.id FROM github_agent_triggers AS called
            LEFT JOIN pulse_firings ON pulse_firings.id = called.firing_id
        WHERE called.firing_id IS NOT NULL AND called.run_id IS NULL AND called.error IS NULL
          AND pulse_firings.state IS DISTINCT FROM 'pending'""",
    "what is due is handed to the broker": """
        SELECT id FROM outbox WHERE greatest(due_at, asked_at) <late>""",
}
