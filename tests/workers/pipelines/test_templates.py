"""What an input template becomes, and which variable wins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.pipelines.decisions import LoopView
from workers.pipelines.templates import Facts, render, unknown_names, variables


def facts(**rest) -> Facts:
    return Facts(task="build it", run_id="run_1", step_id="A", agent_id="ada", **rest)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{name}} and {{ name }}", "Ada and Ada"),
        ("{{nobody}}!", "!"),
        ("{% if name %}yes{% endif %}", "yes"),
        ("{% if blank %}yes{% else %}no{% endif %}", "no"),
        ("{%if name%}{{name}}{%endif%}", "Ada"),
        ("{% if nobody %}{{name}}{% endif %}.", "."),
        ("{% if a-b %}x{% endif %}", "{% if a-b %}x{% endif %}"),
        ("{% if name %}open", "{% if name %}open"),
        ("{{ a.b }} {{}} {name}", "{{ a.b }} {{}} {name}"),
    ],
)
def test_a_template_is_filled_in(template, text):
    assert render(template, {"name": "Ada", "blank": "  "}) == text


def test_values_are_never_looked_into_again():
    values = {"task": "{{secret}} {% if secret %}leak{% endif %}", "secret": "s3cret"}
    assert render("{{task}}", values) == values["task"]


@given(st.text(), st.dictionaries(st.sampled_from(("a", "b")), st.text()))
def test_any_text_renders_and_plain_text_stays_as_it_is(text, values):
    rendered = render(text, values)
    if "{" not in text:
        assert rendered == text


@pytest.mark.timeout(60)  # what backtracks takes hours
def test_a_template_made_to_be_slow_is_not():
    render("{% if a %}" * 100_000 + "{{ " * 100_000 + "{%" + " " * 100_000, {})


def test_unknown_names_can_be_told():
    assert unknown_names("{{a}} {{b}} {{ a }}", {"b": ""}) == ["a"]


def test_every_documented_variable_is_always_defined_w20():
    known = variables(facts())
    for name in (
        *("task_description", "human_context", "project_id", "project_name", "project_vision"),
        *("additional_context", "run_id", "step_id", "agent_id", "attempt", "retry_feedback"),
    ):
        assert name in known
    assert "current_item" not in known


def test_human_context_and_feedback_reach_the_prompt_w20():
    known = variables(facts(human_context="use Rust", feedback=("[RETRY 1/3] no",), execution=2))
    said = render("{{human_context}} {{retry_feedback}} {{attempt}}", known)
    assert said == "use Rust [RETRY 1/3] no 2"


def test_the_more_specific_source_wins():
    context = '{"project_name": "from context", "notes": "c", "task_description": "c", "n": 1}'
    known = variables(
        facts(
            human_context=context,
            project={"project_name": "the project", "project_vision": ""},
            outputs={"notes": "from a step", "run_id": "forged", "current_item": "forged"},
            loop=LoopView("L", 1, 3, "two", ("one",)),
        )
    )
    assert known["project_name"] == "the project"
    assert known["notes"] == "from a step"
    assert (known["task_description"], known["run_id"]) == ("build it", "run_1")
    assert (known["current_item"], known["completed_items"]) == ("two", '["one"]')
    assert (known["loop_index"], known["loop_total"]) == ("2", "3")
    assert "n" not in known


def test_a_context_that_only_looks_like_json_is_plain_text():
    assert variables(facts(human_context="{not json"))["human_context"] == "{not json"
    assert variables(facts(human_context="[" * 100_000))["human_context"].startswith("[")
