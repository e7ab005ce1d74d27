"""Skills over HTTP: kept in versions, judged, given to agents, read by them."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from models import audit, shelf, skills
from models.accounts import ApiKey, digest
from models.chats import ChatSession
from models.skill_texts import extract
from models.skills import AgentSkill, Skill, SkillFile, SkillVersion
from tests.library import GRANTS, SKILLS
from tests.web.served import at_once, statuses

FORM = {"name": "Tidy Up", "description": "When things lie around", "content": "Tidy up."}
HERE = "/v1/skills/tidy-up"
AGENT = "/v1/skills/agents/finn"
GIVEN = f"{AGENT}/tidy-up"
VERDICT = "/v1/admin/skills/tidy-up"


@pytest.fixture
def kept(admin: FlaskClient) -> dict[str, Any]:
    """A skill of the admin's, which agents may have."""
    answer = admin.post("/v1/skills/", json={**FORM, "tags": ["order"]})
    assert answer.status_code == 200, answer.json
    return answer.json


@pytest.fixture
def proposed(owner: FlaskClient) -> dict[str, Any]:
    """One that somebody has proposed."""
    answer = owner.post("/v1/skills", json=FORM)
    assert answer.status_code == 200, answer.json
    return answer.json


def test_a_skill_is_kept(kept: dict[str, Any], owner: FlaskClient):
    assert kept | {"created_at": 0, "updated_at": 0} == {
        "id": "tidy-up",
        "name": "tidy-up",
        "description": "When things lie around",
        "tags": ["order"],
        "content": "Tidy up.",
        "enabled": True,
        "scope": "global",
        "owner_agent_id": None,
        "has_files": False,
        "version": 1,
        "approval_status": "approved",
        "managed": None,
        "created_by": "usr_admin",
        "created_at": 0,
        "updated_at": 0,
    }
    assert owner.get(HERE).json == owner.get("/v1/skills/Tidy%20Up/").json == kept
    listed = owner.get("/v1/skills").json
    assert [skill["id"] for skill in listed] == sorted([*SKILLS, "tidy-up"])
    assert kept in listed


def test_who_made_it_is_not_for_the_caller_to_say(owner: FlaskClient):
    told = owner.post("/v1/skills?created_by=admin", json={**FORM, "created_by": "admin"}).json
    assert told["created_by"] == "usr_owner"


def test_a_name_is_taken_once(kept: dict[str, Any], owner: FlaskClient):
    again = owner.post("/v1/skills", json={**FORM, "name": "tidy up"})
    assert (again.status_code, again.json["detail"]) == (409, "There is a skill tidy-up already")
    assert Skill.get_by_id("tidy-up").created_by == "usr_admin"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": "!"}, "name"),
        ({"name": "parse"}, "name"),
        ({"name": ""}, "name"),
        ({"description": " \n "}, "description"),
        ({"description": "x" * 1025}, "description"),
        ({"content": "\n"}, "content"),
        ({"content": "---\nname: a\n---\n"}, "content"),
        ({"content": "ä" * 140_000}, "content"),
        ({"tags": ["x" * 65]}, "tags"),
        ({"tags": list("abcdefghijklmnopqrstu")}, "tags"),
        ({"enabled": "yes"}, "enabled"),
        ({"scope": "planet"}, "scope"),
        ({"scope": "agent"}, "owner_agent_id"),
        ({"owner_agent_id": "finn"}, "owner_agent_id"),
        ({"files": {"../x": "y"}}, "files"),
        ({"files": {"x": "y" * (1024 * 1024 + 1)}}, "files"),
        ({"import_id": "ski_none"}, "import_id"),
    ],
)
def test_what_is_no_skill_is_refused(admin: FlaskClient, wrong: dict[str, Any], field: str):
    answer = admin.post("/v1/skills", json={**FORM, **wrong})
    assert answer.status_code == 422, answer.json
    assert answer.json["errors"][0]["loc"][1] == field
    assert Skill.select().count() == len(SKILLS)


def test_front_matter_that_was_left_on_top_is_no_content(admin: FlaskClient):
    text = "---\nname: x\ndescription: y\n---\n\nTidy up."
    assert admin.post("/v1/skills", json={**FORM, "content": text}).json["content"] == "Tidy up."
    rule = "---\nA line\n---\nTidy up."
    assert admin.put(HERE, json={"content": rule}).json["content"] == rule


