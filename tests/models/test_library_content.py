"""What ships: eleven agents and eight pipelines, held to the promises they make to each other."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from models import grammar
from models.definitions import Definition, StepSpec

LIBRARY = Path(grammar.__file__).parent / "library"
AGENTS = ["chieko", "eric", "finn", "grace", "holt", "jim", "luke", "shigeo"]
AGENTS += ["stas", "yang", "yukihiro"]
PERSONA = ("IDENTITY.md", "SOUL.md", "DECISION.md", "AGENTS.md")
LONGEST_PERSONA = 9_000  # characters; all four files go into every prompt
CONFIG_KEYS = {
    "thinking_level",
    "thread_mode",
    "max_concurrent_steps",
    "pulse_enabled",
    "pulse_interval_minutes",
    "pulse_offset_minutes",
    "pulse_columns",
    "pulse_container_timeout_ms",
    "coordination",
}
GIVEN = {"task_description", "human_context", "project_name", "project_vision"}
GIVEN |= {"additional_context", "current_item", "completed_items", "loop_index", "loop_total"}
# Names that runs started from an issue or a project bring along in their JSON context.
BROUGHT = {
    "resolve": {"issue_number", "issue_title", "issue_body", "repo_full_name"},
    "planning": {"project_description", "repository"},
}
GOOD = {"APPROVED", "PASS", "SUCCESS"}
GRAPHS = {
    "engineering": {
        "SPEC > DESIGN",
        "DESIGN > UX",
        "UX > IMPLEMENT",
        "IMPLEMENT each> REVIEW",
        "IMPLEMENT all> DEPLOY",
        "REVIEW APPROVED> TEST",
        "REVIEW CHANGES_REQUESTED> IMPLEMENT",
        "TEST PASS> next item",
        "TEST FAIL> IMPLEMENT",
        "DX > DEPLOY",
        "DEPLOY FAIL> IMPLEMENT",
    },
    "feature": {"DESIGN > IMPLEMENT", "IMPLEMENT > REVIEW", "REVIEW > TEST"},
    "bugfix": {"FIX > VALIDATE", "VALIDATE FAIL> FIX"},
    "resolve": {
        "ANALYZE > IMPLEMENT",
        "IMPLEMENT > VALIDATE",
        "VALIDATE PASS> PR",
        "VALIDATE FAIL> IMPLEMENT",
    },
    "planning": {
        "DECOMPOSE > VALIDATE",
        "VALIDATE > DECOMPOSE_SUBTASKS",
        "DECOMPOSE_SUBTASKS > VALIDATE_SUBTASKS",
    },
    "planning-agentic": set(),
    "import": {"SURVEY > QUALITY", "QUALITY > OPERATIONS", "OPERATIONS > SUMMARY"},
    "execute": set(),
}


def pipeline(name: str) -> Definition:
    parsed = grammar.parse((LIBRARY / "pipelines" / f"{name}.yml").read_text(), AGENTS)
    assert parsed.definition is not None, [str(error) for error in parsed.errors]
    return parsed.definition


def arrows(step: StepSpec) -> Iterator[str]:
    if step.on_complete:
        yield f"{step.id} > {step.on_complete}"
    if step.loop:
        yield f"{step.id} each> {step.loop.on_each_complete}"
        yield f"{step.id} all> {step.loop.on_all_complete}"
    for value, action in step.on_result.items():
        if action.goto or action.continue_loop:
            yield f"{step.id} {value}> {action.goto or 'next item'}"


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object schema inside a JSON Schema."""
    if isinstance(schema, list):
        for each in schema:
            yield from objects(each)
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        yield from objects(list(schema.values()))


def test_exactly_the_promised_pipelines_and_agents_ship() -> None:
    assert {path.stem for path in (LIBRARY / "pipelines").iterdir()} == set(GRAPHS)
    assert sorted(path.name for path in (LIBRARY / "agents").iterdir()) == AGENTS


@pytest.mark.parametrize("name", GRAPHS)
def test_a_shipped_pipeline_is_valid_and_only_dx_runs_on_demand(name: str) -> None:
    parsed = grammar.parse((LIBRARY / "pipelines" / f"{name}.yml").read_text(), AGENTS)

    assert parsed.errors == []
    assert len(parsed.warnings) == (name == "engineering")
    assert all("`DX`" in str(warning) for warning in parsed.warnings)
    assert pipeline(name).id == name


@pytest.mark.parametrize("name", GRAPHS)
def test_the_steps_of_a_shipped_pipeline_lead_where_its_users_expect(name: str) -> None:
    assert {arrow for step in pipeline(name).steps for arrow in arrows(step)} == GRAPHS[name]


@pytest.mark.parametrize("name", GRAPHS)
def test_every_name_in_a_step_input_is_handed_over_or_given(name: str) -> None:
    definition = pipeline(name)
    known = {key for step in definition.steps for key in step.outputs}
    known |= GIVEN | BROUGHT.get(name, set())

    for step in definition.steps:
        asked = set(re.findall(r"(?:\{\{|\{% if) ?(\w+)", step.input))
        assert asked <= known, step.id


