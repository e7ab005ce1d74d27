"""Forks: what they share, what they do anew, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from models import base, config, events, invariants, ledger, runs, steps
from models.accounts import User
from models.blobs import Blobs
from models.budgets import Budget
from models.errors import Conflict, NotFound
from models.idempotency import IdempotencyKey
from models.llm_calls import LlmCall
from models.pipelines import Pipeline
from models.principals import Principal
from models.runs import Run
from models.steps import Step
from tasks import forks, replays
from tasks import runs as commands
from tests.environment import environment
from tests.processes.agents_at_work import finish
from tests.processes.product import scripted
from tests.servers.provider import Provider
from workers.workspaces import Saved, open_workspace

ANNA = Principal("usr_anna", "user")
BEN = Principal("usr_ben", "admin", is_admin=True)
Work = Callable[..., int]

TWICE = [{"outputs": {"validation_result": "FAIL"}}, {"outputs": {"validation_result": "PASS"}}]


@pytest.fixture
def start(database: str) -> Callable[..., Run]:
    def begin(pipeline: str = "bugfix", **plays: Any) -> Run:
        form = {"task": scripted("Mend the login", **plays), "model_override": "scripted/demo"}
        return commands.start(ANNA, Pipeline.get_by_id(pipeline), form)

    return begin


@pytest.fixture
def provider(database: str) -> Iterator[Provider]:
    """OpenAI on the loopback, and the server's key to it, which Anna may use as an admin."""
    User(id=ANNA.id, email="anna@example.org", is_admin=True).add()
    with (
        Provider() as server,
        environment(OPENAI_API_KEY="key", OPENAI_BASE_URL=f"{server.url}/v1"),
    ):
        yield server


def writes(name: str, text: str) -> dict[str, Any]:
    return {"calls": [{"name": "write", "arguments": {"path": name, "content": text}}]}


def fork(source: Run, principal: Principal = ANNA, **form: Any) -> Run:
    return forks.fork(principal, source, form)


def of(run: Run) -> Run:
    return Run.get_by_id(run.id)


def way(run: Run) -> list[tuple[str, int, int, str]]:
    """The executions that count: step, visit, retry, state."""
    return [(step.step_id, step.visit, step.retry, step.state) for step in Step.of(of(run))]


def called(run: Run) -> list[str]:
    """The steps for which models were asked, each once, in order."""
    calls = LlmCall.select().where(LlmCall.run_id == run.id).order_by(LlmCall.created_at)
    return list(dict.fromkeys(call.step_id for call in calls))


def opening(run: Run) -> str:
    """What the agent of the last step was told, as the ledger has it."""
    entry = ledger.of(Step.of(of(run))[-1].id)[0]
    assert (entry.seq, entry.kind) == (0, ledger.OPENING)
    (part,) = entry.response["messages"][-1]["parts"]
    return part["text"]


def files(run: Run) -> dict[str, str]:
    """The run's files as another machine would get them."""
    now, told = of(run), config.settings()
    saved = Saved(str(now.workspace_commit), str(now.workspace_snapshot))
    with open_workspace(told.data / "elsewhere", run.id, saved, Blobs(told.blob_url)) as opened:
        return {path.name: path.read_text() for path in opened.tree.glob("*.txt")}


def test_a_fork_shares_what_went_before_and_pays_only_for_the_rest(
    start: Callable[..., Run], work: Work
) -> None:
    source = start(VALIDATE=TWICE)
    work()
    assert [step for step, *_ in way(source)] == ["FIX", "VALIDATE", "FIX", "VALIDATE"]
    fork_run = fork(of(source), from_step="VALIDATE")
    assert (fork_run.origin_id, fork_run.owner_id) == (source.id, "usr_anna")
    assert (fork_run.version_id, fork_run.task) == (source.version_id, source.task)
    assert fork_run.state == runs.PENDING
    assert LlmCall.select().where(LlmCall.run_id == fork_run.id).count() == 0
    work()
    assert of(fork_run).state == runs.COMPLETED
    assert way(fork_run) == way(source)
    assert called(fork_run) == ["VALIDATE"]
    assert of(fork_run).outputs == of(source).outputs
    shared = [step.origin_id for step in Step.of(of(fork_run))]
    assert shared == [*[step.id for step in Step.of(of(source))[:3]], None]
    assert invariants.breaches(0) == []


