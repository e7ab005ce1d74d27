"""A skill of the owner's that nobody has approved yet, and one that an agent of theirs has."""

from __future__ import annotations

from collections.abc import Callable

from flask.testing import FlaskClient

from models.base import db
from models.principals import Principal
from tasks import skills
from tests.guards.things.shipped import AGENT

TEXT = {"description": "When things are to be tidied", "content": "Tidy up."}
GIVEN = "/v1/skills/agents/<agent_id>/<skill_id>"
OTHERS = {
    "/v1/admin/skills/<skill_id>/approve": {"skill_id": "name"},
    "/v1/admin/skills/<skill_id>/reject": {"skill_id": "name"},
}
ADMIN = Principal("usr_admin", "user", is_admin=True)


def make(owner: FlaskClient, work: Callable[..., int]) -> dict[str, str]:
    for name in ("proposed", "approved"):
        assert owner.post("/v1/skills", json={"name": name, **TEXT}).status_code == 200
    with db.connection_context():
        skills.judge(ADMIN, "approved", "approved")
        skills.grant(ADMIN, "approved", AGENT)
    return {"name": "proposed", "skill_id": "approved"}