@pytest.mark.parametrize("name", GRAPHS)
def test_every_step_says_what_to_hand_over_and_when_to_choose_a_result(name: str) -> None:
    for step in pipeline(name).steps:
        assert step.outputs, step.id
        assert step.output_schema or all(key in step.input for key in step.outputs), step.id
        assert all(value in step.input for value in step.on_result), step.id


def test_the_good_result_is_listed_first_and_carried_by_an_output_of_its_own() -> None:
    for name in GRAPHS:
        for step in pipeline(name).steps:
            if step.on_result:
                assert next(iter(step.on_result)) in GOOD, step.id
                assert step.result_key in step.outputs, step.id


def test_the_engineering_loop_works_through_what_the_design_handed_over() -> None:
    definition = pipeline("engineering")
    loop = definition.step("IMPLEMENT").loop

    assert loop is not None
    assert loop.over in definition.step("DESIGN").outputs
    deploy = definition.step("DEPLOY")
    assert [bool(action.notify) for action in deploy.on_result.values()] == [True, True]
    assert deploy is definition.steps[-1]  # SUCCESS ends the run


def test_thinkers_get_no_shell_and_builders_get_everything() -> None:
    definition = pipeline("engineering")

    for step_id in ("SPEC", "UX"):
        assert "bash" not in (definition.step(step_id).tools or ()), step_id
        assert "write" in (definition.step(step_id).tools or ()), step_id
    for step_id in ("IMPLEMENT", "TEST", "DEPLOY"):
        assert definition.step(step_id).tools is None, step_id


def test_the_feature_pipeline_fits_a_small_window() -> None:
    definition = pipeline("feature")

    assert len({step.agent for step in definition.steps}) >= 2
    for step in definition.steps:
        assert len(step.input) <= 700, step.id
        assert len(step.outputs) <= 2, step.id


def test_planning_asks_for_shapes_every_strict_provider_accepts() -> None:
    expected = {
        "DECOMPOSE": ("task_breakdown_json", "tasks"),
        "VALIDATE": ("validated_tasks_json", "tasks"),
        "DECOMPOSE_SUBTASKS": ("subtask_breakdown_json", "subtasks"),
        "VALIDATE_SUBTASKS": ("final_subtasks_json", "subtasks"),
    }
    for step in pipeline("planning").steps:
        output, items = expected[step.id]
        assert step.outputs == (output,)
        assert step.output_schema is not None
        assert list(step.output_schema.schema["properties"]) == [items]
        for each in objects(step.output_schema.schema):
            assert each["required"] == list(each["properties"]), step.id
            assert each["additionalProperties"] is False, step.id


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_says_who_it_is_under_one_heading(agent: str) -> None:
    identity = (LIBRARY / "agents" / agent / "IDENTITY.md").read_text()
    facts = dict(re.findall(r"^- \*\*(.+?):\*\* (.+)$", identity, re.MULTILINE))

    assert re.findall(r"^# (.+)$", identity, re.MULTILINE) == [facts["Name"]]
    assert facts["Name"].lower() == agent
    assert 1 <= len(facts["Emoji"]) <= 2
    assert facts["Role"]
    assert facts["Description"].endswith(".")


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_is_complete_and_short_enough_for_every_prompt(agent: str) -> None:
    folder = LIBRARY / "agents" / agent
    texts = [(folder / name).read_text() for name in PERSONA]

    assert {path.name for path in folder.iterdir()} == {*PERSONA, "config.yml"}
    assert 6_000 < sum(map(len, texts)) < LONGEST_PERSONA
    assert all(text.startswith("# ") and text.endswith(".\n") for text in texts)
    assert "## Done means" in texts[1]
    assert "## What you do not do, and what instead" in texts[1]


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_knows_all_its_colleagues_but_not_itself(agent: str) -> None:
    text = (LIBRARY / "agents" / agent / "AGENTS.md").read_text()

    assert sorted([*re.findall(r"\(`(\w+)`\)", text), agent]) == AGENTS


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_leaves_model_and_spending_to_the_operator(agent: str) -> None:
    config = yaml.safe_load((LIBRARY / "agents" / agent / "config.yml").read_text())

    assert set(config) == CONFIG_KEYS
    assert config["thinking_level"] in {"low", "medium", "high"}
    assert config["pulse_enabled"] is False
    assert config["pulse_offset_minutes"] < config["pulse_interval_minutes"]


def test_no_two_agents_share_a_paragraph_beyond_what_they_know_of_each_other() -> None:
    users: dict[str, set[str]] = defaultdict(set)
    for agent in AGENTS:
        for name in PERSONA[:-1]:
            text = (LIBRARY / "agents" / agent / name).read_text()
            for line in re.split(r"\n\n|\n(?=- |\d\. )", text):
                if not line.lstrip().startswith("#"):
                    users[line.strip()].add(agent)

    assert {line: agents for line, agents in users.items() if len(agents) > 1} == {}


def test_pulses_start_at_different_minutes() -> None:
    configs = [
        yaml.safe_load((LIBRARY / "agents" / agent / "config.yml").read_text()) for agent in AGENTS
    ]

    assert len({config["pulse_offset_minutes"] for config in configs}) == len(AGENTS)
