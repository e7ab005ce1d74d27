"""The tools an agent is given, and the box that runs them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from jsonschema import Draft202012Validator

from models import insisting
from models.base import DEEPEST, is_deep
from models.errors import DomainError
from models.logs import log
from workers.agents.tools import (
    delegation,
    executor,
    files,
    history,
    lifecycle,
    messaging,
    onboarding,
    projects,
    pull_requests,
    search,
    shell,
    skills,
    tasks,
)
from workers.agents.tools.base import Awaited, Bench, Effect, Tool, ToolError, Verdict, tidy
from workers.agents.tools.tree import OutOfBounds
from workers.halting import DeadlinePassed, Halt, Stopped
from workers.llm.base import Call, ModelError, Result, ToolSpec
from workers.sandboxes.base import SandboxUnavailable
from workers.workspaces import WorkspaceError

BOARDS = (projects, tasks, history, pull_requests)
GROUPS = (
    *(files, shell, search, delegation, lifecycle, executor),
    *(*BOARDS, skills, messaging, onboarding),
)
TABLE: Mapping[str, Tool] = {tool.name: tool for group in GROUPS for tool in group.TOOLS}
STEP_ENDINGS = {tool.name for tool in lifecycle.TOOLS}
EXECUTOR_ENDINGS = {tool.name for tool in executor.TOOLS}
Withheld = Callable[[], Collection[str]]
BOARD = {tool.name for group in BOARDS for tool in group.TOOLS}
TALKING = {tool.name for group in (delegation, messaging) for tool in group.TOOLS}
FOR_PLANNERS = TALKING | BOARD  # and never for executors
ONBOARDING = {tool.name for tool in onboarding.TOOLS}  # for its chats alone
BY_NAME = FOR_PLANNERS | ONBOARDING | EXECUTOR_ENDINGS  # offered when named
# What is no answer of a tool's, but for those who drive the step: its end, delegation, outages.
PASSING = (
    *(Stopped, DeadlinePassed, Awaited, *insisting.LOST),
    *(ModelError, SandboxUnavailable, WorkspaceError),
)
BROKEN = "{name} broke ({error}). The fault is this server's, whose log shows it: go another way."
UNCERTAIN = "Whether it has had an effect is not known: find out before you go on."


def usual(*more: str) -> set[str]:
    """The tools that need not be named, and these."""
    return (TABLE.keys() - BY_NAME) | (TABLE.keys() & set(more))


class Toolbox:
    """The tools of one step over its workbench; remembers how the agent ended it."""

    def __init__(
        self,
        bench: Bench,
        allowed: Collection[str] | None = None,
        withheld: Withheld = frozenset,
        open_ended: bool = False,
    ) -> None:
        """`allowed` None allows every tool that need not be named to be offered.

        `withheld` tells, whenever it is asked, which of them the agent may not use just now. There
        is always a way to end the step: `complete` and `fail`, unless others are named; where it
        is `open_ended` there is none, because it ends when the model has no more to say.
        """
        self.verdict: Verdict | None = None
        self._bench = bench
        self._withheld = withheld
        named = usual() if allowed is None else TABLE.keys() & set(allowed)
        endings = EXECUTOR_ENDINGS if EXECUTOR_ENDINGS & named else STEP_ENDINGS
        if endings is EXECUTOR_ENDINGS:
            named -= FOR_PLANNERS | ONBOARDING
        named = (named - STEP_ENDINGS) | (set() if open_ended else endings)
        self._all = {name: tool for name, tool in TABLE.items() if name in named}
        self._tools = self._all

    @property
    def declared(self) -> tuple[str, ...]:
        """The outputs the step owes."""
        return self._bench.declared

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The tools as a model is to be told of them now; until asked again no other runs."""
        gone = {name for name in self._withheld() if not self.ends(name)}
        self._tools = {name: tool for name, tool in self._all.items() if name not in gone}
        return tuple(tool.spec for tool in self._tools.values())

    def effect(self, name: str) -> Effect:
        """What calling the tool may change."""
        effect = self._all[name].effect if name in self._all else "none"
        return "tree" if effect == "world" and self._bench.contained else effect

    def begins(self, act: str) -> None:
        """Name the act under way, the same at each try."""
        if self._bench.mandate is not None:
            self._bench.mandate.act = act

    def watched(self, call: Mapping[str, Any]) -> None:
        """Name the call under way for whoever watches."""
        if self._bench.ear is not None:
            self._bench.ear.begins(call)

    def ends(self, name: str) -> bool:
        """Whether calling the tool ends the step; it changes nothing else."""
        return name in self._all and self._all[name].lifecycle

    def run(self, call: Call, halt: Halt) -> Result:
        """The tool's answer, or what was wrong with the call or the tool.

        Raises what `halt` raises, Awaited where the tool has others do the work, and what keeps
        this worker from going on. A mistake in a tool would break each try at the step in turn.
        """
        try:
            return Result(call.id, tidy(self._bench.blotted(self._act(call, halt))))
        except (ToolError, OutOfBounds, DomainError) as error:
            return Result(call.id, tidy(self._bench.blotted(str(error))), is_error=True)
        except OSError as error:
            return Result(call.id, self._bench.blotted(_in_words(error)), is_error=True)
        except PASSING:
            raise
        except Exception as error:
            log.exception("a tool broke", tool=call.name)
            return Result(call.id, self._broken(call.name, error), is_error=True)
        finally:
            if self._bench.ear is not None:
                self._bench.ear.ends()

    def _broken(self, name: str, error: Exception) -> str:
        told = BROKEN.format(name=name, error=type(error).__name__)
        return told if self.effect(name) == "none" else f"{told} {UNCERTAIN}"

    def _act(self, call: Call, halt: Halt) -> str:
        tool = self._tools.get(call.name)
        if tool is None:
            raise ToolError(f"there is no tool {call.name}: use {', '.join(self._tools)}")
        answer = tool.act(self._bench, _arguments(call, tool.spec), halt)
        if isinstance(answer, str):
            return answer
        self.verdict = self.verdict or answer
        return f"The step is over: {answer.kind}."


