"""The live view: what events become, and how that looks."""

from collections.abc import Iterable
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from workers.drawing import clock, count, plain, render, summary
from workers.terminal import View, kind_of, length_of

RUN = {"id": "run_1", "pipeline_id": "engineering", "task": "Build a todo app"}
PLAN = [
    {"id": "DESIGN", "agent": "finn"},
    {"id": "IMPLEMENT", "agent": "yukihiro", "loop": {"over": "tasks"}},
]


def event(kind: str, at: int, step: str | None = None, **data: Any) -> dict[str, Any]:
    about = {"stepId": step} if step else {}
    return {"type": kind, "runId": "run_1", **about, **data, "timestamp": 1_000_000 + at}


def started(step: str, at: int, agent: str = "finn", model: str = "openai/gpt-5") -> dict[str, Any]:
    return event("step_started", at, step, agentId=agent, model=model, attempt=1)


def paid(step: str, cost: float | None, approximate: bool = False) -> dict[str, Any]:
    return {
        "type": "llm_call",
        "run_id": "run_1",
        "step_id": step,
        "input_tokens": 1000,
        "output_tokens": 50,
        "cost_total": cost,
        "cost_approximate": approximate,
        "timestamp": 1_000_000,
    }


def seen(events: Iterable[dict[str, Any]]) -> View:
    view = View.of(RUN, PLAN)
    for happened in events:
        view = view.after(happened)
    return view


def drawn(view: View, at: int = 0, stream: bool = False) -> str:
    console = Console(width=120, file=StringIO())
    console.print(render(view, 1_000_000 + at, stream))
    return console.file.getvalue()


def test_steps_to_come_show_from_the_start() -> None:
    text = drawn(seen([event("run_created", 0, pipelineId="engineering")]))
    assert "DESIGN  finn  waiting" in text
    assert "IMPLEMENT  yukihiro  waiting" in text


def test_a_running_step_shows_agent_time_tokens_and_cost() -> None:
    view = seen([event("run_created", 0), started("DESIGN", 1000), paid("DESIGN", 0.0123)])
    assert "▶ DESIGN  finn  running  2.5 s  1.0k in / 50 out, $0.0123  openai/gpt-5" in drawn(
        view, 3500
    )


def test_time_stands_still_once_a_step_is_over() -> None:
    over = [started("DESIGN", 1000), event("step_complete", 3000, "DESIGN", outputs={})]
    assert "✔ DESIGN  finn  completed  2.0 s" in drawn(seen(over), 99_000)


def test_a_retry_shows_why_and_adds_its_time() -> None:
    events = [
        started("DESIGN", 0),
        event("step_failed", 1000, "DESIGN", error="missing outputs", willRetry=True),
    ]
    assert "↻ DESIGN  finn  retrying" in drawn(seen(events))
    events += [
        event("step_retrying", 1000, "DESIGN", feedback="[RETRY 1/3] missing outputs"),
        event("step_queued", 1100, "DESIGN", agentId="finn"),
        started("DESIGN", 5000),
    ]
    text = drawn(seen(events), 6000)
    assert "running ×2  2.0 s" in text
    assert "[RETRY 1/3] missing outputs" in text


def test_a_loop_shows_how_far_it_is_when_its_length_is_known() -> None:
    tasks = '{"tasks": ["a", "b", "c"]}'
    events = [
        started("DESIGN", 0),
        event("step_complete", 1, "DESIGN", outputs={"tasks": tasks}),
        started("IMPLEMENT", 2),
        event("loop_item_complete", 3, "IMPLEMENT", itemId="1", itemIndex=0),
        event("loop_item_failed", 4, "IMPLEMENT", itemId="2", itemIndex=1, error="no"),
    ]
    assert "1/3, 1 failed" in drawn(seen(events))


@pytest.mark.parametrize(
    ("value", "length"),
    [
        ('["a"]', 1),
        ('{"x": [1, 2], "y": 3}', 2),
        ("plain text", None),
        ('{"a": [], "b": []}', None),
    ],
)
def test_the_length_of_a_loop_is_known_for_lists_only(value: str, length: int | None) -> None:
    assert length_of(value) == length


def test_scripted_and_approximate_are_said_plainly() -> None:
    scripted = seen([started("DESIGN", 0, model="scripted/demo")])
    assert "scripted: no model is thinking here" in drawn(scripted)
    unknown = seen([started("DESIGN", 0), paid("DESIGN", None, approximate=True)])
    assert "$0.0000 (approximate)" in drawn(unknown)


def test_streaming_text_shows_on_request_only() -> None:
    view = seen([started("DESIGN", 0), event("agent_output", 1, "DESIGN", chunk="Let us see")])
    assert "Let us see" not in drawn(view)
    assert "Let us see" in drawn(view, stream=True)


def test_each_answer_of_a_model_begins_on_a_line_of_its_own() -> None:
    first = event("agent_output", 1, "DESIGN", chunk="I look.")
    second = event("agent_output", 2, "DESIGN", chunk="I write.")
    assert (
        seen([started("DESIGN", 0), first, paid("DESIGN", 0), second]).text == "I look.\nI write."
    )