def test_every_content_there_was_is_kept(kept: dict[str, Any], admin: FlaskClient):
    changed = admin.put(HERE, json={"content": "Tidy up at once.", "files": {"a.md": "A"}}).json
    assert (changed["version"], changed["has_files"]) == (2, True)
    assert admin.put(HERE, json={"content": "Tidy up at once."}).json["version"] == 2
    assert admin.put(HERE, json={"enabled": False}).json["version"] == 2
    newest, oldest = admin.get(f"{HERE}/versions").json
    assert (newest["version"], newest["content"]) == (2, "Tidy up at once.")
    assert (newest["created_by"], newest["files"]) == ("usr_admin", ["a.md"])
    assert (oldest["version"], oldest["content"], oldest["files"]) == (1, "Tidy up.", [])
    assert admin.get(f"{HERE}/versions?limit=1").headers["X-Total-Count"] == "2"


def test_what_somebody_proposes_waits_for_an_admin(
    proposed: dict[str, Any], owner: FlaskClient, admin: FlaskClient, stranger: FlaskClient
):
    assert proposed["approval_status"] == "pending"
    assert owner.get(HERE).json == proposed
    typo = stranger.get("/v1/skills/tidy-upp").json["detail"]
    assert stranger.get(HERE).json["detail"] == typo.replace("upp", "up")
    assert "tidy-up" not in [skill["id"] for skill in stranger.get("/v1/skills").json]
    assert admin.post(f"{GIVEN}/grant").status_code == 200
    assert admin.get(f"{AGENT}/manifest").json == admin.get(f"{AGENT}/manifest").json
    assert "tidy-up" not in admin.get(f"{AGENT}/manifest").json["manifest_text"]
    assert admin.get(f"{GIVEN}/content").status_code == 404
    (waiting,) = admin.get("/v1/admin/pending-approvals").json
    assert waiting | {"createdAt": 0} == {
        "id": "tidy-up",
        "type": "skill",
        "name": "tidy-up",
        "description": "When things lie around",
        "submittedByUserId": "usr_owner",
        "createdAt": 0,
        "version": 1,
    }
    assert admin.patch(f"{VERDICT}/approve").json == {"status": "approved", "id": "tidy-up"}
    assert stranger.get(HERE).json["content"] == "Tidy up."
    assert admin.get(f"{GIVEN}/content").json["content"] == "Tidy up."
    assert admin.get("/v1/admin/pending-approvals").json == []
    again = admin.patch(f"{VERDICT}/approve")
    assert (again.status_code, Skill.get_by_id("tidy-up").approved) == (400, 1)


def test_agents_read_what_was_approved_while_a_change_waits(
    proposed: dict[str, Any], owner: FlaskClient, admin: FlaskClient, teammate: FlaskClient
):
    admin.patch(f"{VERDICT}/approve")
    admin.post(f"{GIVEN}/grant")
    changed = owner.put(HERE, json={"content": "Throw it all away.", "files": {"x": "y"}}).json
    assert (changed["approval_status"], changed["version"]) == ("pending", 2)
    assert admin.get(f"{GIVEN}/content").json["content"] == "Tidy up."
    assert admin.get(f"{GIVEN}/files").json["files"] == []
    seen = teammate.get(HERE).json
    assert (seen["content"], seen["approval_status"], seen["version"]) == (
        "Tidy up.",
        "approved",
        1,
    )
    assert [each["version"] for each in teammate.get(f"{HERE}/versions").json] == [1]
    assert admin.patch(f"{VERDICT}/reject").json == {"status": "rejected", "id": "tidy-up"}
    assert admin.get(f"{GIVEN}/content").json["content"] == "Tidy up."
    assert owner.get(HERE).json["approval_status"] == "rejected"
    owner.put(HERE, json={"content": "Tidy up well."})
    admin.patch(f"{VERDICT}/approve", json={"version": 3})
    assert admin.get(f"{GIVEN}/content").json["content"] == "Tidy up well."


