"""Onboarding: a conversation that becomes a project."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import invariants, onboarding, outbox
from models.accounts import User
from models.base import db
from models.chats import ChatSession
from models.ledger import Entry
from models.onboarding import OnboardingSession
from models.outbox import Outbox
from models.principals import Principal
from models.projects import Project
from models.repositories import Repository
from models.runs import Run
from models.steps import Step
from tasks import facts
from tasks import onboarding as commands
from workers.agents.mandate import Mandate
from workers.agents.tools import TABLE
from workers.agents.tools.base import Bench, ToolError
from workers.halting import Halt
from workers.jobs import onboarding as jobs
from workers.jobs import runs as run_jobs
from workers.jobs import steps as step_jobs

SESSIONS = "/v1/onboarding/sessions"
ONE = SESSIONS + "/{}"
Work = Callable[..., int]


@pytest.fixture
def begun(owner: FlaskClient) -> str:
    answer = owner.post(SESSIONS, json={"model": "scripted/demo"})
    assert answer.status_code == 200, answer.json
    return answer.json["id"]


def ask(client: FlaskClient, key: str, what: str, method: str = "POST", **body: Any) -> Any:
    answer = client.open(f"{ONE.format(key)}/{what}", method=method, json=body)
    return answer.json if answer.status_code == 200 else answer.status_code


def seen(client: FlaskClient, key: str) -> Any:
    return client.get(ONE.format(key)).json


def told() -> list[tuple[str, dict[str, Any]]]:
    """What the streams are about to hear of onboarding, in order."""
    with db.connection_context():
        rows = db.execute_sql(
            "SELECT body ->> 'type', body -> 'data' FROM outbox WHERE queue = %s ORDER BY id",
            (outbox.EVENTS,),
        )
        return [(kind, data) for kind, data in rows.fetchall() if kind.startswith("onboarding")]


def test_the_first_agent_of_the_chain_begins(owner: FlaskClient):
    made = owner.post(SESSIONS, json={"model": "scripted/demo", "templateId": "software-dev"}).json
    assert made["id"].startswith("onb_")
    assert made["chat_session_id"].startswith("onb_stas_")
    expected = {
        "status": "active",
        "current_agent_id": "stas",
        "current_agent_name": "Stas",
        "phase": "intake",
        "context": {},
        "landing_page_state": None,
        "project_id": None,
        "completed_at": None,
    }
    assert {name: made[name] for name in expected} == expected
    note, greeting = made["messages"]
    assert (note["role"], note["agent_id"]) == ("system", "stas")
    assert (greeting["role"], greeting["content"], greeting["status"]) == (
        "assistant",
        "",
        "queued",
    )
    assert greeting["agent_emoji"]
    assert all(isinstance(made[name], int) for name in ("created_at", "updated_at"))
    assert told() == [("onboarding_started", {"sessionId": made["id"], "agentId": "stas"})]
    assert owner.post(SESSIONS, json={"templateId": "none"}).status_code == 404
    (listed,) = owner.get(SESSIONS + "/").json
    assert listed["id"] == made["id"]
    assert "messages" not in listed


def test_what_a_person_says_goes_to_whoever_has_the_word(owner: FlaskClient, begun: str):
    said = ask(owner, begun, "message", message="A todo app")
    chat = seen(owner, begun)["chat_session_id"]
    assert (said["status"], said["sessionId"], said["chatSessionId"]) == ("queued", begun, chat)
    *_, mine, answer = seen(owner, begun)["messages"]
    assert (mine["id"], mine["role"], mine["content"]) == (
        said["userMessageId"],
        "user",
        "A todo app",
    )
    assert answer["id"] == said["assistantMessageId"]
    assert ask(owner, begun, "message", message="  ") == 422


def test_the_word_only_goes_forward(owner: FlaskClient, begun: str):
    first = seen(owner, begun)["chat_session_id"]
    update = {"project_name": "Todo", "repo": "none yet"}
    highlights = ["She hates paper lists"]
    moved = ask(
        owner,
        begun,
        "handoff",
        next_agent_id="eric",
        from_agent_id="stas",
        context_update=update,
        summary="A list of things to do",
        conversation_highlights=highlights,
    )
    assert {name: moved[name] for name in ("status", "fromAgent", "toAgent", "phase")} == {
        "status": "handed_off",
        "fromAgent": "stas",
        "toAgent": "eric",
        "phase": "product",
    }
    now = seen(owner, begun)
    assert now["chat_session_id"] == moved["newChatSessionId"] != first
    assert now["context"] == {
        **update,
        "summary": "A list of things to do",
        "conversation_highlights": highlights,
    }
    note = now["messages"][-2]
    assert (note["handoff_to_agent"], note["agent_id"]) == ("eric", "stas")
    assert note["content"].endswith(
        "[context: conversation_highlights, project_name, repo, summary]"
    )
    with db.connection_context():
        supplement = ChatSession.get_by_id(now["chat_session_id"]).system_prompt_supplement
    assert "project_name: Todo" in supplement
    assert "remembered: She hates paper lists" in supplement
    again = ask(owner, begun, "handoff", next_agent_id="finn", from_agent_id="stas")
    assert again == {"status": "already_handed_off", "sessionId": begun, "currentAgent": "eric"}
    for wrong in ("jim", "eric", "stas", "nobody"):
        assert ask(owner, begun, "handoff", next_agent_id=wrong) == 409
    assert [kind for kind, _ in told()] == [
        "onboarding_started",
        "onboarding_context_updated",
        "onboarding_handoff",
    ]


def test_the_chat_of_who_handed_over_ends_when_its_last_words_are_said(
    owner: FlaskClient, begun: str
):
    chat = seen(owner, begun)["chat_session_id"]
    ask(owner, begun, "handoff", next_agent_id="jim")
    with db.connection_context():
        jobs.retire(chat)
        assert ChatSession.get_by_id(chat).active  # its greeting is still to come
        db.execute_sql(
            "UPDATE chat_messages SET state = 'completed' WHERE session_id = %s", (chat,)
        )
        jobs.retire(chat)
        jobs.retire(chat)
        assert not ChatSession.get_by_id(chat).active


def test_what_is_known_grows_key_by_key_and_has_its_limit(owner: FlaskClient, begun: str):
    ask(owner, begun, "context", "PATCH", goal="Order", timeline="May")
    known = ask(owner, begun, "context", "PATCH", timeline="June", extra={"a": [1]})
    assert known == {
        "status": "updated",
        "context": {"goal": "Order", "timeline": "June", "extra": {"a": [1]}},
    }
    assert ask(owner, begun, "context", "PATCH", big="x" * (65 << 10)) == 422
    assert ask(owner, begun, "context", "PATCH", a="x" * (40 << 10)) != 422
    assert ask(owner, begun, "context", "PATCH", b="x" * (40 << 10)) == 413
    assert "b" not in seen(owner, begun)["context"]


def test_a_landing_page_has_a_number_and_a_limit(owner: FlaskClient, begun: str):
    for version in (1, 2):
        page = ask(owner, begun, "landing-page", "PATCH", html=f"<h1>{version}</h1>", caption="c")
        assert page["landingPageState"] == {
            "html": f"<h1>{version}</h1>",
            "caption": "c",
            "last_agent_id": "stas",
            "version": version,
        }
    assert seen(owner, begun)["landing_page_state"]["version"] == 2
    (_, first), *_ = [event for event in told() if event[0] == "onboarding_landing_page_updated"]
    assert first["landingPageState"]["html"] == "<h1>1</h1>"
    assert ask(owner, begun, "landing-page", "PATCH", html="ä" * (257 << 10)) == 422
    assert ask(owner, begun, "landing-page", "PATCH", html="ä" * (256 << 10)) != 422
    assert told()[-1][1]["landingPageState"] == {
        "caption": None,
        "last_agent_id": "stas",
        "version": 3,
    }


DONE = {
    "project_name": "Todo",
    "goal": "Nobody forgets the milk",
    "target_customer": "Families",
    "v1_scope": "One list",
    "architecture_summary": "Flask",
    "summary": "A shared list",
}


@pytest.mark.parametrize("door", ["finalize", "handoff", "tool"])
def test_all_doors_lead_to_the_same_project(owner: FlaskClient, begun: str, door: str, work: Work):
    ask(owner, begun, "context", "PATCH", **DONE)
    if door == "finalize":
        told = ask(owner, begun, "finalize", project_name="Todo")
        assert told["workspaceSetup"] is None
    elif door == "handoff":
        told = ask(owner, begun, "handoff", next_agent_id="done", from_agent_id="stas")
        assert told["toAgent"] == "done"
    else:
        assert "has been made" in called(owner, begun, "onboarding_handoff", next_agent="done")
        told = {**ask(owner, begun, "finalize", project_name="x"), "status": "finalized"}
    assert told["status"] == "finalized"
    session = seen(owner, begun)
    assert (session["status"], session["phase"]) == ("completed", "done")
    project = owner.get(f"/v1/projects/{told['projectId']}").json
    assert (project["name"], project["description"]) == ("Todo", "A shared list")
    assert [column["name"] for column in project["columns"]][:2] == ["Backlog", "Planning"]
    assert project["workspace_type"] == "git_worktree"
    assert {agent["agent_id"]: agent["role"] for agent in project["agents"]} == {
        "stas": "member",
        "jim": "member",
        "eric": "member",
        "finn": "lead",
    }
    assert json.loads(project["onboarding_context"]) == DONE
    assert project["vision"].startswith("## Goal\n\nNobody forgets the milk\n\n## Target Customer")
    assert owner.get(f"/v1/projects/{told['projectId']}/workflow-policy").json["stage_rules"]
    run = owner.get(f"/v1/runs/{session['planning_run_id']}").json
    assert run["pipeline_id"] == "planning"
    again = ask(owner, begun, "finalize", project_name="Other")
    assert again == {"status": "already_finalized", "projectId": told["projectId"]}
    assert ask(owner, begun, "handoff", next_agent_id="done")["projectId"] == told["projectId"]
    assert ask(owner, begun, "message", message="Hello?") == 400
    assert ask(owner, begun, "abandon", "PATCH") == 409
    assert ask(owner, begun, "resume") == 400
    assert ask(owner, begun, "context", "PATCH", late=True) == 400
    with db.connection_context():
        assert Project.select().where(Project.name == "Todo").count() == 1


def called(client: FlaskClient, key: str, tool: str, **arguments: Any) -> str:
    """What a tool answers the agent that has the word, at work on its greeting."""
    chat = seen(client, key)["chat_session_id"]
    with db.connection_context():
        run_jobs.advance(chat, 1)
        step = Step.get((Step.run == chat) & (Step.state.in_(["queued", "running"])))
        if step.state == "queued":
            assert step_jobs.claim(step.id) is not None
            step = Step.get_by_id(step.id)
        seq = Entry.select().where(Entry.execution_id == step.id).count()
        Entry(execution=step.id, seq=seq, kind="tool", name=tool, key="k").add()
        bench = Bench(None, None, mandate=Mandate(step, f"{step.id}:{seq}"))  # type: ignore[arg-type]
        spec = TABLE[tool].spec.parameters["properties"]
        usual = {name: each["default"] for name, each in spec.items() if "default" in each}
        answer = TABLE[tool].act(bench, {**usual, **arguments}, Halt())
    assert isinstance(answer, str)
    return answer


def test_agents_write_down_show_and_hand_over(owner: FlaskClient, begun: str):
    assert "goal" in called(owner, begun, "update_onboarding_context", context={"goal": "Order"})
    shown = called(owner, begun, "update_onboarding_landing_page", html="<h1>Todo</h1>")
    assert "Version 1" in shown
    chat = seen(owner, begun)["chat_session_id"]
    assert "jim has the word" in called(owner, begun, "onboarding_handoff", next_agent="jim")
    now = seen(owner, begun)
    assert (now["current_agent_id"], now["context"]) == ("jim", {"goal": "Order"})
    with db.connection_context():
        step = Step.get(Step.run == chat)
        late = Bench(None, None, mandate=Mandate(step, f"{step.id}:9"))  # type: ignore[arg-type]
        with pytest.raises(ToolError):
            TABLE["update_onboarding_context"].act(late, {"context": {"x": 1}}, Halt())


def test_an_act_that_is_tried_again_says_the_same_and_changes_nothing(
    owner: FlaskClient, begun: str
):
    """The worker was lost after it had handed over, before that was sealed."""
    chat = seen(owner, begun)["chat_session_id"]
    first = called(owner, begun, "onboarding_handoff", next_agent="jim")
    with db.connection_context():
        step = Step.get(Step.run == chat)
        bench = Bench(None, None, mandate=Mandate(step, f"{step.id}:0"))  # type: ignore[arg-type]
        again = TABLE["onboarding_handoff"].act(bench, {"next_agent": "jim"}, Halt())
        assert again == first
        assert len(onboarding.chats_of(begun)) == 2


def test_the_plan_begins_when_the_repository_has_been_cloned(owner: FlaskClient, begun: str):
    told = ask(owner, begun, "finalize", project_name="Todo", repository="github.com/acme/todo")
    assert told["planningRunId"] is None
    assert told["workspaceSetup"]
    with db.connection_context():
        session = OnboardingSession.get_by_id(begun)
        repository = Repository.of(session.project_id)
        assert repository is not None
        jobs.plan(begun)
        assert OnboardingSession.get_by_id(begun).planning_run_id is None
        repository.move("failed", error="no such repository")
        for _ in range(2):
            jobs.plan(begun)
        assert Run.select().where(Run.pipeline_id == "planning").count() == 1
    assert seen(owner, begun)["planning_run_id"]


def test_a_plan_whose_request_was_lost_is_asked_for_again(
    owner: FlaskClient, begun: str, work: Work
):
    ask(owner, begun, "finalize", project_name="Todo", repository="github.com/acme/todo")
    with db.connection_context():
        db.execute_sql("DELETE FROM outbox")
        db.execute_sql("UPDATE project_repositories SET state = 'failed', updated_at = 1")
        db.execute_sql("UPDATE onboarding_sessions SET updated_at = 1")
        broken = {breach.invariant for breach in invariants.breaches(0)}
        assert "a project that was talked about is planned, or it says why not" in broken
        commands.sweep()
        work(1)
    assert seen(owner, begun)["planning_run_id"]


def test_a_plan_that_waits_for_a_repository_is_not_asked_for_again_and_again(
    owner: FlaskClient, begun: str
):
    """Each of them would look again every second, for as long as nobody can clone."""
    ask(owner, begun, "finalize", project_name="Todo", repository="github.com/acme/todo")
    with db.connection_context():
        db.execute_sql("DELETE FROM outbox")
        db.execute_sql("UPDATE onboarding_sessions SET updated_at = 1")
        commands.sweep()
        db.execute_sql("UPDATE project_repositories SET state = 'cloned'")
        commands.sweep()
        assert not Outbox.select().exists()  # whoever looks each second sees it
        db.execute_sql("UPDATE project_repositories SET updated_at = 1")
        commands.sweep()
        assert [row.body["args"] for row in Outbox.select()] == [[begun]]


def test_a_repository_that_is_none_is_kept_as_a_warning(owner: FlaskClient, begun: str):
    ask(owner, begun, "context", "PATCH", repo="none yet")
    told = ask(owner, begun, "finalize", project_name="Todo")
    project = owner.get(f"/v1/projects/{told['projectId']}").json
    assert project["repository"] is None
    assert "none yet" in json.loads(project["onboarding_context"])["repository_warning"]


def test_a_plan_that_cannot_begin_says_why(owner: FlaskClient, begun: str):
    ask(owner, begun, "finalize", project_name="Todo", repository="github.com/acme/todo")
    owner.delete(f"/v1/projects/{seen(owner, begun)['project_id']}")
    with db.connection_context():
        jobs.plan(begun)
        jobs.plan(begun)
    assert "not found" in seen(owner, begun)["planning_error"]


def together(number: int, act: Callable[[int], Any]) -> list[Any]:
    """What so many threads come to that set out at once."""
    line, results = threading.Barrier(number), []

    def go(place: int) -> None:
        with db.connection_context():
            line.wait()
            results.append(act(place))

    threads = [threading.Thread(target=go, args=(place,)) for place in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_ten_who_finish_at_once_make_one_project(owner: FlaskClient, begun: str):
    with db.connection_context():
        principal = User.get_by_id("usr_owner").principal()
        session = OnboardingSession.get_by_id(begun)

    def finish(place: int) -> tuple[bool, str | None]:
        if place % 2:
            form = {"next_agent_id": "done"}
            _, held = commands.hand_over(principal, session, form)
            return True, held.project_id
        made, held = commands.finish(principal, session, {"project_name": "Todo"})
        return made, held.project_id

    results = together(10, finish)
    assert len(results) == 10
    assert len({project for _, project in results}) == 1
    with db.connection_context():
        assert Project.select().where(Project.owner_id == "usr_owner").count() == 2  # the cast's
        assert Run.select().where(Run.pipeline_id == "planning").count() == 1


def test_two_who_write_down_at_once_lose_nothing(owner: FlaskClient, begun: str):
    with db.connection_context():
        session = OnboardingSession.get_by_id(begun)
    together(10, lambda place: facts.learn(session, {f"key{place}": place}))
    assert seen(owner, begun)["context"] == {f"key{place}": place for place in range(10)}


def test_of_ten_who_hand_over_one_does(owner: FlaskClient, begun: str):
    with db.connection_context():
        principal = User.get_by_id("usr_owner").principal()
        session = OnboardingSession.get_by_id(begun)
    form = {"next_agent_id": "jim", "from_agent_id": "stas"}
    results = together(10, lambda _: commands.hand_over(principal, session, form)[0])
    assert sorted(results) == ["already_handed_off"] * 9 + ["handed_off"]
    with db.connection_context():
        assert len(onboarding.chats_of(begun)) == 2


def test_what_is_said_while_the_word_passes_on_is_said_to_whoever_has_it(
    owner: FlaskClient, begun: str
):
    with db.connection_context():
        before = OnboardingSession.get_by_id(begun)
    moved = ask(owner, begun, "handoff", next_agent_id="jim")
    with db.connection_context():
        said, _ = commands.say(before, {"message": "And it must be free"})
    assert said.session_id == moved["newChatSessionId"]


def test_stop_abandon_resume_and_delete(owner: FlaskClient, begun: str):
    stopped = ask(owner, begun, "stop")
    assert (stopped["status"], stopped["sessionId"]) == ("stop_sent", begun)
    assert seen(owner, begun)["messages"][-1]["status"] in {"queued", "aborted"}
    assert ask(owner, begun, "resume")["status"] == "active"
    for _ in range(2):
        assert ask(owner, begun, "abandon", "PATCH") == {"status": "abandoned", "sessionId": begun}
    assert ask(owner, begun, "message", message="Hello?") == 400
    assert [each["status"] for each in owner.get(SESSIONS).json] == ["abandoned"]
    assert owner.get(SESSIONS, query_string={"status": "active"}).json == []
    assert ask(owner, begun, "resume")["status"] == "active"
    assert ask(owner, begun, "message", message="I am back")["status"] == "queued"
    assert owner.delete(ONE.format(begun)).json == {"status": "deleted", "sessionId": begun}
    assert owner.get(ONE.format(begun)).status_code == 404
    with db.connection_context():
        assert not ChatSession.select().exists()


def test_a_session_whose_chat_has_ended_is_given_up_and_can_go_on(owner: FlaskClient, begun: str):
    chat = seen(owner, begun)["chat_session_id"]
    with db.connection_context():
        commands.chats.end(ChatSession.get_by_id(chat))
        commands.sweep()
        assert OnboardingSession.get_by_id(begun).state == "active"  # it may be going on just now
        db.execute_sql("UPDATE chat_sessions SET updated_at = 1")
        db.execute_sql("UPDATE onboarding_sessions SET updated_at = 1")
        broken = {breach.invariant: breach.rows for breach in invariants.breaches(0)}
        assert broken["an onboarding that goes on has a chat that does"] == (begun,)
        commands.sweep()
    assert seen(owner, begun)["status"] == "abandoned"
    assert ask(owner, begun, "resume")["status"] == "active"
    with db.connection_context():
        assert ChatSession.get_by_id(chat).active


def test_a_session_that_is_resumed_while_it_is_given_up_goes_on(owner: FlaskClient, begun: str):
    chat = seen(owner, begun)["chat_session_id"]
    with db.connection_context():
        commands.chats.end(ChatSession.get_by_id(chat))
        db.execute_sql("UPDATE chat_sessions SET updated_at = 1")
        db.execute_sql("UPDATE onboarding_sessions SET updated_at = 1")
    resumed, swept = threading.Event(), threading.Event()

    def resume() -> None:
        with db.connection_context(), db.atomic():
            who = Principal("usr_owner", "user")
            commands.resume(who, OnboardingSession.get_by_id(begun))
            resumed.set()
            swept.wait(10)

    def sweep() -> None:
        with db.connection_context():
            commands.sweep()

    threads = [threading.Thread(target=act) for act in (resume, sweep)]
    threads[0].start()
    assert resumed.wait(10)
    threads[1].start()
    threads[1].join(0.5)  # it waits for whoever resumes the session
    swept.set()
    for thread in threads:
        thread.join(10)
    assert seen(owner, begun)["status"] == "active"


def test_a_session_is_its_owners_alone(
    owner: FlaskClient, teammate: FlaskClient, admin: FlaskClient, begun: str
):
    for other in (teammate, admin):
        assert other.get(ONE.format(begun)).status_code == 404
        assert ask(other, begun, "finalize", project_name="Mine") == 404
        assert other.get(SESSIONS).json == []
    assert seen(owner, begun)["status"] == "active"


def test_nobody_begins_more_than_they_can_finish(
    owner: FlaskClient, begun: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(commands, "MOST_ACTIVE", 1)
    assert owner.post(SESSIONS, json={}).status_code == 409
