"""What runs of tasks leave reaches the repository of their project, once and whole."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from models import config, replays
from models.base import database_ms, db
from models.config import Settings
from models.errors import Conflict
from models.outbox import Outbox
from models.projects import ProjectMember
from models.pushes import IN_HAND_MS, Push
from models.runs import Run
from models.steps import Step
from tasks import executors
from tasks import pull_requests as pull_request_tasks
from tasks import pushes as push_tasks
from tests.beginning import lose_what_was_asked
from tests.processes.product import scripted
from tests.workers.jobs.dying import die, expire
from tests.workers.jobs.hosting import Hosted
from tests.workers.workspaces.test_origins import git
from workers.jobs import pushes as jobs
from workers.jobs import runs as run_jobs
from workers.repositories import origin_for

pytestmark = pytest.mark.slow  # real pushes to a real git server


def folder(settings: Settings, run: str) -> Path:
    return settings.data / "workspaces" / run


def test_the_work_of_a_task_is_on_its_branch_when_its_run_has_ended(
    todo: Hosted, settings: Settings
):
    task = todo.crew.add("Add the login")
    run = todo.executed(task)
    branch = todo.branch(task)
    assert branch.startswith(f"feat/{task}-add-the-login")
    assert todo.branches() == {"trunk": todo.branches()["trunk"], branch: todo.commit(run)}
    push = todo.crew.task(task)["metadata"]["push"]
    assert (push["state"], push["branch"], push["error"]) == ("pushed", branch, None)
    assert not folder(settings, run).exists()  # others can reach it now
    assert todo.crew.client.get(f"/v1/runs/{run}").json["workspace_exists"]
    jobs.push(todo.push(run).id)  # asked for once more
    assert todo.pushes == 1


def test_a_task_that_is_worked_on_again_goes_on_with_its_branch(todo: Hosted):
    task = todo.crew.add("One")
    first = todo.executed(task)
    todo.crew.to(task, "ready")
    second = todo.executed(task)
    assert todo.branches()[todo.branch(task)] == todo.commit(second) != todo.commit(first)
    assert todo.pushes == 2


def test_a_worker_that_died_between_push_and_row_has_pushed(todo: Hosted):
    task = todo.crew.add("One")
    hook = todo.hook("pre-receive", "exit 1")
    run = todo.executed(task)
    hook.unlink()
    with db.connection_context():
        push_tasks.again(todo.push(run))
        taken = Push.taken(todo.push(run).id)
        assert taken is not None
        jobs._send(taken)  # and here it dies
        assert todo.push(run).state == "queued"
        before = todo.pushes
        Push.update(due_at=1).execute()
        push_tasks.ask_again()
    todo.work()
    assert (todo.push(run).state, todo.pushes) == ("pushed", before)
    assert todo.branches()[todo.branch(task)] == todo.commit(run)


def test_a_push_that_is_refused_is_told_on_the_task_and_its_files_stay(
    todo: Hosted, settings: Settings
):
    task = todo.crew.add("One")
    hook = todo.hook("pre-receive", "exit 1")
    run = todo.crew.post(task, "execute-agent", agentId="yukihiro").json["run_id"]
    todo.work()
    push = todo.crew.task(task)["metadata"]["push"]
    assert push["state"] == "refused"
    assert "pre-receive hook declined" in push["error"]
    assert folder(settings, run).exists()
    hook.unlink()
    told = todo.crew.post(task, "push")
    assert (told.status_code, told.json["state"], told.json["error"]) == (200, "queued", None)
    assert todo.crew.task(task)["metadata"]["push"]["state"] == "queued"
    todo.work()
    assert todo.crew.task(task)["metadata"]["push"]["state"] == "pushed"
    assert not folder(settings, run).exists()


def test_files_go_from_the_machine_that_has_them_whoever_pushes_or_deletes(
    todo: Hosted, settings: Settings
):
    hook = todo.hook("pre-receive", "exit 1")
    first, second = [todo.executed(todo.crew.add(title)) for title in ("One", "Two")]
    run_jobs.tidy()
    assert folder(settings, first).exists()  # it has what nobody else can reach
    hook.unlink()
    with db.connection_context():
        push_tasks.again(todo.push(first))
    jobs.push(todo.push(first).id)  # another machine looks for the folder
    todo.crew.client.delete(f"/v1/runs/{second}")
    lose_what_was_asked()
    run_jobs.tidy()
    assert not folder(settings, first).exists()
    assert not folder(settings, second).exists()


def test_only_what_was_refused_is_pushed_again_and_once(todo: Hosted):
    task = todo.crew.add("One")
    assert todo.crew.post(task, "push").status_code == 404
    hook = todo.hook("pre-receive", "exit 1")
    run = todo.executed(task)
    hook.unlink()
    path = f"/v1/runs/{run}/push"
    shown = todo.crew.client.get(path).json
    assert (shown["state"], shown["branch"]) == ("refused", todo.branch(task))
    assert shown == todo.crew.client.get(f"{todo.crew.path}/tasks/{task}/push").json
    answers = [todo.crew.client.post(path) for _ in range(2)]
    assert [each.status_code for each in answers] == [200, 409]
    assert "is queued" in answers[1].json["detail"]
    before = todo.pushes
    todo.work()
    assert (todo.push(run).state, todo.pushes) == ("pushed", before + 1)
    assert "is pushed" in todo.crew.client.post(path).json["detail"]


def test_of_many_who_ask_at_once_for_another_push_one_is_heard(todo: Hosted):
    task = todo.crew.add("One")
    todo.hook("pre-receive", "exit 1")
    push = todo.push(todo.executed(task))

    def ask(_: int) -> bool:
        with db.connection_context(), suppress(Conflict):
            return bool(push_tasks.again(Push.get_by_id(push.id)))
        return False

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(ask, range(8))) == 1


def test_who_has_left_the_project_pushes_nothing_to_it_any_more(
    todo: Hosted, stranger: FlaskClient
):
    todo.hook("pre-receive", "exit 1")
    run = todo.executed(todo.crew.add("One"))
    with db.connection_context():
        Run.update(owner_id="usr_stranger").where(Run.id == run).execute()
    assert stranger.get(f"/v1/runs/{run}").status_code == 200
    for answer in (stranger.get(f"/v1/runs/{run}/push"), stranger.post(f"/v1/runs/{run}/push")):
        assert answer.status_code == 404
    assert todo.push(run).state == "refused"


def test_what_somebody_else_pushed_there_stays(todo: Hosted):
    task = todo.crew.add("One")
    hook = todo.hook("pre-receive", "exit 1")
    run = todo.executed(task)
    hook.unlink()
    branch = todo.branch(task)
    theirs = git(todo.bare, "commit-tree", "-p", "trunk", "-m", "by a person", "trunk^{tree}")
    git(todo.bare, "update-ref", f"refs/heads/{branch}", theirs)
    with db.connection_context():
        push_tasks.again(todo.push(run))
    todo.work()
    push = todo.crew.task(task)["metadata"]["push"]
    assert push["error"] == f"{branch} has commits that this work does not have"
    assert todo.branches()[branch] == theirs


def test_while_the_repository_is_away_it_is_tried_again_later_and_given_up_in_the_end(
    todo: Hosted,
):
    task = todo.crew.add("One")
    run = todo.crew.post(task, "execute-agent", agentId="yukihiro").json["run_id"]
    todo.hook("pre-receive", "exit 1")
    todo.work()
    with db.connection_context():
        push_tasks.again(todo.push(run))
        Outbox.delete().execute()
        todo.github.failing = 503  # no token is to be had
        forget_tokens()
        jobs.push(todo.push(run).id)
        row = todo.push(run)
        assert (row.state, row.tries) == ("queued", 1)
        assert database_ms() < row.due_at < database_ms() + IN_HAND_MS
        (asked,) = [each for each in Outbox.select() if each.queue == "agents"]
        assert (asked.body["args"], asked.due_at) == ([row.id], row.due_at)
        Push.update(tries=50).execute()
        jobs.push(row.id)
    assert todo.push(run).state == "refused"
    assert "GitHub" in todo.crew.task(task)["metadata"]["push"]["error"]


def forget_tokens() -> None:
    """Redis has lost what it kept."""
    with redis.Redis.from_url(config.settings().redis_url or "") as client:
        client.flushdb()


def test_a_pull_request_that_was_wished_for_comes_with_the_push(todo: Hosted):
    task = todo.crew.add("One")
    run = todo.crew.post(task, "execute-agent", agentId="yukihiro").json["run_id"]
    wanted = {"agent_id": "yukihiro", "title": "One thing", "body": "Done.", "draft": True}
    with db.connection_context(), db.atomic():
        pull_request_tasks.wish(Run.get_by_id(run), wanted)
    todo.work()
    (made,) = todo.github.pulls.all
    assert (made["title"], made["draft"], made["base"]["ref"]) == ("One thing", True, "trunk")
    facts = todo.crew.task(task)["metadata"]
    assert (facts["pr_number"], facts["pr_url"]) == (made["number"], made["html_url"])
    with db.connection_context():
        Push.update(state="queued").execute()  # whoever opened it died before saying so
        jobs.push(todo.push(run).id)
    assert todo.github.pulls.opened == 1


def test_no_token_is_in_any_table(todo: Hosted):
    todo.executed(todo.crew.add("One"))
    tokens = list(todo.github.tokens)
    assert any(each["permissions"]["contents"] == "write" for each in todo.github.tokens.values())
    with db.connection_context():
        tables = [name for name in db.get_tables() if name != "schema_migration"]
        rows = {name: db.execute_sql(f'SELECT * FROM "{name}"').fetchall() for name in tables}  # noqa: S608
    text = json.dumps(rows, default=str)
    assert not [token for token in tokens if token in text]


def test_a_run_that_only_bears_the_label_of_a_project_gets_and_brings_nothing(
    todo: Hosted, stranger: FlaskClient, teammate: FlaskClient
):
    order = {"agent_id": "yukihiro", "project_id": todo.crew.id, "task_id": "T1"}
    with db.connection_context():
        run = executors.spawn("usr_stranger", {**order, "execution_prompt": "Look around"}).id
        about = Run.get_by_id(run)
        assert origin_for(about.project_id, about.owner_id) is None
        assert origin_for(todo.crew.id, about.owner_id) is None
        assert origin_for(todo.crew.id, "usr_teammate") is None
        ProjectMember(project=todo.crew.id, user="usr_teammate").add()
        assert origin_for(todo.crew.id, "usr_teammate") is not None
    before = todo.branches()
    todo.work()
    assert stranger.get(f"/v1/runs/{run}").json["status"] == "completed"
    assert todo.branches() == before
    with db.connection_context():
        assert not Push.select().exists()


@pytest.mark.parametrize("definition", [replays.CURRENT, replays.PINNED])
def test_a_replay_of_what_was_pushed_pushes_nothing(todo: Hosted, definition: str):
    task = todo.crew.add("One")
    source = todo.executed(task)
    shown, branches, pushes = todo.crew.task(task), todo.branches(), todo.pushes
    form = {"definition": definition}
    replay = todo.crew.client.post(f"/v1/runs/{source}/replay", json=form).json["id"]
    todo.work()
    told = todo.crew.client.get(f"/v1/runs/{replay}").json
    assert (told["kind"], told["status"], told["error"]) == ("replay", "completed", None)
    assert told["task_branch"] == todo.branch(task)
    assert todo.commit(replay) == todo.commit(source)  # it has all that a push is made of
    with db.connection_context():
        assert [push.run_id for push in Push.select()] == [source]
    assert (todo.branches(), todo.pushes) == (branches, pushes)
    assert todo.crew.task(task) == shown


def test_a_run_that_fails_pushes_nothing(todo: Hosted):
    task = todo.crew.add("One")
    run = todo.crew.post(task, "execute-agent", agentId="yukihiro").json["run_id"]
    todo.crew.client.post(f"/v1/runs/{run}/cancel")
    todo.work()
    assert list(todo.branches()) == ["trunk"]


def test_a_deleted_project_is_pushed_for_no_more(todo: Hosted):
    todo.hook("pre-receive", "exit 1")
    run = todo.executed(todo.crew.add("One"))
    push = todo.push(run)
    todo.crew.client.delete(todo.crew.path)
    jobs.push(push.id)
    assert list(todo.branches()) == ["trunk"]


def in_halves(todo: Hosted, task: str) -> dict[str, Any]:
    """Two executors do a task together; gives what is told of their swarm."""
    about = {"project_id": todo.crew.id, "task_id": task, "title": "Two halves"}
    halves = [
        {**about, "key": key, "execution_prompt": scripted(key, EXECUTE=[{"calls": [call]}])}
        for key in ("A", "B")
        for call in [{"name": "write", "arguments": {"path": f"{key}.txt", "content": key}}]
    ]
    form = {"agent_id": "yukihiro", "tasks": halves}
    swarm = todo.crew.client.post("/v1/swarm/execute", json=form).json["swarm_id"]
    todo.work()
    told = todo.crew.client.get(f"/v1/swarm/{swarm}").json
    assert told["status"] == "completed", told
    answer: dict[str, Any] = told
    return answer


def test_what_several_did_for_one_task_is_merged_pushed_and_shown(todo: Hosted):
    task = todo.crew.add("Two halves")
    in_halves(todo, task)
    branch = f"feat/{task}-two-halves"
    files = git(todo.bare, "ls-tree", "--name-only", branch).split()
    assert {"A.txt", "B.txt", "main.py"} <= set(files)
    (made,) = todo.github.pulls.all
    assert (made["title"], made["head"]["ref"]) == ("Two halves", branch)
    facts = todo.crew.task(task)["metadata"]
    assert (facts["git_branch"], facts["pr_number"]) == (branch, made["number"])


def test_a_swarm_goes_on_with_the_branch_that_a_task_has_whatever_it_is_called_by_now(
    todo: Hosted,
):
    task = todo.crew.add("One")
    first, branch = todo.executed(task), todo.branch(task)
    todo.crew.client.put(f"{todo.crew.path}/tasks/{task}", json={"title": "Two halves"})
    todo.crew.to(task, "ready")
    told = in_halves(todo, task)
    assert [each["branch"] for each in told["tasks"]] == [f"{branch}-A", f"{branch}-B"]
    assert set(todo.branches()) == {"trunk", branch, f"{branch}-B"}  # A is at the task's own
    for each in (branch, f"{branch}-B"):  # B, too, began with what was there
        assert todo.commit(first) in git(todo.bare, "rev-list", each).split()
    files = git(todo.bare, "ls-tree", "--name-only", branch).split()
    assert {"A.txt", "B.txt", "main.py"} <= set(files)
    (made,) = todo.github.pulls.all
    assert made["head"]["ref"] == branch == todo.branch(task)


def test_a_part_that_is_taken_over_goes_on_although_others_have_gone_on_with_the_whole(
    todo: Hosted,
):
    task = todo.crew.add("Two halves")
    todo.executed(task)
    branch = todo.branch(task)
    since = git(todo.bare, "commit-tree", "-p", "trunk", "-m", "since", "trunk^{tree}")
    git(todo.bare, "update-ref", "refs/heads/trunk", since)  # the branch has not got that
    todo.crew.to(task, "ready")
    about = {"project_id": todo.crew.id, "task_id": task, "title": "Two halves"}
    halves = [
        {**about, "key": key, "execution_prompt": scripted(key, EXECUTE=[{"calls": calls}])}
        for key in ("A", "B")
        for calls in [[{"name": "write", "arguments": {"path": f"{key}.txt", "content": key}}]]
    ]
    form = {"agent_id": "yukihiro", "tasks": halves}
    swarm = todo.crew.client.post("/v1/swarm/execute", json=form).json["swarm_id"]
    path = f"/v1/swarm/{swarm}"
    while not (runs := [each["run_id"] for each in todo.crew.client.get(path).json["tasks"]])[1]:
        todo.work(1)
    with db.connection_context():
        run_jobs.advance(runs[1], 1)
        (step,) = Step.of(Run.get_by_id(runs[1]))
        assert die(step.id, 4, "after")  # what it wrote is on record
    todo.work()
    assert todo.branches()[branch] == todo.commit(runs[0])  # the other one is done
    with db.connection_context():
        expire(step.id)
    todo.work()
    told = todo.crew.client.get(path).json
    assert told["status"] == "completed", told
    assert {"A.txt", "B.txt"} <= set(git(todo.bare, "ls-tree", "--name-only", branch).split())


def test_the_branch_of_a_task_is_its_runs_and_a_fork_has_one_of_its_own(todo: Hosted):
    task = todo.crew.add("One")
    run = todo.crew.post(task, "execute", pipelineId="bugfix").json["run_id"]
    while todo.crew.client.get(f"/v1/runs/{run}").json["current_step"] != "VALIDATE":
        assert todo.work(1)
    todo.crew.client.post(f"/v1/runs/{run}/pause")
    early = todo.crew.client.post(f"/v1/runs/{run}/fork").json["id"]
    todo.work()
    assert todo.push(early).state == "pushed"
    assert "push" not in todo.crew.task(task)["metadata"]
    todo.crew.client.post(f"/v1/runs/{run}/resume")
    todo.work()
    assert todo.push(run).state == "pushed", todo.push(run).error
    late = todo.crew.client.post(f"/v1/runs/{run}/fork").json["id"]
    todo.work()
    branch = todo.branch(task)
    works = {branch: run, f"run/{early}": early, f"run/{late}": late}
    there = {name: todo.commit(each) for name, each in works.items()}
    assert todo.branches() == {"trunk": todo.branches()["trunk"], **there}
    assert todo.crew.task(task)["metadata"]["push"]["branch"] == branch
    assert todo.crew.client.get(f"{todo.crew.path}/tasks/{task}/push").json["run_id"] == run


def test_who_is_done_with_a_task_has_the_folders_of_its_runs_removed(
    todo: Hosted, settings: Settings
):
    todo.hook("pre-receive", "exit 1")
    task = todo.crew.add("One")
    run = todo.executed(task)
    path = f"{todo.crew.path}/tasks/{task}/workspace"
    answer = todo.crew.client.post(path, json={"agentId": "yukihiro"}).json
    assert answer["worktree_path"] == str(folder(settings, run) / "tree")
    removed = todo.crew.client.delete(path, query_string={"agent_id": "yukihiro"}).json
    assert removed["status"] == "remove_requested"
    lose_what_was_asked()
    todo.work()
    assert not folder(settings, run).exists()
    answer = todo.crew.client.post(path, json={"agentId": "yukihiro"}).json
    assert (answer["status"], answer["worktree_path"]) == ("ready", None)
    todo.crew.to(task, "ready")
    (todo.bare / "hooks" / "pre-receive").unlink()
    again = todo.executed(task)  # begins with what the first one left, from the blob store
    assert todo.commit(run) in git(todo.bare, "rev-list", todo.branch(task)).split()
    assert todo.branches()[todo.branch(task)] == todo.commit(again)
