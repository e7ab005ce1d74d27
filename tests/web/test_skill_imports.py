"""Skills of others: looked at first, kept when somebody asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import config, skill_imports
from models.skill_imports import KEPT_MS, SkillImport
from models.skill_sources import Place, placed
from models.skills import Skill
from tests.library import SKILLS
from tests.servers.outside import Answer, Outside, Received

COMMIT = "5f0c9a1b" * 5
LOOK = "/v1/skills/github-import"


def skill(name: str, body: str = "Tidy up.") -> bytes:
    return f"---\nname: {name}\ndescription: About {name}\n---\n{body}".encode()


class Hub:
    """A GitHub on the loopback with one public repository, `who/skills`."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"README.md": b"Skills"}
        self.sizes: dict[str, int] = {}
        self.server = Outside(self.answer)

    def answer(self, asked: Received) -> Answer:
        path, _, _ = asked.path.partition("?")
        if path.startswith("/repos/who/skills/commits/"):
            known = path.rpartition("/")[2] in {"HEAD", "main", COMMIT}
            return Answer(COMMIT.encode()) if known else Answer({"message": "?"}, 422)
        if path == f"/repos/who/skills/git/trees/{COMMIT}":
            return Answer({"sha": "x", "tree": [self.row(each) for each in self.files]})
        raw = path.removeprefix(f"/raw/who/skills/{COMMIT}/")
        return Answer(self.files[raw]) if raw in self.files else Answer({"message": "?"}, 404)

    def row(self, path: str) -> Mapping[str, Any]:
        size = self.sizes.get(path, len(self.files[path]))
        return {"path": path, "type": "blob", "size": size}

    @property
    def url(self) -> str:
        return f"{self.server.url}/who/skills"


