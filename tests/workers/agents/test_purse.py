"""What calls may cost, before they are made: bounds, the smaller answer, the refusal."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, strategies

from models import base, budgets
from models.llm_calls import LlmCall
from models.pipelines import Pipeline
from models.principals import Principal
from models.runs import Run
from models.spending import Busy, Reached
from models.steps import Step
from tasks import runs as commands
from workers.agents.accounting import call_row
from workers.agents.events import Answer, Asking
from workers.agents.purse import LEAST_ANSWER, Purse
from workers.llm import estimating
from workers.llm.base import (
    Call,
    Message,
    Model,
    Options,
    Reply,
    Result,
    Text,
    Thinking,
    ToolSpec,
    Usage,
)
from workers.llm.endpoint import Endpoint
from workers.llm.openai_chat import OpenAIChat
from workers.llm.prices import worst_case

READ = ToolSpec("read", "Read a file", {"type": "object", "properties": {"path": {}}})
TASK = Message("user", (Text("Say hello. " * 100),))
ANSWERED = Message("assistant", (Thinking("Hm."), Call("c1", "read", '{"path": "a.txt"}')))
RESULT = Message("tool", (Result("c1", "hello " * 50),))


@pytest.fixture
def model() -> Model:
    """A model with a known price: 2.50 USD for a million tokens sent, 10 for as many answered."""
    return OpenAIChat(Endpoint("openai", "gpt-4o", "http://127.0.0.1:9/v1"))


def limited(**limits: Any) -> Run:
    form = {"task": "Build a todo app", **limits}
    return commands.start(Principal("usr_anna", "user"), Pipeline.get_by_id("planning"), form)


def asking(*messages: Message, most: int = 8_000) -> Asking:
    return Asking(messages, (READ,), Options(max_output_tokens=most))


def opened(purse: Purse, run: Run, question: Asking) -> Any:
    with base.db.atomic():
        locked = Run.locked(run.id)
        assert locked is not None
        return purse.open(locked, question)


def answered(usage: Usage, message: Message = ANSWERED) -> Answer:
    return Answer(Reply(message, usage, "calls", "gpt-4o"), 0.1, usage.input + usage.output)


def stands(run: Run) -> Mapping[str, Any]:
    budget = budgets.of_run(Run.get_by_id(run.id))
    assert budget is not None
    return budget.__data__


def test_a_call_sets_aside_what_it_can_cost_at_most(database: str, model: Model) -> None:
    run, question = limited(limit_usd=1.0), asking(TASK)
    purse = Purse(model, "exec_1")

    assert opened(purse, run, question) == question.options

    sent = purse.bound(question)
    assert stands(run)["reserved_tokens"] == sent + 8_000
    assert stands(run)["reserved_usd"] == worst_case("openai", "gpt-4o", sent, 8_000)


def test_an_answer_pays_what_it_took(database: str, model: Model) -> None:
    run = limited(limit_usd=1.0)
    purse = Purse(model, "exec_1")
    opened(purse, run, asking(TASK))

    with base.db.atomic():
        purse.pay(run, Usage(input=400, output=100))

    assert stands(run)["spent_usd"] == Decimal("0.002")
    assert (stands(run)["spent_tokens"], stands(run)["reserved_tokens"]) == (500, 0)


def test_an_answer_that_nobody_counted_pays_its_worst_case(database: str, model: Model) -> None:
    run = limited(limit_usd=1.0)
    purse = Purse(model, "exec_1")
    opened(purse, run, asking(TASK))
    before = stands(run)

    with base.db.atomic():
        purse.pay(run, Usage(input=400, output=100, approximate=True))

    for unit in ("usd", "tokens"):
        assert stands(run)[f"spent_{unit}"] == before[f"reserved_{unit}"] > 0
        assert stands(run)[f"reserved_{unit}"] == 0


def test_what_a_provider_calls_an_answer_is_kept_as_far_as_there_is_room(
    database: str, model: Model
) -> None:
    run = limited(limit_usd=1.0)
    step = Step(id="exec_1", run=run.id, step_id="S", agent_id="finn", session_id="ses_1")
    reply = Reply(ANSWERED, Usage(input=1, output=1), "end", "gpt-4o", "\0" + "x" * 1_000)
    with base.db.atomic():
        call_row(run, step, model, None, 1, Answer(reply, 0.1, 2)).add()
    (call,) = LlmCall.select()
    assert call.request_id == "\ufffd" + "x" * 255


def test_a_call_that_was_refused_costs_nothing(database: str, model: Model) -> None:
    run = limited(limit_usd=1.0)
    purse = Purse(model, "exec_1")
    opened(purse, run, asking(TASK))

    with base.db.atomic():
        purse.keep(run)

    assert stands(run)["spent_usd"] == stands(run)["reserved_usd"] == 0


@pytest.mark.parametrize("limits", [{"limit_usd": 0.05}, {"limit_tokens": 7_000}])
def test_where_little_is_left_the_model_may_answer_less(
    database: str, model: Model, limits: dict[str, Any]
) -> None:
    run, question = limited(**limits), asking(TASK)
    purse = Purse(model, "exec_1")

    options = opened(purse, run, question)

    assert LEAST_ANSWER <= options.max_output_tokens < 8_000
    budget = stands(run)
    used_up = budget["reserved_usd"] / Decimal("0.05"), budget["reserved_tokens"] / 7_000
    assert 0.99 < used_up["limit_tokens" in limits] <= 1


@pytest.mark.parametrize("limits", [{"limit_usd": 0.01}, {"limit_tokens": 2_000}])
def test_where_too_little_is_left_the_model_is_not_asked(
    database: str, model: Model, limits: dict[str, Any]
) -> None:
    run = limited(**limits)

    refused = opened(Purse(model, "exec_1"), run, asking(TASK))

    assert isinstance(refused, Reached)
    assert refused.needs.tokens > 8_000
    assert stands(run)["reserved_tokens"] == 0


def test_a_short_answer_may_use_up_what_is_left(database: str, model: Model) -> None:
    run, question = limited(limit_tokens=3_000), asking(TASK, most=300)

    assert opened(Purse(model, "exec_1"), run, question).max_output_tokens == 300


def test_a_model_of_unknown_price_is_not_asked_within_dollars(database: str) -> None:
    unknown = OpenAIChat(Endpoint("custom-den", "m", "http://127.0.0.1:9/v1"))

    in_dollars = opened(Purse(unknown, "exec_1"), limited(limit_usd=100.0), asking(TASK))
    in_tokens = opened(Purse(unknown, "exec_1"), limited(limit_tokens=10**6), asking(TASK))

    assert isinstance(in_dollars, Reached)
    assert isinstance(in_tokens, Options)


def test_whoever_waits_for_others_does_not_make_do_with_less(database: str, model: Model) -> None:
    run = limited(limit_tokens=12_000)
    opened(Purse(model, "exec_1"), run, asking(TASK))

    assert opened(Purse(model, "exec_2"), run, asking(TASK)) == Busy()


def test_what_the_model_counted_before_is_not_guessed_again(model: Model) -> None:
    purse = Purse(model, "exec_1")
    first, second = asking(TASK), asking(TASK, ANSWERED, RESULT)
    guessed = purse.bound(second)

    purse.heard(first, answered(Usage(input=350, output=40)))

    assert purse.bound(second) == 390 + estimating.bound([RESULT]) < guessed
    assert purse.bound(asking(TASK)) == 350
    assert purse.bound(asking(RESULT)) == estimating.most([RESULT], [READ], None)


def test_other_tools_or_an_estimate_prove_nothing(model: Model) -> None:
    purse = Purse(model, "exec_1")
    without = Asking((TASK, ANSWERED), (), Options())

    purse.heard(asking(TASK), answered(Usage(input=1, output=1, approximate=True)))
    estimated = purse.bound(asking(TASK, ANSWERED))
    purse.heard(asking(TASK), answered(Usage(input=350, output=40)))

    assert estimated == estimating.most([TASK, ANSWERED], [READ], None)
    assert purse.bound(without) == estimating.most([TASK, ANSWERED], [], None)


TEXTS = strategies.text(max_size=50)
PARTS = strategies.one_of(
    TEXTS.map(Text),
    TEXTS.map(Thinking),
    TEXTS.map(lambda text: Call("c", "read", text)),
    TEXTS.map(lambda text: Result("c", text)),
)


@given(strategies.lists(PARTS, max_size=5))
def test_no_message_has_more_tokens_than_bytes(parts: list[Any]) -> None:
    written = "".join(
        part.name + part.arguments if isinstance(part, Call) else part.text for part in parts
    )
    message = Message("user", tuple(parts))

    assert len(written.encode("utf-8", "replace")) < estimating.bound([message])
    assert estimating.weight(message) <= estimating.bound([message])


def test_a_purse_without_limits_asks_for_nothing(database: str, model: Model) -> None:
    run = limited()
    base.db.close_all()

    assert Purse(model, "exec_1").open(run, asking(TASK)) == asking(TASK).options
    assert base.db.is_closed()