def test_nobody_approves_what_they_have_not_seen(
    proposed: dict[str, Any], owner: FlaskClient, admin: FlaskClient
):
    owner.put(HERE, json={"content": "Throw it all away."})
    unseen = admin.patch(f"{VERDICT}/approve", json={"version": 1})
    assert unseen.status_code == 409
    assert Skill.get_by_id("tidy-up").state == "pending"


def test_others_may_read_but_not_change(kept: dict[str, Any], owner: FlaskClient):
    for answer in (
        owner.put(HERE, json={"content": "x"}),
        owner.patch(f"{HERE}/enabled?enabled=false"),
        owner.delete(HERE),
        owner.post(f"{GIVEN}/grant"),
        owner.delete(GIVEN),
    ):
        assert answer.status_code == 403
    assert owner.get(HERE).json == kept


@pytest.mark.parametrize(
    ("query", "body", "enabled"),
    [
        ("?enabled=false", None, False),
        ("?enabled=true", None, True),
        ("", {"enabled": False}, False),
        ("?enabled=true", {"enabled": False}, False),
    ],
)
def test_a_skill_is_switched_by_query_or_body(
    kept: dict[str, Any], admin: FlaskClient, query: str, body: Any, enabled: bool
):
    told = (
        admin.patch(f"{HERE}/enabled{query}", json=body)
        if body
        else admin.patch(f"{HERE}/enabled{query}")
    )
    assert (told.status_code, told.json["enabled"]) == (200, enabled)


@pytest.mark.parametrize("query", ["", "?enabled=maybe"])
def test_a_switch_has_to_be_told_where(kept: dict[str, Any], admin: FlaskClient, query: str):
    told = admin.patch(f"{HERE}/enabled{query}")
    assert (told.status_code, told.json["errors"][0]["loc"][1]) == (422, "enabled")


def test_an_agent_is_given_a_skill_and_reads_it(kept: dict[str, Any], admin: FlaskClient):
    admin.put(HERE, json={"files": {"lists/a.md": "- A"}})
    given = admin.post(f"{GIVEN}/grant", json={"granted_by": "somebody"}).json
    assert (given["agent_id"], given["skill_id"]) == ("finn", "tidy-up")
    assert given["granted_by"] == "usr_admin"
    assert admin.post(f"{GIVEN}/grant").json == given
    listed = {skill["id"]: skill for skill in admin.get(AGENT).json}
    assert set(listed) == {*GRANTS["finn"], "tidy-up"}
    assert listed["tidy-up"]["granted_at"] == given["granted_at"]
    manifest = admin.get(f"{AGENT}/manifest").json
    assert [skill["id"] for skill in manifest["skills"]] == sorted(listed)
    assert manifest["manifest_text"].startswith("# SKILLS\n")
    assert "- tidy-up: When things lie around" in manifest["manifest_text"]
    assert admin.get(f"{GIVEN}/content").json == {
        "id": "tidy-up",
        "description": "When things lie around",
        "tags": ["order"],
        "content": "Tidy up.",
        "has_files": True,
    }
    assert admin.get(f"{GIVEN}/files").json == {"id": "tidy-up", "files": ["lists/a.md"]}
    read = admin.get(f"{GIVEN}/content?file=lists/a.md").json
    assert (read["file"], read["content"]) == ("lists/a.md", "- A")
    assert "tags" not in read


def test_an_agent_is_told_why_it_cannot_read(kept: dict[str, Any], admin: FlaskClient):
    assert admin.get(f"{GIVEN}/content").status_code == 403
    admin.post(f"{GIVEN}/grant")
    assert admin.get(f"{GIVEN}/content").status_code == 200
    for path, status in {"none.md": 404, "../x": 400, "/etc/passwd": 400, "a%00b": 400}.items():
        assert admin.get(f"{GIVEN}/content?file={path}").status_code == status, path
    admin.patch(f"{HERE}/enabled?enabled=false")
    assert admin.get(f"{GIVEN}/content").status_code == 503
    assert admin.get(f"{GIVEN}/files").status_code == 503
    assert "tidy-up" not in admin.get(f"{AGENT}/manifest").json["manifest_text"]
    assert admin.get(f"{AGENT}/none/content").status_code == 404
    assert admin.get("/v1/skills/agents/nobody/tidy-up/content").status_code == 404


