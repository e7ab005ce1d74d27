"""The list under `steps`: each step read with the defaults that apply to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import jsonschema

from models.definitions import Action, AgentSpec, Loop, Notify, OutputSchema, StepSpec
from models.grammar_fields import Fields, Notes
from models.grammar_yaml import Node

STEP_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
TEMPLATE_NAME = re.compile(r"[A-Za-z0-9_]{1,128}\Z")
THINKING_LEVELS = ("off", "minimal", "low", "medium", "high", "xhigh")
LONGEST_MODEL = 256  # what the rows of a run hold of a model's name
METHODS = ("response_format", "tool_use")

ALLOWANCE_KEYS = (
    "model",
    "tools",
    "maxRetries",
    "timeout",
    "timeoutSeconds",
    "maxTurns",
    "maxOutputTokens",
    "temperature",
    "thinkingLevel",
)
STEP_KEYS = (
    *("id", "agent", "description", "type", "input", "outputs", "onComplete", "onResult"),
    *("onFailure", "loop", "outputSchema", "outputMethod", *ALLOWANCE_KEYS),
)
LOOP_KEYS = ("over", "onEachComplete", "onAllComplete", "onItemFail")
ACTION_KEYS = ("goto", "continueLoop", "retry", "maxRetries", "notify")


@dataclass(frozen=True)
class Allowance:
    """What a step may use, as one mapping says it; None where it says nothing."""

    model: str | None = None
    tools: tuple[str, ...] | None = None
    max_retries: int | None = None
    timeout: int | None = None
    max_turns: int | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    thinking_level: str | None = None


# What applies when neither the step nor the pipeline's defaults say anything.
BUILT_IN = Allowance(max_retries=3, max_turns=999, max_output_tokens=32_768, temperature=0.7)


def read_allowance(fields: Fields) -> Allowance:
    """The limits in a step or in `defaults`; `timeoutSeconds` wins over `timeout`."""
    seconds = fields.whole("timeoutSeconds", 1, 86_400)
    timeout = fields.whole("timeout", 1, 86_400)
    return Allowance(
        model=fields.text("model", LONGEST_MODEL),
        tools=fields.texts("tools"),
        max_retries=fields.whole("maxRetries", 0, 20),
        timeout=timeout if seconds is None else seconds,
        max_turns=fields.whole("maxTurns", 1, 2000),
        max_output_tokens=fields.whole("maxOutputTokens", 1, 10_000_000),
        temperature=fields.number("temperature", 0, 2),
        thinking_level=fields.choice("thinkingLevel", THINKING_LEVELS),
    )


def layered(*layers: Allowance) -> Allowance:
    """The first layer that says something wins, key by key."""
    chosen = {}
    for name in Allowance.__dataclass_fields__:
        said = (getattr(layer, name) for layer in layers)
        chosen[name] = next((value for value in said if value is not None), None)
    return Allowance(**chosen)


def agent_allowance(agent: AgentSpec | None) -> Allowance:
    if agent is None:
        return Allowance()
    return Allowance(agent.model, agent.tools, thinking_level=agent.thinking_level)


def read_step(
    node: Node, notes: Notes, defaults: Allowance, agents: Mapping[str, AgentSpec]
) -> StepSpec:
    """One step, every default applied; what it refers to is checked later, with the whole graph."""
    fields = Fields(node, notes, STEP_KEYS)
    step_id = fields.required("id")
    if step_id.strip() and not STEP_ID.match(step_id):
        notes.error(fields.at("id"), "may hold letters, digits, _ and - only, at most 64")
    agent = fields.required("agent")
    own = read_allowance(fields)
    limits = layered(own, agent_allowance(agents.get(agent)), defaults, BUILT_IN)
    return StepSpec(
        id=step_id,
        agent=agent,
        input=fields.required("input"),
        description=fields.text("description") or "",
        outputs=read_outputs(fields),
        on_complete=fields.text("onComplete"),
        on_result=read_actions(fields),
        on_failure=read_failure(fields),
        loop=read_loop(fields),
        output_schema=read_schema(fields),
        **{name: getattr(limits, name) for name in Allowance.__dataclass_fields__},
    )


def read_outputs(fields: Fields) -> tuple[str, ...]:
    outputs = fields.texts("outputs") or ()
    for name in outputs:
        if not TEMPLATE_NAME.match(name):
            message = f"output `{name[:80]}` cannot be named in a template"
            fields.notes.warn(fields.at("outputs"), message)
    return outputs


def read_failure(fields: Fields) -> str | None:
    node = fields.mapping("onFailure")
    return None if node is None else Fields(node, fields.notes, ("goto",)).required("goto") or None


def read_loop(fields: Fields) -> Loop | None:
    kind = fields.choice("type", ("standard", "loop"))
    node = fields.mapping("loop")
    if node is None:
        if kind == "loop":
            fields.notes.error(fields.at("type"), "a loop needs a `loop` block that says over what")
        return None
    if kind == "standard":
        fields.notes.warn(fields.at("type"), "the `loop` block makes this step a loop")
    loop = Fields(node, fields.notes, LOOP_KEYS)
    on_item_fail = loop.choice("onItemFail", ("fail", "continue")) or "fail"
    return Loop(
        over=loop.required("over"),
        on_each_complete=loop.text("onEachComplete"),
        on_all_complete=loop.text("onAllComplete"),
        on_item_fail="continue" if on_item_fail == "continue" else "fail",
    )


def read_actions(fields: Fields) -> dict[str, Action]:
    node = fields.mapping("onResult")
    actions: dict[str, Action] = {}
    seen: set[str] = set()
    for value, action_node in ({} if node is None else node.fields).items():
        folded = value.strip().casefold()
        if not folded:
            fields.notes.error(action_node, "a result value must not be blank")
        elif folded in seen:
            fields.notes.error(action_node, "names a result twice (case does not count)")
        elif not isinstance(action_node.value, dict):
            fields.notes.error(action_node, "must be a mapping such as {goto: STEP}")
        else:
            actions[value] = read_action(Fields(action_node, fields.notes, ACTION_KEYS))
        seen.add(folded)
    return actions


def read_action(fields: Fields) -> Action:
    action = Action(
        goto=fields.text("goto"),
        continue_loop=fields.flag("continueLoop", False),
        retry=fields.flag("retry", False),
        max_retries=fields.whole("maxRetries", 0, 20),
        notify=read_notify(fields),
    )
    moves = (action.goto is not None) + action.continue_loop + action.retry
    if moves > 1:
        fields.notes.error(fields.node, "goto, continueLoop and retry exclude each other")
    if action.max_retries is not None and not action.retry:
        fields.notes.warn(fields.at("maxRetries"), "has no meaning without `retry: true`")
    return action


def read_notify(fields: Fields) -> Notify | None:
    node = fields.mapping("notify")
    if node is None:
        return None
    notify = Fields(node, fields.notes, ("agent", "message"))
    return Notify(notify.required("agent"), notify.required("message"))


def read_schema(fields: Fields) -> OutputSchema | None:
    method = fields.choice("outputMethod", METHODS)
    node = fields.mapping("outputSchema")
    if node is None:
        if method is not None:
            place = fields.at("outputMethod")
            fields.notes.warn(place, "has no meaning without `outputSchema`")
        return None
    schema = Fields(node, fields.notes, ("name", "strict", "schema"))
    body = schema.mapping("schema")
    if body is None and schema.given("schema") is None:
        schema.required("schema")
    if body is not None:
        check_schema(body, fields.notes)
    return OutputSchema(
        name=schema.required("name"),
        schema={} if body is None else body.value,
        strict=schema.flag("strict", True),
        method="tool_use" if method == "tool_use" else "response_format",
    )


def check_schema(node: Node, notes: Notes) -> None:
    """Refuse what is no JSON Schema, pointing at the part that is wrong."""
    try:
        jsonschema.Draft202012Validator.check_schema(node.value)
    except jsonschema.SchemaError as error:
        place = node
        for key in error.absolute_path:
            parts = place.items if isinstance(key, int) else place.fields
            place = cast("Mapping[int | str, Node]", parts)[key]
        notes.error(place, f"is not valid JSON Schema: {error.message[:200]}")
    except (OverflowError, RecursionError) as error:  # from compiling a monstrous `pattern`
        notes.error(node, f"is not valid JSON Schema: {error}")
