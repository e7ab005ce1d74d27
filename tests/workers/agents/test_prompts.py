from __future__ import annotations

from dataclasses import replace

from jsonschema import Draft202012Validator

from models.definitions import Action, AgentSpec, Definition, Loop, OutputSchema, StepSpec
from workers.agents.handover import declared_outputs, shape_for
from workers.agents.prompts import Brief, assemble
from workers.llm.estimating import weight
from workers.pipelines.decisions import LoopView

DESIGN = StepSpec("DESIGN", "finn", "Design it.", outputs=("design_summary", "tasks_json"))
IMPLEMENT = StepSpec("IMPLEMENT", "yukihiro", "Build it.", loop=Loop("tasks_json"))
REVIEW = StepSpec(
    "REVIEW",
    "finn",
    "Review it.",
    outputs=("review_result", "notes"),
    on_result={"APPROVED": Action(goto="DESIGN"), "CHANGES_REQUESTED": Action(goto="IMPLEMENT")},
)
TEAM = (AgentSpec("finn", "Finn", persona="Here you only design."), AgentSpec("yukihiro", "Yuki"))
PIPELINE = Definition("p", "P", "1.0.0", "", TEAM, (DESIGN, IMPLEMENT, REVIEW))
FILES = {
    "IDENTITY.md": "I am Finn, an architect.",
    "SOUL.md": "Calm.",
    "DECISION.md": "Measure first.",
    "AGENTS.md": "Eric writes the specification.",
}
BRIEF = Brief(
    "run_1", DESIGN, PIPELINE, "Build a todo API", "Design it.", files=FILES, tools=("read", "bash")
)


def system(brief: Brief) -> str:
    return assemble(brief)[0].text


def user(brief: Brief) -> str:
    return assemble(brief)[1].text


def headings(text: str) -> list[str]:
    return [line[2:] for line in text.splitlines() if line.startswith("# ")]


def test_the_users_message_begins_with_where_we_are() -> None:
    brief = replace(BRIEF, visit=2, retry=1, execution=4)
    first = user(brief).splitlines()[0]
    assert first == "Run run_1 · step DESIGN · visit 2 · retry 1 · execution 4"


def test_the_system_is_a_message_of_its_own_with_sections_in_order() -> None:
    message = assemble(BRIEF)[0]
    assert message.role == "system"
    assert headings(message.text) == [
        "IDENTITY", "YOUR PART HERE", "SOUL", "DECISION FRAMEWORK", "OTHER AGENTS",
        "ENVIRONMENT", "FINISHING",
    ]  # fmt: skip


def test_the_system_stays_the_same_from_run_to_run_so_that_it_can_be_cached() -> None:
    other = replace(BRIEF, run_id="run_2", execution=7, feedback=("[RETRY 1/3] no",), task="Else")
    assert system(other) == system(BRIEF)


def test_the_outputs_to_hand_over_are_listed_as_the_contract_says() -> None:
    assert system(BRIEF).endswith(
        "Outputs to hand over:\n- design_summary\n"
        "- tasks_json: a JSON array; step IMPLEMENT works through its items"
    )
    assert system(replace(BRIEF, step=REVIEW)).endswith(
        "Outputs to hand over:\n- review_result: exactly one of APPROVED | CHANGES_REQUESTED\n"
        "- notes"
    )


def test_an_output_named_json_is_asked_for_as_json_even_if_no_loop_needs_it() -> None:
    step = replace(REVIEW, outputs=("plan_json", "notes"), on_result={})
    assert "\n- plan_json: JSON text, nothing around it\n" in system(replace(BRIEF, step=step))
    small, strong = (shape_for(step, PIPELINE, each).schema["properties"] for each in (True, False))
    assert small["plan_json"]["type"] == "array"  # which is JSON, while a sentence would not be
    assert strong["plan_json"] == {"type": "string"}


def test_a_result_that_decides_the_way_is_owed_even_if_not_declared() -> None:
    step = replace(REVIEW, outputs=())
    assert declared_outputs(step) == ("result",)
    assert "- result: exactly one of APPROVED" in system(replace(BRIEF, step=step))


def test_w20_feedback_and_a_persons_note_reach_the_prompt() -> None:
    text = user(
        replace(BRIEF, feedback=("[RETRY 1/3] tests fail",), human_note="Use SQLite, please.")
    )
    assert "# Feedback on earlier attempts" in text
    assert "[RETRY 1/3] tests fail" in text
    assert "# Note from a person\nUse SQLite, please." in text