def test_a_skill_is_taken_back(kept: dict[str, Any], admin: FlaskClient):
    admin.post(f"{GIVEN}/grant")
    assert admin.delete(GIVEN).json == {"revoked": "tidy-up", "agent_id": "finn"}
    assert admin.get(f"{GIVEN}/content").status_code == 403
    assert admin.delete(GIVEN).status_code == 404


def test_an_agents_own_skill_is_for_no_other(admin: FlaskClient):
    own = {**FORM, "scope": "agent", "owner_agent_id": "finn"}
    assert admin.post("/v1/skills", json=own).json["owner_agent_id"] == "finn"
    assert admin.post(f"{GIVEN}/grant").status_code == 200
    assert admin.post("/v1/skills/agents/eric/tidy-up/grant").status_code == 409


def test_a_deleted_skill_is_gone_everywhere(kept: dict[str, Any], admin: FlaskClient):
    admin.put(HERE, json={"files": {"a": "A"}})
    admin.post(f"{GIVEN}/grant")
    assert admin.delete(HERE).json == {"deleted": "tidy-up"}
    assert admin.get(HERE).status_code == admin.delete(HERE).status_code == 404
    for model in (SkillVersion, SkillFile, AgentSkill):
        assert not model.select().where(model.skill == "tidy-up").exists()
    assert admin.post("/v1/skills", json=FORM).json["version"] == 1


def test_changes_are_in_the_audit_log(kept: dict[str, Any], admin: FlaskClient):
    admin.put(HERE, json={"content": "x"})
    admin.post(f"{GIVEN}/grant")
    admin.delete(GIVEN)
    admin.delete(HERE)
    entries = audit.Entry.select().where(audit.Entry.subject == "tidy-up").order_by(audit.Entry.seq)
    verbs = ["created", "changed", "granted", "revoked", "deleted"]
    assert [entry.action for entry in entries] == [f"skill.{verb}" for verb in verbs]


def test_a_person_keeps_so_many_skills_and_no_more(owner: FlaskClient, admin: FlaskClient):
    many = [{"id": f"s{number}", "created_by": "usr_owner"} for number in range(skills.MOST)]
    Skill.insert_many(many).execute()
    assert owner.post("/v1/skills", json=FORM).status_code == 409
    assert admin.post("/v1/skills", json=FORM).status_code == 200


def test_what_ships_is_detached_by_a_change_and_not_deleted(admin: FlaskClient):
    path = "/v1/skills/tests-first"
    assert admin.get(path).json["managed"] == "shipped"
    assert admin.delete(path).status_code == 409
    admin.patch(f"{path}/enabled?enabled=false")
    shelf.load_shipped()
    assert admin.get(path).json["enabled"] is False
    assert admin.get(path).json["version"] == 1
    changed = admin.put(path, json={"content": "Test last."}).json
    assert (changed["managed"], changed["version"]) == (None, 2)
    assert "skill tests-first (kept as changed here)" in shelf.load_shipped()
    assert admin.get(path).json["content"] == "Test last."


def test_of_many_who_make_the_same_skill_one_does(owner: FlaskClient, as_caller: Any):
    made = at_once(8, lambda _: as_caller("djb_owner").post("/v1/skills", json=FORM))
    assert sorted(statuses(made)) == [200] + [409] * 7
    assert SkillVersion.select().where(SkillVersion.skill == "tidy-up").count() == 1


def test_changes_at_once_are_versions_one_after_the_other(
    kept: dict[str, Any], admin: FlaskClient, as_caller: Any
):
    def change(number: int) -> Any:
        return as_caller("djb_admin").put(HERE, json={"content": f"Tidy up {number} times."})

    made = at_once(8, change)
    assert statuses(made) == [200] * 8
    assert [each["version"] for each in admin.get(f"{HERE}/versions").json] == list(range(9, 0, -1))
    assert skills.version("tidy-up", 9).content == admin.get(HERE).json["content"]


def test_an_approval_and_a_change_at_once_approve_nothing_unseen(
    proposed: dict[str, Any], as_caller: Any
):
    def act(number: int) -> Any:
        if number % 2:
            return as_caller("djb_admin").patch(f"{VERDICT}/approve", json={"version": 1})
        return as_caller("djb_owner").put(HERE, json={"content": f"Throw away {number}."})

    at_once(6, act)
    skill = Skill.get_by_id("tidy-up")
    assert skill.approved in (None, 1)
    assert (skill.version, skill.state) == (4, "pending")