def _arguments(call: Call, spec: ToolSpec) -> dict[str, Any]:
    """The call's arguments with defaults filled in; ToolError when they do not fit."""
    try:
        given = _read(call.arguments or "{}")
    except (ValueError, RecursionError) as error:
        raise ToolError(f"the arguments of {spec.name} are not valid JSON: {error}") from error
    fault = next(Draft202012Validator(spec.parameters).iter_errors(given), None)
    if fault:
        where = f" ({'.'.join(map(str, fault.absolute_path))})" if fault.absolute_path else ""
        raise ToolError(f"the arguments of {spec.name} do not fit{where}: {fault.message[:500]}")
    properties = spec.parameters["properties"]
    defaults = {key: item["default"] for key, item in properties.items() if "default" in item}
    return {**defaults, **_tidied(given, spec.parameters)}


def _read(text: str) -> Any:
    """JSON as rows can hold it; ValueError for what only Python takes for JSON."""
    given = json.loads(text, strict=False, parse_constant=_finite, parse_float=_finite)
    if is_deep(given):
        raise ValueError(f"nested deeper than {DEEPEST} levels")
    return given


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is no number that JSON has")
    return number


def _tidied(value: Any, schema: Mapping[str, Any]) -> Any:
    """The arguments that the schema names, with every text in them fit for files, argv and rows.

    What a model adds of its own is left out: tools hand all of them on, to where one more would be
    a column, or somebody's name. JSON Schema calls 20.0 an integer, as some models write it; Python
    does not.
    """
    if isinstance(value, str):
        return tidy(value)
    if isinstance(value, float) and schema.get("type") == "integer":
        return int(value)
    if isinstance(value, list):
        return [_tidied(item, schema.get("items", {})) for item in value]
    if isinstance(value, dict):
        known = schema.get("properties", {})
        free = "properties" not in schema or schema.get("additionalProperties", False)
        kept = {key: item for key, item in value.items() if free or key in known}
        return {tidy(key): _tidied(item, known.get(key, {})) for key, item in kept.items()}
    return value


def _in_words(error: OSError) -> str:
    """What went wrong with a file, by the name the agent gave it."""
    words = {
        FileNotFoundError: "there is no such file or folder",
        NotADirectoryError: "a part of the path is not a folder (links are not followed)",
        IsADirectoryError: "it is a folder",
        PermissionError: "permission denied",
    }
    reason = words.get(type(error), error.strerror or "the file system refused")
    return f"{error.filename}: {reason}" if isinstance(error.filename, str) else reason
