"""What the public original could not do, each shown working on the real product."""

from __future__ import annotations

from typing import Any

from tests.processes.product import Product, scripted, until

PIPELINE = """
id: {id}
name: {id}
agents: [{{id: yukihiro, name: Yukihiro}}, {{id: chieko, name: Chieko}}]
steps:
{steps}
"""


def put(product: Product, name: str, steps: str) -> None:
    text = PIPELINE.format(id=name, steps=steps)
    answer = product.client.put(f"/v1/pipelines/{name}", json={"yaml_content": text})
    assert answer.status_code == 200, answer.text


def prompts(product: Product, run_id: str, step_id: str) -> list[str]:
    """What the step's agent was told, execution by execution."""
    started = [e for e in product.events(run_id) if e["type"] == "step_started"]
    sessions = [e["sessionId"] for e in started if e["stepId"] == step_id]
    return [product.get(f"/sessions/{session}")["user_prompt"] for session in sessions]


def of_type(product: Product, run_id: str, kind: str) -> list[dict[str, Any]]:
    return [event for event in product.events(run_id) if event["type"] == kind]


def test_w3_every_item_of_a_loop_is_worked_on_with_its_own_item(running: Product) -> None:
    put(
        running,
        "loop-items",
        """
  - {id: LIST, agent: chieko, input: "List {{task_description}}", outputs: [items], onComplete: DO}
  - id: DO
    agent: yukihiro
    input: "Work on <{{current_item}}> ({{loop_index}} of {{loop_total}})"
    outputs: [done]
    loop: {over: items}
""",
    )
    listing = [{"outputs": {"items": '{"tasks": ["red", "green", "blue"]}'}, "tools": False}]
    run_id = running.run("loop-items", scripted("colours", LIST=listing))
    assert running.ended(run_id)["status"] == "completed"
    told = prompts(running, run_id, "DO")
    expected = ["<red> (1 of 3)", "<green> (2 of 3)", "<blue> (3 of 3)"]
    assert all(text in prompt for text, prompt in zip(expected, told, strict=True))


def test_w4_going_back_to_a_finished_step_executes_it_anew(running: Product) -> None:
    verdicts = [{"outputs": {"validation_result": value}} for value in ("FAIL", "PASS")]
    run_id = running.run("bugfix", scripted("Mend it", VALIDATE=verdicts))
    assert running.ended(run_id)["status"] == "completed"
    assert [e["stepId"] for e in of_type(running, run_id, "step_started")] == [
        *("FIX", "VALIDATE"),
        *("FIX", "VALIDATE"),
    ]


def test_w7_outputs_given_to_complete_reach_the_steps_that_follow(running: Product) -> None:
    put(
        running,
        "hand-over",
        """
  - {id: SAY, agent: chieko, input: "Say it", outputs: [word], onComplete: HEAR}
  - {id: HEAR, agent: yukihiro, input: "You heard <{{word}}>", outputs: [answer]}
""",
    )
    run_id = running.run("hand-over", scripted("x", SAY=[{"outputs": {"word": "abracadabra"}}]))
    run = running.ended(run_id)
    assert run["outputs"]["word"] == "abracadabra"
    assert "You heard <abracadabra>" in prompts(running, run_id, "HEAR")[0]


def test_w9_a_long_step_holds_up_nobody_else(running: Product) -> None:
    nap = [{"calls": [{"name": "bash", "arguments": {"command": "sleep 30"}}]}]
    long_run = running.run("bugfix", scripted("Sleep", FIX=nap))
    until(lambda: of_type(running, long_run, "tool_call_start"))
    quick = running.run("feature", "Be quick")
    assert running.ended(quick, 30)["status"] == "completed"
    assert running.get(f"/runs/{long_run}")["status"] == "running"
    running.post(f"/runs/{long_run}/cancel")