def test_the_history_of_a_fork_begins_with_what_it_shares(
    start: Callable[..., Run], work: Work
) -> None:
    source = start(VALIDATE=TWICE)
    work()
    run = fork(of(source), from_step="VALIDATE")
    told = events.after(run.id, 0, 1000)
    assert [event.type for event in told] == ["run_created", *["step_complete"] * 3]
    assert told[0].data["forkedFrom"] == source.id
    assert told[0].data["fromStep"] == "VALIDATE"
    assert all(event.data["shared"] for event in told[1:])
    assert [event.data["stepId"] for event in told[1:]] == ["FIX", "VALIDATE", "FIX"]
    assert [event.seq for event in told] == [1, 2, 3, 4]


def test_by_default_the_last_step_is_done_anew_and_an_execution_may_be_named(
    start: Callable[..., Run], work: Work
) -> None:
    source = start(VALIDATE=TWICE)
    work()
    executions = Step.of(of(source))
    assert len(way(fork(of(source)))) == 3
    assert len(way(fork(of(source), from_step=executions[1].id))) == 1
    assert way(fork(of(source), from_step=executions[0].id)) == []


def test_a_fork_keeps_the_files_of_that_moment(start: Callable[..., Run], work: Work) -> None:
    plays = {"FIX": [writes("a.txt", "one")], "VALIDATE": [writes("b.txt", "two")]}
    source = start(**plays)
    work()
    assert files(source) == {"a.txt": "one", "b.txt": "two"}
    run = fork(of(source), from_step="VALIDATE")
    assert files(run) == {"a.txt": "one"}
    assert "validation_result" not in run.outputs
    work()
    assert of(run).state == runs.COMPLETED
    assert files(run) == files(source)
    assert of(run).workspace_commit != of(source).workspace_commit


def test_a_fork_outlives_its_source(start: Callable[..., Run], work: Work) -> None:
    source = start(FIX=[writes("a.txt", "one")])
    work()
    run = fork(of(source), from_step="VALIDATE")
    commands.delete(source.id)
    work()
    assert of(run).state == runs.COMPLETED
    assert files(run)["a.txt"] == "one"
    assert called(run) == ["VALIDATE"]


def test_a_fork_of_a_fork_shares_the_original(start: Callable[..., Run], work: Work) -> None:
    source = start(VALIDATE=TWICE)
    work()
    first = fork(of(source), from_step="VALIDATE")
    work()
    second = fork(of(first))
    work()
    third = fork(of(second))
    work()
    originals = [step.id for step in Step.of(of(source))[:3]]
    for run in (second, third):
        assert [step.origin_id for step in Step.of(of(run))[:3]] == originals
        assert of(run).state == runs.COMPLETED
    assert (second.origin_id, third.origin_id) == (first.id, second.id)
    assert of(third).meta["forked_from"] == second.id


def test_a_fork_is_done_by_another_model_and_hears_another_note(
    start: Callable[..., Run], work: Work, provider: Provider
) -> None:
    source = start()
    work()
    passed = {"validation_result": "PASS", "validation_report": "The clock is right"}
    provider.answers(finish(**passed))
    run = fork(of(source), model_override="openai/gpt-5.2", human_context="Look at the clock")
    assert (run.model_override, run.human_context) == ("openai/gpt-5.2", "Look at the clock")
    work()
    assert (of(run).state, of(run).error) == (runs.COMPLETED, None)
    assert passed.items() <= of(run).outputs.items()
    assert [step.model_used for step in Step.of(of(run))] == ["scripted/demo", "openai/gpt-5.2"]
    (call,) = LlmCall.select().where(LlmCall.run_id == run.id)
    assert (call.step_id, call.provider, call.model) == ("VALIDATE", "openai", "gpt-5.2")
    note = "# Note from a person\nLook at the clock\n"
    assert note in opening(run)
    assert note not in opening(source)
    (asked,) = provider.requests
    assert asked.body["model"] == "gpt-5.2"
    assert asked.body["messages"][-1]["content"] == opening(run)
    assert (of(source).state, of(source).human_context) == (runs.COMPLETED, None)


def test_a_fork_whose_model_is_out_of_reach_fails_alone(
    start: Callable[..., Run], work: Work
) -> None:
    source = start()
    work()
    run = fork(of(source), model_override="openai/gpt-5.2")
    work()
    done = Step.of(of(run))
    assert [step.model_used for step in done] == ["scripted/demo", "openai/gpt-5.2"]
    assert of(run).state == runs.FAILED  # there is no key for it here
    assert of(source).state == runs.COMPLETED