def test_steps_that_no_road_led_to_are_not_waiting_in_the_end() -> None:
    assert "DESIGN  finn  not reached" in drawn(seen([event("run_complete", 5, outputs={})]))


def test_what_a_model_says_is_never_read_as_markup() -> None:
    failed = event("step_failed", 1, "DESIGN", error="[bold]no[/bold] [/nonsense]")
    assert "[bold]no[/bold] [/nonsense]" in drawn(seen([started("DESIGN", 0), failed]))


def test_a_cancelled_run_is_not_a_failed_one() -> None:
    view = seen([event("run_failed", 5, error="stopped by human", cancelled=True)])
    assert (view.state, view.over) == ("cancelled", True)


def test_a_restart_begins_the_picture_anew() -> None:
    first = [started("DESIGN", 0), paid("DESIGN", 1.0), event("run_failed", 9, error="no")]
    view = seen([*first, event("run_created", 100)])
    assert view.state == "pending"
    assert view.step("DESIGN").state == "waiting"
    assert view.spent.calls == 0


def test_the_older_names_mean_the_same() -> None:
    legacy = {"type": "STEP_OUTPUT", "legacyType": "agent_output", "stepId": "DESIGN"}
    assert kind_of(legacy) == "agent_output"


def test_the_end_tells_outputs_files_and_totals() -> None:
    events = [event("run_created", 0), started("DESIGN", 1), paid("DESIGN", 0.5)]
    view = seen([*events, event("run_complete", 90_000, outputs={"url": "http://x"})])
    run = {"outputs": {}, "workspace_path": "/data/run_1", "workspace_commit": "0123456789abcdef"}
    console = Console(width=120, file=StringIO())
    console.print(summary(view, run, 1_000_000))
    text = console.file.getvalue()
    assert "url  http://x" in text
    assert "/data/run_1 (commit 0123456789ab)" in text
    assert "completed in 1:30, 1.0k in / 50 out, $0.5000" in text


def test_without_a_terminal_each_event_is_a_line() -> None:
    view, lines = View.of(RUN, PLAN), []
    for happened in [
        event("run_created", 0, taskDescription="Build"),
        started("DESIGN", 100, model="scripted/demo"),
        event("agent_output", 150, "DESIGN", chunk="hm"),
        event("tool_call_start", 200, "DESIGN", toolName="write", toolCallId="1", args="{}"),
        event("step_complete", 1100, "DESIGN", outputs={}),
        event("run_complete", 1200, outputs={}),
    ]:
        view = view.after(happened)
        lines.append(plain(happened, view))
    assert lines == [
        "[0.0 s] run_1 engineering: Build",
        "[0.1 s] DESIGN started by finn on scripted/demo (scripted)",
        None,
        "[0.2 s] DESIGN calls write",
        "[1.1 s] DESIGN completed (1.0 s, 0 in / 0 out, free)",
        "[1.2 s] run_1 completed (0 in / 0 out, free)",
    ]


def test_trouble_and_the_time_it_is_given_are_lines_too() -> None:
    view = seen([started("DESIGN", 0)])
    lines = [
        plain(event("warning", 100, "DESIGN", message="commands run unconfined"), view),
        plain(event("step_retrying", 1000, "DESIGN", feedback="slow down", delay=90), view),
        plain(event("step_retrying", 1000, "DESIGN", feedback="do better", delay=0), view),
    ]
    assert [line and line.partition("] ")[2] for line in lines] == [
        "DESIGN warning: commands run unconfined",
        "DESIGN goes on in 1:30: slow down",
        None,
    ]


def test_figures_are_short() -> None:
    assert [count(n) for n in (7, 12_345, 4_000_000)] == ["7", "12.3k", "4.0M"]
    assert [clock(ms) for ms in (4200, 185_000, 3_727_000)] == ["4.2 s", "3:05", "1:02:07"]


KINDS = [
    "run_created", "run_started", "step_queued", "step_started", "step_complete", "step_failed",
    "step_retrying", "step_cancelled", "loop_item_complete", "agent_output", "tool_call_start",
    "tool_call_end", "llm_call", "run_complete", "run_failed", "warning",
    "never_heard_of",
]  # fmt: skip
FIELDS = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS), "timestamp": st.integers(0, 10**7)},
    optional={
        "stepId": st.sampled_from(["DESIGN", "IMPLEMENT", "NEW"]),
        "outputs": st.dictionaries(st.sampled_from(["tasks", "x"]), st.sampled_from(["[1]", "?"])),
        "error": st.text(max_size=5),
        "chunk": st.text(max_size=5),
        "willRetry": st.booleans(),
    },
)


@given(st.lists(FIELDS, max_size=30))
def test_any_events_in_any_order_can_be_drawn(events: list[dict[str, Any]]) -> None:
    view = seen(events)
    drawn(view, stream=True)
    for happened in events:
        plain(happened, view)