def test_w11_a_notification_is_delivered_and_the_run_goes_on(running: Product) -> None:
    put(
        running,
        "notify",
        """
  - id: CHECK
    agent: chieko
    input: "Check"
    outputs: [result]
    onResult:
      GOOD: {notify: {agent: yukihiro, message: "all is well"}}
      BAD: {goto: MEND, notify: {agent: yukihiro, message: "mend it"}}
    onComplete: LAST
  - {id: MEND, agent: yukihiro, input: "Mend", outputs: [mended], onComplete: LAST}
  - {id: LAST, agent: chieko, input: "Close", outputs: [closed]}
""",
    )
    for verdict, message, path in (
        ("GOOD", "all is well", ["CHECK", "LAST"]),
        ("BAD", "mend it", ["CHECK", "MEND", "LAST"]),
    ):
        play = [{"outputs": {"result": verdict}, "tools": False}]
        run_id = running.run("notify", scripted("x", CHECK=play))
        assert running.ended(run_id)["status"] == "completed"
        assert [e["message"] for e in of_type(running, run_id, "agent_message")] == [message]
        assert [e["stepId"] for e in of_type(running, run_id, "step_complete")] == path


def test_w17_a_run_that_is_over_stays_over(running: Product) -> None:
    run_id = running.run("feature", "Finish")
    assert running.ended(run_id)["status"] == "completed"
    for act in ("cancel", "pause", "resume"):
        answer = running.client.post(f"/v1/runs/{run_id}/{act}")
        assert answer.status_code == 409, act
        assert isinstance(answer.json()["detail"], str)
    assert running.get(f"/runs/{run_id}")["status"] == "completed"


def test_w17_a_paused_run_dispatches_nothing_until_it_is_resumed(running: Product) -> None:
    talk = [{"chunks": 60, "chunk": "word ", "delay_ms": 20}]
    run_id = running.run("feature", scripted("Pause me", DESIGN=talk))
    until(lambda: of_type(running, run_id, "step_started"))
    assert running.post(f"/runs/{run_id}/pause") == {"run_id": run_id, "status": "paused"}
    until(lambda: of_type(running, run_id, "step_complete"))
    assert len(of_type(running, run_id, "step_queued")) == 1
    assert running.get(f"/runs/{run_id}")["status"] == "paused"
    assert running.post(f"/runs/{run_id}/resume")["status"] == "running"
    assert running.ended(run_id)["status"] == "completed"


def test_w20_feedback_and_a_persons_note_reach_the_prompt(running: Product) -> None:
    plays = [{"fail": "the frobnicator is missing"}, {"outputs": {}, "tools": False}]
    run_id = running.run("bugfix", scripted("Mend it", FIX=plays), human_context="Mind the frogs")
    assert running.ended(run_id)["status"] == "completed"
    first, second = prompts(running, run_id, "FIX")
    assert "Mind the frogs" in first
    assert "Feedback on earlier attempts" not in first
    feedback = second.split("Feedback on earlier attempts")[1]
    assert "[RETRY 1/2] the frobnicator is missing" in feedback


def test_w20_the_tools_a_step_allows_are_the_tools_it_has(running: Product) -> None:
    put(
        running,
        "allow-list",
        """
  - {id: LOOK, agent: chieko, input: "Look", outputs: [seen], tools: [read, ls], maxRetries: 0}
""",
    )
    deed = [{"calls": [{"name": "bash", "arguments": {"command": "touch forbidden"}}]}]
    run_id = running.run("allow-list", scripted("x", LOOK=deed))
    running.ended(run_id)
    ends = of_type(running, run_id, "tool_call_end")
    refused = [event for event in ends if event["toolName"] == "bash"]
    assert [event["isError"] for event in refused] == [True]
    assert "there is no tool bash" in refused[0]["result"]


def test_w21_an_agent_that_merely_stops_has_not_succeeded(running: Product) -> None:
    put(
        running,
        "just-talk",
        """
  - {id: TALK, agent: chieko, input: "Talk", outputs: [verdict], maxRetries: 0}
""",
    )
    run_id = running.run("just-talk", scripted("x", TALK=[{"text": "I looked around. Bye."}]))
    run = running.ended(run_id)
    assert run["status"] == "failed"
    assert "ended without complete()" in run["error"]


def test_w21_a_step_that_outlives_its_deadline_has_failed(running: Product) -> None:
    put(
        running,
        "deadline",
        """
  - {id: WAIT, agent: chieko, input: "Wait", outputs: [x], timeoutSeconds: 2, maxRetries: 0}
""",
    )
    nap = [{"calls": [{"name": "bash", "arguments": {"command": "sleep 60"}}]}]
    run_id = running.run("deadline", scripted("x", WAIT=nap))
    run = running.ended(run_id, 20)
    assert run["status"] == "failed"
    assert "timed out after 2 s" in run["error"]
