"""Conversations as the database has them: what was told, what is replayed, what goes elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import peewee
import pytest

from models import base, budgets, events, ledger
from models.ledger import Entry
from models.llm_calls import LlmCall
from models.pipelines import Pipeline
from models.principals import Principal
from models.runs import Run
from models.spending import Busy, Reached
from models.steps import Step
from tasks import runs as commands
from tests.workers.agents.recital import Reciter, call, calls, opening, says
from workers.agents.acts import Acts
from workers.agents.events import Asking, Ending, Limits, Talk
from workers.agents.journal import Diverged, Journal
from workers.agents.loop import converse
from workers.agents.tools.base import Verdict
from workers.agents.transcript import Transcript
from workers.agents.voice import Voice
from workers.halting import Halt, Stopped
from workers.jobs import runs as run_jobs
from workers.jobs import steps as jobs
from workers.llm.base import Call, Options, Overflow, Reply, Result, ToolSpec

ANNA = Principal("usr_anna", "user")


class Drawer:
    """Tools that note what was done with them; `complete` ends the step."""

    def __init__(self) -> None:
        self.verdict: Verdict | None = None
        self.done: list[str] = []

    @property
    def specs(self) -> Sequence[ToolSpec]:
        return ()

    def run(self, asked: Call, halt: Halt) -> Result:
        if self.ends(asked.name):
            self.verdict = Verdict("completed", {"answer": "42"})
        else:
            self.done.append(asked.arguments)
        return Result(asked.id, f"did {asked.name}")

    def ends(self, name: str) -> bool:
        return name == "complete"


class Unanswered(Transcript):
    """Every second transaction is taken, but its answer gets lost with the connection."""

    commits = 0

    def _commit(self) -> None:
        super()._commit()
        self._lose()

    def _afford(self, entry: Entry, event: Asking) -> Options | Busy | Reached:
        granted = super()._afford(entry, event)
        self._lose()
        return granted

    def _lose(self) -> None:
        self.commits += 1
        if self.commits % 2:
            raise peewee.OperationalError("the server closed the connection unexpectedly")


class Aborted(Unanswered):
    """Every second transaction is lost with its connection before it is taken."""

    def _commit(self) -> None:
        with base.db.atomic():
            super()._commit()

    def _afford(self, entry: Entry, event: Asking) -> Options | Busy | Reached:
        with base.db.atomic():
            return super()._afford(entry, event)


@pytest.fixture
def step(work: Callable[[], int]) -> Step:
    """A step that waits for a worker."""
    form = {"task": "x", "model_override": "scripted/demo"}
    run = commands.start(ANNA, Pipeline.get_by_id("planning"), form)
    run_jobs.advance(run.id, run.attempt)
    (waiting,) = Step.of(Run.get_by_id(run.id))
    return waiting


def taken(step: Step) -> tuple[Run, Step]:
    """The step in the hands of a worker that nobody has heard of before."""
    Step.update(leased_until=1).where(Step.id == step.id).execute()
    jobs.recover(step.id)
    claimed = jobs.claim(step.id)
    assert claimed is not None
    return claimed


def sit(
    step: Step, model: Reciter, drawer: Drawer, kind: type[Transcript] = Transcript
) -> tuple[Transcript, Talk[Ending]]:
    run, mine = taken(step)
    voice = Voice(run, mine, None)
    transcript = kind(run, mine, model, Journal.read(step.id), voice)
    transcript.open(opening(), {})
    return transcript, converse(model, drawer, opening(), Limits(declared=("answer",)), Halt())


def followed(step: Step, model: Reciter, drawer: Drawer, kind: type[Transcript] = Transcript):
    transcript, talk = sit(step, model, drawer, kind)
    ending = transcript.follow(talk, Acts(), Halt())
    transcript.commit()
    return ending


def told(step: Step) -> list[str]:
    return [event.type for event in events.after(step.run_id, 0, 1000)]


def entries(step: Step) -> list[tuple[str, str]]:
    return [(entry.kind, entry.name) for entry in ledger.of(step.id)]


STORY = [
    says("Look.", [call("look", at=1)]),
    says("Both.", [call("look", "a", at=2), call("look", "b", at=3)]),
    calls("complete"),
]


def test_a_whole_conversation_is_replayed_without_asking_or_doing_anything(step: Step) -> None:
    followed(step, Reciter(STORY), Drawer())
    before = told(step)
    model, drawer = Reciter(STORY), Drawer()
    assert followed(step, model, drawer) == Ending("completed", {"answer": "42"})
    assert (model.heard, drawer.done) == ([], [])
    assert [kind for kind in told(step)[len(before) :] if "call" in kind or "turn" in kind] == []
    assert len(LlmCall.select()) == len(STORY)


def test_a_commit_that_was_taken_and_not_answered_is_not_made_twice(step: Step) -> None:
    model, drawer = Reciter(STORY), Drawer()
    followed(step, model, drawer, Unanswered)
    assert len(model.heard) == len(STORY)
    assert len(drawer.done) == 3
    kinds = told(step)
    assert (kinds.count("llm_call"), kinds.count("tool_call_end")) == (3, 4)
    assert [call.turn for call in LlmCall.select().order_by(LlmCall.turn)] == [1, 2, 3]
    assert all(entry.sealed and entry.tries == 1 for entry in ledger.of(step.id))


@pytest.mark.parametrize("kind", [Transcript, Unanswered, Aborted])
def test_what_belongs_to_no_act_is_told_once_whatever_becomes_of_its_commit(
    step: Step, kind: type[Transcript]
) -> None:
    transcript, talk = sit(step, Reciter(STORY), Drawer(), kind)
    transcript.follow(talk, Acts(), Halt())
    transcript.commit()
    for number in range(4):
        transcript.warn(f"this is number {number}")
        transcript.commit()
    assert told(step).count("warning") == 4


class Crowded(Drawer):
    """While it works others set all of the run's budget aside, and let go of it in a moment."""

    MUCH = "UPDATE budgets SET reserved_tokens = reserved_tokens + %s"

    def run(self, asked: Call, halt: Halt) -> Result:
        if not self.ends(asked.name):
            base.db.execute_sql(self.MUCH, (1_000_000,))
            threading.Timer(0.7, self.let_go).start()
        return super().run(asked, halt)

    def let_go(self) -> None:
        with base.db.connection_context():
            base.db.execute_sql(self.MUCH, (-1_000_000,))


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("kind", [Unanswered, Aborted])
def test_who_waits_for_room_in_a_budget_tells_nothing_twice(
    step: Step, kind: type[Unanswered], lost: int
) -> None:
    with base.db.atomic():
        run = Run.locked(step.run_id)
        assert run is not None
        budgets.limit(run, {"limit_tokens": 1_000_000})
    transcript, talk = sit(step, Reciter(STORY), Crowded(), kind)
    assert isinstance(transcript, Unanswered)
    transcript.commits = lost
    transcript.follow(talk, Acts(), Halt())
    transcript.commit()
    kinds = told(step)
    assert (kinds.count("llm_call"), kinds.count("tool_call_end")) == (3, 4)
    assert [call.turn for call in LlmCall.select().order_by(LlmCall.turn)] == [1, 2, 3]
    assert all(entry.sealed for entry in ledger.of(step.id))