def test_w20_previous_outputs_reach_the_prompt_newest_first() -> None:
    outputs = {"spec": "the spec", "_structured_json": "{}", "design": "the design"}
    text = user(replace(BRIEF, outputs=outputs))
    assert "# Previous Step Outputs\ndesign: the design\nspec: the spec" in text
    assert "_structured_json" not in text


def test_w20_the_persona_of_the_pipeline_reaches_the_prompt() -> None:
    assert "Here you only design." in system(BRIEF)


def test_what_the_task_already_quotes_is_not_said_twice() -> None:
    long = "A summary that is long enough not to be found in a task by accident, surely."
    brief = replace(
        BRIEF, input=f"Build a todo API.\n{long}", outputs={"summary": long, "verdict": "Build"}
    )
    assert user(brief).count(long) == 1
    assert "verdict: Build" in user(brief)
    assert "The run's task" not in user(brief)
    assert "The run's task: Build a todo API" in user(BRIEF)


def test_a_runs_history_cannot_overflow_the_window() -> None:
    outputs = {f"key_{number}": "x" * 100_000 for number in range(100)}
    text = user(
        replace(
            BRIEF,
            outputs=outputs,
            feedback=("y" * 100_000,) * 30,
            progress="z" * 100_000,
            git_log=("c",) * 1000,
            task="t" * 100_000,
        )
    )
    assert len(text) < 60_000
    assert "older outputs left out" in text


def test_a_loop_says_where_it_is() -> None:
    loop = LoopView("IMPLEMENT", 1, 3, '{"key": "T2"}', ("T1",))
    text = user(replace(BRIEF, step=IMPLEMENT, loop=loop))
    assert '# Loop Context\nItem 2 of 3: {"key": "T2"}' in text
    assert "Completed before it:\n- T1" in text


def test_sections_with_nothing_to_say_are_left_out() -> None:
    assert headings(user(BRIEF)) == ["Project Context", "Your Task"]


def test_an_agent_without_files_still_has_a_name() -> None:
    assert "You are Finn" in system(replace(BRIEF, files={}))


def test_a_small_models_prompt_stays_small() -> None:
    big = "word " * 20_000
    brief = replace(
        BRIEF,
        small=True,
        input=big,
        outputs=dict.fromkeys("abcdef", big),
        feedback=(big,),
        human_note=big,
        files=dict.fromkeys(FILES, big),
        loop=LoopView("IMPLEMENT", 0, 2, big, (big,)),
    )
    assert sum(weight(message) for message in assemble(brief)) <= 1_500
    assert "Write the design summary and the tasks json" in user(brief)


def test_a_small_models_shape_is_made_of_the_declared_outputs() -> None:
    shape = shape_for(REVIEW, PIPELINE)
    Draft202012Validator.check_schema(shape.schema)
    assert shape.schema["properties"]["review_result"] == {
        "type": "string",
        "enum": ["APPROVED", "CHANGES_REQUESTED"],
    }
    assert shape.schema["required"] == ["review_result", "notes"]
    tasks = shape_for(DESIGN, PIPELINE).schema["properties"]["tasks_json"]
    assert tasks["type"] == "array"


def test_a_structured_step_asks_for_its_own_shape() -> None:
    schema = {"type": "object", "properties": {"tasks": {"type": "array"}}}
    step = replace(DESIGN, output_schema=OutputSchema("plan", schema, method="tool_use"))
    assert shape_for(step, PIPELINE).schema == schema
    assert shape_for(step, PIPELINE).method == "tool_use"
    text = system(replace(BRIEF, step=step))
    assert "one JSON value of the shape `plan`" in text
    assert "complete(" not in text


def test_an_agent_without_tools_is_not_told_to_call_any() -> None:
    text = system(replace(BRIEF, tools=()))
    assert "complete(" not in text
    assert "sandbox" not in text
    assert "Answer with one JSON object" in text


def test_only_small_models_are_bounded_in_what_they_write() -> None:
    schema = shape_for(DESIGN, PIPELINE, small=False).schema
    assert schema["properties"]["design_summary"] == {"type": "string"}
    assert shape_for(DESIGN, PIPELINE).schema["properties"]["design_summary"]["pattern"]
