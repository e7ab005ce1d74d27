"""Whole boards and their graphs: kept, sent again only when changed, and never a wrong one."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import psycopg2
import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import kept, whole_boards
from models.base import db
from tests.web.boards import Crew

VIEWS = ("", "/dependency-graph")


@pytest.fixture
def crew(owner: FlaskClient) -> Crew:
    return Crew(owner)


def tag(crew: Crew, view: str) -> str:
    return crew.client.get(crew.path + view).headers["ETag"]


def asked(crew: Crew, view: str, known: str) -> Any:
    return crew.client.get(crew.path + view, headers={"If-None-Match": known})


@pytest.mark.parametrize("view", VIEWS)
def test_who_has_the_latest_board_is_not_sent_it_again(crew: Crew, view: str):
    crew.add("One")
    first = crew.client.get(crew.path + view)
    again = asked(crew, view, first.headers["ETag"])
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert again.headers["Cache-Control"] == "private, no-cache"
    assert asked(crew, view, '"another", "tag"').data == first.data


CHANGES: dict[str, Callable[[Crew, str, str], Any]] = {
    "a new task": lambda crew, one, two: crew.add("Three"),
    "another title": lambda crew, one, two: crew.client.put(
        f"{crew.path}/tasks/{one}", json={"title": "Uno"}
    ),
    "a move": lambda crew, one, two: crew.to(one, "in_progress"),
    "a claim": lambda crew, one, two: crew.post(one, "claim", agentId="yukihiro"),
    "a dependency": lambda crew, one, two: crew.wait(two, one),
    "a task that is gone": lambda crew, one, two: crew.client.delete(f"{crew.path}/tasks/{one}"),
    "a column": lambda crew, one, two: crew.client.post(
        f"{crew.path}/columns", json={"name": "New"}
    ),
    "another name": lambda crew, one, two: crew.client.put(crew.path, json={"name": "Other"}),
    "an agent": lambda crew, one, two: crew.client.post(
        f"{crew.path}/agents", json={"agentId": "yukihiro"}
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_makes_it_another_board(crew: Crew, change: str):
    one, two = crew.add("One"), crew.add("Two")
    before = tag(crew, "")
    CHANGES[change](crew, one, two)
    answer = asked(crew, "", before)
    assert answer.status_code == 200
    assert answer.headers["ETag"] != before
    assert answer.json["tasks"] == crew.client.get(f"{crew.path}/tasks").json


def test_what_concerns_others_leaves_it_the_same(crew: Crew, owner: FlaskClient):
    crew.add("One")
    before = [tag(crew, view) for view in VIEWS]
    Crew(owner, name="Another").add("Two")
    assert [tag(crew, view) for view in VIEWS] == before


def test_a_stranger_who_knows_the_tag_learns_nothing(crew: Crew, stranger: FlaskClient):
    for view in VIEWS:
        known = {"If-None-Match": tag(crew, view)}
        answer = stranger.get(crew.path + view, headers=known)
        assert (answer.status_code, "ETag" in answer.headers) == (404, False)
        nowhere = stranger.get(f"/v1/projects/proj_none{view}", headers=known)
        assert answer.json["detail"].replace(crew.id, "proj_none") == nowhere.json["detail"]


def test_a_change_that_is_taken_back_was_none(crew: Crew):
    task = crew.add("One")
    before = tag(crew, "")
    with db.connection_context(), pytest.raises(RuntimeError), db.atomic():
        db.execute_sql("UPDATE tasks SET title = 'Other' WHERE id = %s", (task,))
        raise RuntimeError("changed its mind")
    assert asked(crew, "", before).status_code == 304
    assert crew.board["tasks"][0]["title"] == "One"


@pytest.mark.parametrize("seed", range(5))
def test_after_any_changes_the_kept_board_is_the_one_that_is_there(
    crew: Crew, seed: int, monkeypatch: pytest.MonkeyPatch
):
    """Every way of reading a task says the same, whatever was done since it was read last."""
    monkeypatch.setattr(kept.kept, "most", kept.MOST_BYTES)
    chance = random.Random(seed)
    tasks = [crew.add(f"Täsk {number}", tags=["a,b", '"']) for number in range(6)]
    for _ in range(12):
        _something(crew, tasks, chance)
        whole = crew.board
        assert whole["tasks"] == crew.client.get(f"{crew.path}/tasks?limit=500").json
        assert all(task.items() <= crew.task(task["id"]).items() for task in whole["tasks"])
        graph = crew.client.get(f"{crew.path}/dependency-graph").json
        assert [each["id"] for each in graph["nodes"]] == [each["id"] for each in whole["tasks"]]
        assert graph["edges"] == whole["dependencies"]
        assert sorted(graph["topological_order"]) == sorted(each["id"] for each in whole["tasks"])
        place = {task: number for number, task in enumerate(graph["topological_order"])}
        waits = [(edge["from_task_id"], edge["to_task_id"]) for edge in graph["edges"]]
        assert all(place[before] < place[after] for before, after in waits)


def _something(crew: Crew, tasks: list[str], chance: random.Random) -> None:
    one, two = sorted(chance.sample(tasks, 2))
    what = chance.randrange(6)
    if what == 0:
        tasks.append(crew.add("New", estimatedHours=chance.random() * 9))
    elif what == 1 and len(tasks) > 3:
        crew.client.delete(f"{crew.path}/tasks/{tasks.pop(tasks.index(one))}")
    elif what == 2:
        crew.post(two, "dependencies", fromTaskId=one)
    elif what == 3:
        column = chance.choice(crew.board["columns"])
        crew.post(one, "move", columnId=column["id"], position=0)
    elif what == 4:
        crew.client.put(f"{crew.path}/tasks/{one}", json={"estimatedHours": chance.random()})
    else:
        kept.kept.most = chance.choice((0, kept.MOST_BYTES))  # with no room nothing is kept


@pytest.mark.slow
def test_a_board_is_seen_at_one_moment_however_much_is_written(crew: Crew, app: Flask):
    tasks = [crew.add(f"Task {number}") for number in range(20)]
    over = threading.Event()

    def write() -> int:
        with db.connection_context():
            for number in range(150):
                with db.atomic():
                    for task in random.sample(tasks, len(tasks)):
                        db.execute_sql(
                            "UPDATE tasks SET priority = %s WHERE id = %s", (f"N{number}", task)
                        )
        over.set()
        return 150

    def read(_: int) -> int:
        looks = 0
        while not over.is_set():
            board = crew.board
            assert len({task["priority"] for task in board["tasks"]}) == 1
            looks += 1
        return looks

    with ThreadPoolExecutor(4) as people:
        writing = people.submit(write)
        looks = list(people.map(read, range(3)))
        assert writing.result() == 150
    assert sum(looks) > 10


def test_what_was_under_way_while_the_board_was_read_is_not_missed(crew: Crew, database: str):
    """Also where it was written under a savepoint, whose number no snapshot names."""
    one, two = crew.add("One"), crew.add("Two")
    with psycopg2.connect(database) as under_way, under_way.cursor() as cursor:
        title = "UPDATE tasks SET title = %s WHERE id = %s"
        cursor.execute(title, ("Uno", one))
        cursor.execute("SAVEPOINT inside")
        cursor.execute(title, ("Dos", two))
        crew.client.put(crew.path, json={"name": "Other"})  # later, and over before
        crew.add("Three")
        assert [task["title"] for task in crew.board["tasks"]] == ["One", "Two", "Three"]
        under_way.commit()
    assert [task["title"] for task in crew.board["tasks"]] == ["Uno", "Dos", "Three"]


def test_who_began_to_look_before_a_change_sees_nothing_of_it(crew: Crew):
    """Though another thread has looked after it, and its copy is the one that is kept."""
    one, two = crew.add("One"), crew.add("Two")
    project = crew.path.rpartition("/")[2]

    def change_and_look() -> list[str]:
        crew.client.put(f"{crew.path}/tasks/{one}", json={"title": "Uno"})
        crew.client.delete(f"{crew.path}/tasks/{two}")
        crew.add("Three")
        return [task["title"] for task in crew.board["tasks"]]

    with db.connection_context(), db.moment(), ThreadPoolExecutor(1) as other:
        db.execute_sql("SELECT 1")
        assert other.submit(change_and_look).result() == ["Uno", "Three"]
        seen = orjson.loads(b"".join(whole_boards.TASKS.read(project).pieces()))
    assert [task["title"] for task in seen] == ["One", "Two"]
    assert [task["title"] for task in crew.board["tasks"]] == ["Uno", "Three"]


def test_what_is_kept_never_takes_more_than_its_room():
    shelf = kept.Kept(most=100)
    for number in range(10):
        shelf.put(number, f"thing {number}", 30)
        assert shelf.find(0)  # asked for all the time
    assert [number for number in range(10) if shelf.find(number)] == [0, 8, 9]
    shelf.put(0, "smaller", 10)
    shelf.put("small", "thing", 30)
    assert (shelf.find(8), shelf.size) == ("thing 8", 100)
    shelf.put(0, "too large", 101)
    assert (shelf.find(0), shelf.size) == (None, 90)