def test_a_record_that_goes_another_way_is_forgotten_from_there(step: Step) -> None:
    followed(step, Reciter(STORY), Drawer())
    Entry.update(key="another").where(Entry.seq == 4).execute()
    model, drawer = Reciter(STORY[2:]), Drawer()
    with pytest.raises(Diverged):
        followed(step, model, drawer)
    assert [entry.seq for entry in ledger.of(step.id)] == [0, 1, 2, 3]
    followed(step, model, drawer)
    assert drawer.done == ['{"at": 2}', '{"at": 3}']
    assert len(model.heard) == 1


def test_one_who_lost_the_step_cannot_cut_the_record_of_the_next(step: Step) -> None:
    followed(step, Reciter(STORY), Drawer())
    Entry.update(key="another").where(Entry.seq == 4).execute()
    late, talk = sit(step, Reciter(STORY), Drawer())
    taken(step)
    kept = entries(step)
    with pytest.raises(Stopped):
        late.follow(talk, Acts(), Halt())
    assert entries(step) == kept


def test_shortening_and_overflow_are_replayed_and_told_once(step: Step) -> None:
    long = [says("", [call("look", at=turn)]) for turn in range(8)]
    lines: list[Reply | Overflow] = [*long, Overflow("too long"), says("notes"), calls("complete")]
    model = Reciter(lines, window=2_000)
    followed(step, model, Drawer())
    assert told(step).count("context_compacted") >= 1
    before = told(step).count("context_compacted")
    again = Reciter([], window=2_000)
    followed(step, again, Drawer())
    assert told(step).count("context_compacted") == before
    assert again.heard == []
