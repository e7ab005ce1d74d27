"""Skills: kept in versions, judged by admins, given to agents, read by these."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models import skills as known
from models.agents import Agent
from models.skill_texts import slug
from models.skills import AgentSkill, Skill, SkillVersion
from tasks import skill_writing, skills
from web.resources import Blueprint, Order, PageForm, page, visible
from web.schemas import skills as wire
from web.security import admin, for_agents

blueprint = Blueprint("skills", "What agents learn when they need it")
BY_ID = Order((Skill.id,), descending=False)
NEWEST = Order((SkillVersion.number,))
OLDEST = Order((Skill.updated_at, Skill.id), descending=False)


def _named(name: str) -> Skill:
    return visible(Skill, slug(name))


def _seen(skill_id: str) -> Any:
    return known.shown(g.principal).where(Skill.id == skill_id).get()


@blueprint.route("/skills")
class Skills(MethodView):
    @blueprint.arguments(PageForm, location="query")
    @blueprint.response(200, wire.SkillView(many=True))
    def get(self, form: dict[str, Any]) -> Any:
        """All skills by id; one that nobody has approved is shown to its maker and to admins."""
        return page(known.shown(g.principal), form, BY_ID)

    @blueprint.arguments(wire.SkillForm)
    @blueprint.response(200, wire.SkillView)
    def post(self, form: dict[str, Any]) -> Any:
        """Make a skill; what is no admin's waits for an admin's approval."""
        return _seen(skills.create(g.principal, form).id)


@blueprint.route("/skills/<name>")
class OneSkill(MethodView):
    @blueprint.response(200, wire.SkillView)
    def get(self, name: str) -> Any:
        """A skill."""
        return _seen(_named(name).id)

    @blueprint.arguments(wire.SkillChanges)
    @blueprint.response(200, wire.SkillView)
    def put(self, form: dict[str, Any], name: str) -> Any:
        """Change a skill; agents read the version before until an admin has approved this one."""
        return _seen(skills.change(g.principal, _named(name).id, form).id)

    @blueprint.response(200, wire.Deleted)
    def delete(self, name: str) -> Any:
        """Delete a skill with all its versions, also from the agents that have it."""
        skill = _named(name)
        skills.delete(g.principal, skill.id)
        return {"deleted": skill.id}


@blueprint.route("/skills/<name>/enabled")
class Enabled(MethodView):
    @blueprint.arguments(wire.SkillEnabledForm)
    @blueprint.arguments(wire.SkillEnabledQuery, location="query")
    @blueprint.response(200, wire.SkillView)
    def patch(self, body: dict[str, Any], query: dict[str, Any], name: str) -> Any:
        """Switch a skill on or off for all agents, by the body or by the query."""
        told = wire.switched(body, query)
        return _seen(skills.change(g.principal, _named(name).id, told).id)


@blueprint.route("/skills/<name>/versions")
class Versions(MethodView):
    @blueprint.arguments(PageForm, location="query")
    @blueprint.response(200, wire.VersionView(many=True))
    def get(self, form: dict[str, Any], name: str) -> Any:
        """What a skill has said over time, the newest first."""
        return [
            wire.versioned(row)
            for row in page(known.versions(g.principal, _named(name)), form, NEWEST)
        ]


@blueprint.route("/skills/parse")
class Parse(MethodView):
    @blueprint.arguments(wire.SkillParseForm)
    @blueprint.response(200, wire.Sketch)
    def post(self, form: dict[str, Any]) -> Any:
        """What a SKILL.md says, given here or found at an address; nothing is kept."""
        return skills.sketched(form)


@blueprint.route("/skills/extract")
class Extract(MethodView):
    @blueprint.arguments(wire.SkillExtractForm)
    @blueprint.response(200, wire.Extract)
    def post(self, form: dict[str, Any]) -> Any:
        """The first SKILL.md within a text, such as an answer of a model; nothing is kept."""
        return skills.extracted(form["text"])


@blueprint.route("/skills/github-import")
class Import(MethodView):
    @blueprint.arguments(wire.SkillSourceForm)
    @blueprint.response(200, wire.Sources)
    def post(self, form: dict[str, Any]) -> Any:
        """Look at the skills of a repository; to have one, create it with its `import_id`."""
        return skills.looked_up(g.principal, form["url"])


@blueprint.route("/skills/generate/session")
class Writing(MethodView):
    @blueprint.arguments(wire.SkillSessionForm)
    @blueprint.response(200, wire.Writing)
    def post(self, form: dict[str, Any]) -> Any:
        """Start a chat in which an agent writes a skill; `initial_message` is to be said first."""
        agent = visible(Agent, form["agent_id"])
        session_id, opening = skill_writing.begin(g.principal, agent, form)
        return {**form, "session_id": session_id, "initial_message": opening}


@blueprint.route("/skills/agents/<agent_id>")
class OfAgent(MethodView):
    @for_agents
    @blueprint.arguments(PageForm, location="query")
    @blueprint.response(200, wire.GivenView(many=True))
    def get(self, form: dict[str, Any], agent_id: str) -> Any:
        """The skills that an agent was given."""
        return page(known.of_agent(visible(Agent, agent_id, Agent.id).id), form, BY_ID)


@blueprint.route("/skills/agents/<agent_id>/manifest")
class Manifest(MethodView):
    @for_agents
    @blueprint.response(200, wire.Manifest)
    def get(self, agent_id: str) -> Any:
        """What an agent is told of the skills that it may read."""
        return wire.manifest(visible(Agent, agent_id, Agent.id).id)


@blueprint.route("/skills/agents/<agent_id>/<skill_id>/grant")
class Grant(MethodView):
    @blueprint.arguments(wire.SkillGrantForm)
    @blueprint.response(200, wire.GrantView)
    def post(self, _: dict[str, Any], agent_id: str, skill_id: str) -> AgentSkill:
        """Give an agent a skill."""
        agent = visible(Agent, agent_id, Agent.id)
        return skills.grant(g.principal, _named(skill_id).id, agent.id)


@blueprint.route("/skills/agents/<agent_id>/<skill_id>")
class Revocation(MethodView):
    @blueprint.response(200, wire.Revoked)
    def delete(self, agent_id: str, skill_id: str) -> Any:
        """Take a skill from an agent."""
        agent, skill = visible(Agent, agent_id, Agent.id), _named(skill_id)
        skills.revoke(g.principal, skill.id, agent.id)
        return {"revoked": skill.id, "agent_id": agent.id}


@blueprint.route("/skills/agents/<agent_id>/<skill_id>/content")
class Content(MethodView):
    @for_agents
    @blueprint.arguments(wire.SkillReadingForm, location="query")
    @blueprint.response(200, wire.Reading)
    def get(self, form: dict[str, Any], agent_id: str, skill_id: str) -> Any:
        """What an agent reads of a skill: its content, or one of its files."""
        agent = visible(Agent, agent_id, Agent.id)
        return wire.reading(agent.id, slug(skill_id), form.get("file"))


@blueprint.route("/skills/agents/<agent_id>/<skill_id>/files")
class Files(MethodView):
    @for_agents
    @blueprint.response(200, wire.Files)
    def get(self, agent_id: str, skill_id: str) -> Any:
        """The names of a skill's companion files."""
        return wire.files(visible(Agent, agent_id, Agent.id).id, slug(skill_id))