def test_failures_on_which_the_way_rests_are_shared_too(
    start: Callable[..., Run], work: Work
) -> None:
    source = start(FIX=[{"fail": "no compiler"}, {}])
    work()
    run = fork(of(source), from_step="VALIDATE")
    work()
    assert way(run) == way(source)
    assert way(run)[0] == ("FIX", 1, 0, steps.FAILED)
    assert called(run) == ["VALIDATE"]


@pytest.mark.slow
def test_a_fork_goes_on_amid_a_loop(start: Callable[..., Run], work: Work) -> None:
    source = start("engineering")
    work()
    whole = way(source)
    assert of(source).state == runs.COMPLETED
    implement = [step for step in Step.of(of(source)) if step.step_id == "IMPLEMENT"]
    run = fork(of(source), from_step=implement[0].id)
    before = len(way(run))
    work()
    assert of(run).state == runs.COMPLETED
    assert way(run) == whole
    assert [step.origin_id is not None for step in Step.of(of(run))].count(True) == before
    assert [step.loop for step in Step.of(of(run))] == [step.loop for step in Step.of(of(source))]


def test_a_run_at_work_can_be_forked(start: Callable[..., Run], work: Work) -> None:
    source = start()
    work(1)  # FIX
    assert way(source)[-1] == ("VALIDATE", 1, 0, steps.QUEUED)
    run = fork(of(source))
    work()
    assert of(run).state == of(source).state == runs.COMPLETED
    assert called(run) == ["VALIDATE"]


def test_a_run_that_nobody_has_worked_on_is_just_begun_anew(
    start: Callable[..., Run], work: Work
) -> None:
    run = fork(start())
    assert way(run) == []
    assert run.workspace_commit is None
    work()
    assert of(run).state == runs.COMPLETED


def test_a_step_that_was_not_worked_on_is_not_found(start: Callable[..., Run], work: Work) -> None:
    source = start(FIX=[{"fail": "no"}])
    work()
    for name in ("VALIDATE", "nonsense"):
        with pytest.raises(NotFound):
            fork(of(source), from_step=name)
    assert Run.select().count() == 1


def test_a_fork_belongs_to_whoever_asked_for_it(start: Callable[..., Run], work: Work) -> None:
    source = start()
    work()
    assert fork(of(source), BEN).owner_id == "usr_ben"
    assert Run.visible_to(ANNA).count() == 1


def test_what_only_the_source_owes_stays_with_it(start: Callable[..., Run], work: Work) -> None:
    source = start()
    work()
    order = {"deviation_rules": "none", "starts": []}
    owed = {"plans_project": "p", "asked_by": "exec_1:4", "firing_id": "pf_1", "new": "unheard of"}
    owed |= {"pull_request": {"title": "Mend it"}}
    task = {"task_id": "T1", "task_branch": "feat/T1"}
    Run.update(meta=order | owed, **task).where(Run.id == source.id).execute()
    run = fork(of(source))
    assert run.meta == {**order, "forked_from": source.id}
    assert (run.task_id, run.task_branch) == (None, None)


def test_the_same_key_forks_once(start: Callable[..., Run], work: Work) -> None:
    source = start()
    work()
    first = forks.fork(ANNA, of(source), {}, "k")
    assert forks.fork(ANNA, of(source), {}, "k").id == first.id
    assert Run.select().count() == 2
    with pytest.raises(Conflict):
        forks.fork(ANNA, of(source), {"from_step": "FIX"}, "k")
    assert IdempotencyKey.select().count() == 1


def test_a_fork_has_the_budget_that_every_new_run_gets(
    start: Callable[..., Run], work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = start()
    work()
    monkeypatch.setenv("RUN_BUDGET_USD", "0.5")
    config.settings.cache_clear()
    run = fork(of(source))
    budget = Budget.get_by_id(f"run:{run.id}")
    assert (str(budget.limit_usd), budget.spent_tokens) == ("0.50000000", 0)
    monkeypatch.undo()
    config.settings.cache_clear()


def test_a_replay_is_not_forked(start: Callable[..., Run], work: Work) -> None:
    source = start()
    work()
    replay = replays.replay(ANNA, of(source), {})
    with pytest.raises(Conflict, match=source.id):
        fork(replay)


def test_a_fork_is_made_whole_or_not_at_all(start: Callable[..., Run], work: Work) -> None:
    source = start()
    work()
    with pytest.raises(RuntimeError), base.db.atomic():
        fork(of(source))
        raise RuntimeError("the process dies here")
    assert Run.select().count() == 1
    assert Step.select().count() == 2
