"""A team that builds a product, as their model plays it: a pure function of the conversation.

Agents of the onboarding greet, and hand over when the person says so; planners answer what their
schemas ask for; whoever a routine wakes takes one ready task and has it done; a developer writes
one file for each task, and a reviewer reads it, who wants one of them changed, once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.servers.provider import Answer, Provider, Received

MODEL = "openai/gpt-5.2"  # which has a price
TOKENS = (1_000, 100)  # of each call
PARENTS: Mapping[str, Sequence[str]] = {"T1": [], "T2": ["T1"], "T3": ["T1"], "T4": ["T2", "T3"]}
PARTS = 2  # of each
TASKS = len(PARENTS) * (1 + PARTS)
CHANGED = "Do T3.1"
FIRST_LINE = re.compile(r"step (?P<step>\S+) · visit (?P<visit>\d+)")
PROJECT, TITLE = re.compile(r"proj_[0-9a-f]+"), re.compile(r"Do (T\d\.\d)")
HAND_ON = re.compile(r"hand on to (\w+)")
KNOWN = re.compile(r"know that (\{.*\})")
DELIVER = """
id: deliver
name: Deliver
agents: [{id: yukihiro, name: Yukihiro}, {id: finn, name: Finn}]
steps:
  - id: IMPLEMENT
    agent: yukihiro
    input: "{{task_description}}"
    outputs: [summary]
    tools: [write, read]
    onComplete: REVIEW
  - id: REVIEW
    agent: finn
    input: "Review what came of this: {{task_description}}"
    outputs: [verdict]
    tools: [read]
    onResult:
      APPROVED: {}
      CHANGES_REQUESTED: {goto: IMPLEMENT}
"""
Conversation = Sequence[Mapping[str, Any]]


class Team(Provider):
    """The model of the whole team; the same conversation gets the same answer, whoever asks."""

    def reply_to(self, received: Received) -> Answer:
        self.requests.append(received)
        return reply(received.body)


def reply(body: Mapping[str, Any]) -> Answer:
    """What the model says."""
    shape = (body.get("response_format") or {}).get("json_schema", {}).get("name")
    if shape:
        return Answer(text=(json.dumps(_planned(shape)),), tokens=TOKENS)
    tools = {tool["function"]["name"] for tool in body.get("tools", ())}
    messages: Conversation = body["messages"]
    if "onboarding_handoff" in tools:
        return _welcome(messages)
    if "complete" in tools:
        return _work(messages)
    if "claim_task" in tools:
        return _round(messages)
    return _say("I have nothing to do here.")


def _planned(shape: str) -> dict[str, Any]:
    if "subtask" not in shape:
        criteria = {"acceptance_criteria": ["It is there", "Nothing else has changed"]}
        return {"tasks": [_task(key, needs) | criteria for key, needs in PARENTS.items()]}
    parts = []
    for parent in PARENTS:
        for number in range(1, PARTS + 1):
            needs = [f"{parent}.{number - 1}"] if number > 1 else []
            parts.append(_task(f"{parent}.{number}", needs) | {"parent_key": parent})
    return {"subtasks": parts}


def _task(key: str, needs: Sequence[str]) -> dict[str, Any]:
    return {
        "key": key,
        "title": f"Do {key}",
        "description": f"Write {key}.txt.",
        "priority": "P1",
        "work_type": "custom",
        "estimated_hours": 1,
        "dependencies": list(needs),
        "tags": [],
    }


def _welcome(messages: Conversation) -> Answer:
    """Greet; do what the person asks for."""
    place, asked = max(
        (place, _text(each)) for place, each in enumerate(messages) if each["role"] == "user"
    )
    done = dict(_calls(messages[place:]))
    known, onward = KNOWN.search(asked), HAND_ON.search(asked)
    if known and "update_onboarding_context" not in done:
        return _call("update_onboarding_context", context=json.loads(known[1]))
    if onward and "onboarding_handoff" not in done:
        return _call("onboarding_handoff", next_agent=onward[1], summary="All is clear.")
    return _say("I see. What else?")


def _round(messages: Conversation) -> Answer:
    """Find the project, take the first task that is ready, and have it done."""
    done = dict(_calls(messages))
    if "get_my_projects" not in done:
        return _call("get_my_projects")
    project = PROJECT.search(done["get_my_projects"])
    if project is None:
        return _say("I work on no project.")
    if "get_ready_tasks" not in done:
        return _call("get_ready_tasks", project_id=project[0])
    ready = json.loads(done["get_ready_tasks"])["ready"]
    if not ready:
        return _say("Nothing is ready.")
    task = {"project_id": project[0], "task_id": ready[0]["id"]}
    if "claim_task" not in done:
        return _call("claim_task", **task)
    if "execute_task" not in done and '"branch"' in done["claim_task"]:
        return _call("execute_task", **task, pipeline_id="deliver", model_override=MODEL)
    return _say("That is all for this time.")


def _work(messages: Conversation) -> Answer:
    """Write the task's file, or read it and judge."""
    brief = next(_text(each) for each in messages if each["role"] == "user")
    scene, task = FIRST_LINE.search(brief), TITLE.search(brief)
    if scene is None or task is None:
        return _call("fail", error=f"nobody told me what to do: {brief[:500]}")
    done = dict(_calls(messages))
    path = f"{task[1]}.txt"
    if scene["step"] == "REVIEW":
        if "read" not in done:
            return _call("read", path=path)
        wanting = task[0] == CHANGED and "version 1" in done["read"]
        verdict = "CHANGES_REQUESTED" if wanting else "APPROVED"
        return _call("complete", outputs={"verdict": verdict})
    if "write" not in done:
        text = f"{task[0]}, version {scene['visit']}\n"
        return _call("write", path=path, content=text)
    return _call("complete", outputs={"summary": f"{path} is written"})


def _calls(messages: Conversation) -> Iterator[tuple[str, str]]:
    """The tools that were called so far, and what each answered."""
    names: dict[str, str] = {}
    for message in messages:
        for call in message.get("tool_calls") or ():
            names[call["id"]] = call["function"]["name"]
        if message["role"] == "tool" and message["tool_call_id"] in names:
            yield names.pop(message["tool_call_id"]), _text(message)


def _call(name: str, **arguments: Any) -> Answer:
    return Answer(calls=((name, json.dumps(arguments)),), tokens=TOKENS)


def _say(text: str) -> Answer:
    return Answer(text=(text,), tokens=TOKENS)


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)