@blueprint.route("/admin/pending-approvals")
class Approvals(MethodView):
    @admin
    @blueprint.arguments(PageForm, location="query")
    @blueprint.response(200, wire.Approval(many=True))
    def get(self, form: dict[str, Any]) -> Any:
        """What waits for an admin's decision, the oldest first."""
        return [{**row, "type": "skill"} for row in page(known.waiting(), form, OLDEST)]


@blueprint.route("/admin/skills/<skill_id>/approve")
class Approve(MethodView):
    @admin
    @blueprint.arguments(wire.SkillVerdictForm)
    @blueprint.response(200, wire.Verdict)
    def patch(self, form: dict[str, Any], skill_id: str) -> Any:
        """Let agents read the newest version of a skill."""
        version = form.get("version")
        skill = skills.judge(g.principal, _named(skill_id).id, known.APPROVED, version)
        return {"status": skill.state, "id": skill.id}


@blueprint.route("/admin/skills/<skill_id>/reject")
class Reject(MethodView):
    @admin
    @blueprint.arguments(wire.SkillVerdictForm)
    @blueprint.response(200, wire.Verdict)
    def patch(self, form: dict[str, Any], skill_id: str) -> Any:
        """Refuse the newest version of a skill; one that was approved before still counts."""
        version = form.get("version")
        skill = skills.judge(g.principal, _named(skill_id).id, known.REJECTED, version)
        return {"status": skill.state, "id": skill.id}