@pytest.fixture
def hub(settings: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub()
    with made.server as server:
        monkeypatch.setenv("GITHUB_API_URL", server.url)
        config.settings.cache_clear()
        yield made
    monkeypatch.undo()
    config.settings.cache_clear()


def test_a_repository_is_looked_at_and_nothing_is_kept(owner: FlaskClient, hub: Hub):
    hub.files |= {"a/SKILL.md": skill("a"), "tests-first/SKILL.md": skill("tests-first")}
    hub.files |= {"a/check.md": b"- A", "a/b/run.sh": b"echo", "notes/x.md": b"not a skill's"}
    told = owner.post(LOOK, json={"url": hub.url}).json
    assert (told["type"], told["repo"]) == ("repo", "who/skills")
    first, second = told["skills"]
    assert (first["path"], first["name"], first["valid"]) == ("a/SKILL.md", "a", True)
    assert first["raw_url"] == f"{hub.server.url}/raw/who/skills/{COMMIT}/a/SKILL.md"
    assert (first["content"], first["has_files"], first["skipped"]) == ("Tidy up.", True, [])
    assert (second["name_conflict"], second["has_files"]) == (True, False)
    assert second["import_id"] is None
    assert Skill.select().count() == len(SKILLS)


def test_what_was_looked_at_is_kept_when_somebody_asks(
    owner: FlaskClient, admin: FlaskClient, hub: Hub
):
    hub.files |= {"a/SKILL.md": skill("a"), "a/check.md": b"- A", "a/b/c.md": b"- C"}
    (told,) = owner.post(LOOK, json={"url": hub.url}).json["skills"]
    form = {name: told[name] for name in ("name", "description", "content", "import_id")}
    stolen = admin.post("/v1/skills", json=form)
    assert (stolen.status_code, stolen.json["errors"][0]["loc"]) == (422, ["body", "import_id"])
    made = owner.post("/v1/skills", json=form).json
    assert (made["has_files"], made["approval_status"]) == (True, "pending")
    (version,) = owner.get("/v1/skills/a/versions").json
    assert version["files"] == ["b/c.md", "check.md"]
    assert not SkillImport.select().exists()


def test_a_dashboard_that_knows_no_import_id_gets_the_files_too(owner: FlaskClient, hub: Hub):
    hub.files |= {"a/SKILL.md": skill("a"), "a/check.md": b"- A"}
    (told,) = owner.post(LOOK, json={"url": hub.url}).json["skills"]
    form = {name: told[name] for name in ("name", "description", "content", "has_files")}
    assert owner.post("/v1/skills", json=form).json["has_files"] is True


def test_an_import_is_forgotten_after_a_day(owner: FlaskClient, hub: Hub):
    hub.files |= {"a/SKILL.md": skill("a"), "a/check.md": b"- A"}
    (told,) = owner.post(LOOK, json={"url": hub.url}).json["skills"]
    SkillImport.update(created_at=SkillImport.created_at - KEPT_MS).execute()
    form = {name: told[name] for name in ("name", "description", "content", "import_id")}
    assert owner.post("/v1/skills", json=form).status_code == 422
    assert skill_imports.forget_old() == 1


def test_somebody_who_looks_often_keeps_the_latest(owner: FlaskClient, hub: Hub):
    for number in range(skill_imports.MOST + 3):
        SkillImport.keep("usr_owner", f"s{number}", {"a": "A"})
    assert SkillImport.select().count() == skill_imports.MOST
    assert SkillImport.of("usr_owner", "s0") is None


@pytest.mark.parametrize(
    ("rest", "found"),
    [
        ("/tree/main/a", ["a/SKILL.md"]),
        ("/tree/main", ["a/SKILL.md", "b/skill.md"]),
        (".git", ["a/SKILL.md", "b/skill.md"]),
        ("/blob/main/b/skill.md", ["b/skill.md"]),
    ],
)
def test_a_part_of_a_repository_is_looked_at(
    owner: FlaskClient, hub: Hub, rest: str, found: list[str]
):
    hub.files |= {"a/SKILL.md": skill("a"), "b/skill.md": skill("b")}
    told = owner.post(LOOK, json={"url": hub.url + rest}).json
    assert [each["path"] for each in told["skills"]] == found
    assert told["type"] == ("file" if "blob" in rest else "repo")


@pytest.mark.parametrize("rest", ["", "/tree/main/none", "/blob/main/README.txt"])
def test_where_no_skill_is_it_is_404(owner: FlaskClient, hub: Hub, rest: str):
    assert owner.post(LOOK, json={"url": hub.url + rest}).status_code == 404


def test_what_cannot_come_along_is_named(owner: FlaskClient, hub: Hub):
    hub.files |= {"a/SKILL.md": skill("a"), "a/picture.png": b"\x89PNG\0", "a/large": b"x"}
    hub.files |= {f"a/{number:03}.md": b"x" for number in range(100)}
    hub.files |= {"a/back\\slash": b"x", "a/z.md": b"x"}
    hub.sizes = {"a/large": 1024 * 1024 + 1}
    (told,) = owner.post(LOOK, json={"url": hub.url}).json["skills"]
    assert {"large", "picture.png", "back\\slash", "z.md"} <= set(told["skipped"])
    kept = SkillImport.get_by_id(told["import_id"])
    assert len(kept.files) == 100 and "000.md" in kept.files


def test_a_skill_that_says_nothing_useful_tells_why(owner: FlaskClient, hub: Hub):
    hub.files["a/SKILL.md"] = b"# No head"
    (told,) = owner.post(LOOK, json={"url": hub.url}).json["skills"]
    assert (told["valid"], told["import_id"]) == (False, None)
    assert "front matter" in told["error"]


@pytest.mark.parametrize(
    "url",
    [
        *("https://gitlab.com/who/skills", "https://github.com.evil.example/who/skills"),
        *("https://evil.example/https://github.com/a/b", "ftp://github.com/a", "github.com"),
        *("https://github.com/who", "https://github.com/../x", "http://[", "https://github.com"),
        *("https://user@github.com/a/b", "https://github.com:8443/a/b"),
    ],
)
def test_only_github_is_asked(owner: FlaskClient, url: str):
    answer = owner.post(LOOK, json={"url": url})
    assert (answer.status_code, answer.json["errors"][0]["loc"]) == (422, ["body", "url"])


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://github.com/who/skills", Place("who", "skills")),
        ("https://www.github.com/who/skills.git/", Place("who", "skills")),
        ("https://github.com/who/s/tree/v1", Place("who", "s", "v1")),
        ("https://github.com/who/s/tree/v1/a%20b/", Place("who", "s", "v1", "a b")),
        ("https://github.com/w/s/blob/v1/SKILL.md", Place("w", "s", "v1", "SKILL.md", True)),
        (
            "https://raw.githubusercontent.com/w/s/v1/a/SKILL.md",
            Place("w", "s", "v1", "a/SKILL.md", True),
        ),
    ],
)
def test_addresses_are_understood(settings: object, url: str, place: Place):
    assert placed(url) == place


def test_a_github_that_fails_is_told_of(owner: FlaskClient, hub: Hub):
    for url in (f"{hub.url}/tree/gone", f"{hub.server.url}/who/other"):
        answer = owner.post(LOOK, json={"url": url})
        assert (answer.status_code, answer.json["errors"][0]["loc"]) == (422, ["body", "url"])
    hub.files |= {"a/SKILL.md": b"x" * (256 * 1024 + 1)}
    assert owner.post(LOOK, json={"url": hub.url}).status_code == 422


def test_a_text_elsewhere_is_fetched_within_bounds(
    owner: FlaskClient, hub: Hub, monkeypatch: pytest.MonkeyPatch
):
    hub.files |= {"a": skill("a"), "b": b"\xff\xfe", "c": b"x" * (256 * 1024 + 1)}
    where = f"{hub.server.url}/raw/who/skills/{COMMIT}"
    refused = owner.post("/v1/skills/parse", json={"url": f"{where}/a"})
    assert (refused.status_code, refused.json["errors"][0]["loc"]) == (422, ["body", "url"])
    asked = len(hub.server.requests)
    monkeypatch.setenv("ALLOW_PRIVATE_NETWORKS", "true")
    config.settings.cache_clear()
    assert asked == 0
    assert owner.post("/v1/skills/parse", json={"url": f"{where}/a"}).json["name"] == "a"
    for path in ("b", "c", "none"):
        assert owner.post("/v1/skills/parse", json={"url": f"{where}/{path}"}).status_code == 422