@pytest.mark.parametrize(
    ("form", "valid", "conflict"),
    [
        ({"raw": "---\nname: tidy-up\ndescription: d\n---\nc"}, True, True),
        ({"raw": "---\nname: other\ndescription: d\n---\nc"}, True, False),
        ({"raw": "no front matter"}, False, False),
        ({"raw": ""}, False, False),
    ],
)
def test_a_text_is_looked_at_before_it_is_kept(
    kept: dict[str, Any], owner: FlaskClient, form: Any, valid: bool, conflict: bool
):
    told = owner.post("/v1/skills/parse", json=form).json
    assert (told["valid"], told["name_conflict"]) == (valid, conflict)
    assert (told["error"] is None) == valid
    assert Skill.select().count() == len(SKILLS) + 1


def test_nothing_to_look_at_is_400(owner: FlaskClient):
    assert owner.post("/v1/skills/parse", json={}).status_code == 400
    assert owner.post("/v1/skills/parse", json={"raw": None, "url": ""}).status_code == 400


def test_a_skill_is_taken_out_of_an_answer(owner: FlaskClient):
    said = "Here:\n```\n---\nname: a\ndescription: b\n---\nc\n```\nGood?"
    told = owner.post("/v1/skills/extract", json={"text": said}).json
    assert (told["found"], told["valid"], told["name"], told["content"]) == (True, True, "a", "c")
    nothing = owner.post("/v1/skills/extract", json={"text": "hello"}).json
    assert (nothing["found"], nothing["valid"], nothing["name"]) == (False, False, "")


def test_a_chat_is_begun_in_which_an_agent_writes_a_skill(owner: FlaskClient):
    form = {"agent_id": "finn", "model": "scripted/demo", "prompt": "How we name branches"}
    told = owner.post("/v1/skills/generate/session", json=form).json
    assert "How we name branches" in told["initial_message"]
    assert (told["scope"], told["target_agent_id"]) == ("global", None)
    session = ChatSession.get_by_id(told["session_id"])
    assert session.id.startswith("skillgen_finn_")
    assert (session.user_id, session.model) == ("usr_owner", "scripted/demo")
    assert extract(session.system_prompt_override).name == "small-letters-and-dashes"
    unsaid = {name: form[name] for name in ("agent_id", "model")}
    assert owner.post("/v1/skills/generate/session", json=unsaid).status_code == 400
    nobody = {**form, "agent_id": "nobody"}
    assert owner.post("/v1/skills/generate/session", json=nobody).status_code == 404
    inside = {**form, "url": "http://127.0.0.1/x"}
    assert owner.post("/v1/skills/generate/session", json=inside).status_code == 422
    assert ChatSession.select().count() == 1


def test_lists_come_in_pages(owner: FlaskClient):
    first = owner.get("/v1/skills?limit=2")
    assert [skill["id"] for skill in first.json] == SKILLS[:2]
    assert first.headers["X-Total-Count"] == str(len(SKILLS))
    link = first.headers["Link"].partition(">")[0].removeprefix("<")
    assert [skill["id"] for skill in owner.get(link).json] == SKILLS[2:4]


def test_the_key_of_an_agent_at_work_reads_its_own_skills_alone(
    kept: dict[str, Any], admin: FlaskClient, as_caller: Any
):
    admin.post(f"{GIVEN}/grant")
    finn, eric = as_caller(_key_of("finn")), as_caller(_key_of("eric"))
    assert finn.get(f"{GIVEN}/content").json["content"] == "Tidy up."
    assert finn.get(f"{AGENT}/manifest").status_code == 200
    assert eric.get(f"{GIVEN}/content").status_code == 403
    assert finn.get(HERE).status_code == finn.post("/v1/skills", json=FORM).status_code == 403


def _key_of(agent_id: str) -> str:
    key = f"djb_{agent_id}"
    ApiKey(agent_id=agent_id, key_hash=digest(key), key_prefix="djb_", name=agent_id).add()
    return key
