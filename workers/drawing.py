"""Drawing the view of a run: a live tree for a terminal, plain lines for everything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from workers.terminal import Event, Spent, StepView, View, kind_of

MARKS = {
    "waiting": ("·", "dim"),
    "queued": ("…", "cyan"),
    "running": ("▶", "bold cyan"),
    "retrying": ("↻", "yellow"),
    "completed": ("✔", "green"),
    "failed": ("✘", "red"),
    "cancelled": ("◼", "yellow"),
}
STREAM_LINES = 12


def render(view: View, now: int, stream: bool = False) -> RenderableType:
    """The run as a tree at time `now` (epoch milliseconds), its streaming text below on request."""
    tree = Tree(_heading(view, now), guide_style="dim")
    for step in view.steps:
        branch = tree.add(_line(step, now, "not reached" if view.over else "waiting"))
        for detail in _details(step):
            branch.add(detail)
    parts: list[RenderableType] = [tree]
    if stream and view.text and not view.over:
        tail = "\n".join(view.text.splitlines()[-STREAM_LINES:])
        parts.append(Panel(Text(tail), title=view.speaking, border_style="dim"))
    return Group(*parts)


def _heading(view: View, now: int) -> Text:
    mark, style = MARKS.get(view.state, ("·", "dim"))
    head = Text(f"{mark} {view.pipeline} ", style=style)
    head.append(f"{view.run_id} ", style="dim")
    head.append(f"{view.state}  {clock(view.elapsed(now))}  {spending(view.spent)}")
    head.append(f"\n{shortened(view.task, 100)}", style="italic")
    if any(step.scripted for step in view.steps):
        head.append("\nscripted: no model is thinking here, every answer is rehearsed", "yellow")
    return head


def _line(step: StepView, now: int, waiting: str) -> RenderableType:
    mark, style = MARKS.get(step.state, ("·", "dim"))
    line = Text(f"{mark} {step.id}", style=style)
    line.append(f"  {step.agent}", style="magenta")
    line.append(f"  {waiting if step.state == 'waiting' else step.state}", style=style)
    if step.executions > 1:
        line.append(f" ×{step.executions}")
    if step.executions:
        line.append(f"  {clock(step.elapsed(now))}")
    if step.spent.calls:
        line.append(f"  {spending(step.spent)}")
    if step.model:
        line.append(f"  {step.model}", style="dim")
    if step.state == "running" and step.doing:
        line.append(f"  {step.doing} …", style="cyan")
    return line


def _details(step: StepView) -> list[RenderableType]:
    details: list[RenderableType] = []
    if step.items is not None:
        details.append(_progress(step.items_done, step.items_failed, step.items))
    if step.note and step.state != "completed":
        details.append(Text(shortened(step.note, 160), style="yellow"))
    if step.error and step.state != "completed":
        details.append(Text(shortened(step.error, 300), style="red"))
    return details


def _progress(done: int, failed: int, total: int) -> RenderableType:
    row = Table.grid(padding=(0, 1))
    told = f"{done}/{total}" + (f", {failed} failed" if failed else "")
    row.add_row(ProgressBar(total=max(total, 1), completed=done + failed, width=24), Text(told))
    return row


def summary(view: View, run: Mapping[str, Any], now: int) -> RenderableType:
    """What a finished run leaves behind: its outputs, its files, what it took."""
    table = Table.grid(padding=(0, 2))
    known = view.outputs or run.get("outputs") or {}
    # what begins with an underscore is the raw form of what the other keys say
    outputs = {key: value for key, value in known.items() if not key.startswith("_")}
    for key, value in outputs.items():
        table.add_row(Text(key, style="bold"), Text(shortened(str(value), 400)))
    parts: list[RenderableType] = [Text("\nOutputs", style="bold underline"), table]
    if not outputs:
        parts[1] = Text("none", style="dim")
    parts.append(Text(f"\n{closing(view, run, now)}"))
    return Group(*parts)


def closing(view: View, run: Mapping[str, Any], now: int) -> str:
    """The last lines: where the files are, how it ended, what it took."""
    lines = []
    if run.get("workspace_path"):
        commit = str(run.get("workspace_commit") or "")[:12]
        lines.append(f"Files   {run['workspace_path']}" + (f" (commit {commit})" if commit else ""))
    took = f"{view.state} in {clock(view.elapsed(now))}, {spending(view.spent)}"
    lines.append(f"Run     {view.run_id} {took}")
    if view.error:
        lines.append(f"Error   {view.error}")
    return "\n".join(lines)


def plain(event: Event, view: View) -> str | None:
    """One line for an event where no live picture can be drawn; None for those not worth one."""
    kind = kind_of(event)
    step = view.step(str(event.get("stepId") or event.get("step_id") or ""))
    now = int(event.get("timestamp") or 0)
    at = f"[{clock(view.elapsed(now))}]"
    match kind:
        case "run_created":
            return f"{at} {view.run_id} {view.pipeline}: {shortened(view.task, 100)}"
        case "step_started":
            how = " (scripted)" if step.scripted else ""
            return f"{at} {step.id} started by {step.agent} on {step.model or '?'}{how}"
        case "step_complete":
            took = f"{clock(step.elapsed(now))}, {spending(step.spent)}"
            return f"{at} {step.id} completed ({'shared' if event.get('shared') else took})"
        case "step_failed" | "step_retrying" | "warning":
            told = _trouble(kind, event, step)
            return f"{at} {step.id} {told}" if told else None
        case "loop_item_complete" | "loop_item_failed":
            total = f"/{step.items}" if step.items is not None else ""
            return f"{at} {step.id} item {step.items_done + step.items_failed}{total} done"
        case "tool_call_start":
            return f"{at} {step.id} calls {event.get('toolName')}"
        case "run_complete" | "run_failed":
            return f"{at} {view.run_id} {view.state} ({spending(view.spent)})"
    return None


def _trouble(kind: str, event: Event, step: StepView) -> str | None:
    """What went wrong, or for how long a provider that did not answer is given time."""
    if kind == "warning":
        return f"warning: {event.get('message')}"
    if kind == "step_retrying":
        seconds, why = float(event.get("delay") or 0), shortened(str(event.get("feedback")), 300)
        return f"goes on in {clock(round(seconds * 1000))}: {why}" if seconds else None
    again = " (will be tried again)" if event.get("willRetry") else ""
    return f"failed{again}: {shortened(step.error, 300)}"


def spending(spent: Spent) -> str:
    """Tokens in and out, and what they cost."""
    cost = "free" if not spent.cost and not spent.approximate else f"${spent.cost:.4f}"
    if spent.approximate:
        cost = f"{cost} (approximate)"
    return f"{count(spent.input)} in / {count(spent.output)} out, {cost}"


def count(number: int) -> str:
    """A number short enough for a column: 950, 12.3k, 4.0M."""
    if number < 1000:
        return str(number)
    return f"{number / 1000:.1f}k" if number < 1_000_000 else f"{number / 1_000_000:.1f}M"


def clock(milliseconds: int) -> str:
    """A duration as a person reads it: 4.2 s, 3:05, 1:02:07."""
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def shortened(text: str, width: int) -> str:
    """The text on one line, cut with an ellipsis."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
