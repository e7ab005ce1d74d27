"""Agents: who they are, what they do, how they are set."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models import agents as known
from models import presence
from models.agents import Agent
from models.runs import Run
from tasks import agents
from web.resources import Blueprint, Order, PageForm, newest_first, page, visible
from web.schemas import agents as wire
from web.schemas import crew
from web.security import admin

blueprint = Blueprint("agents", "Who does the work")


@blueprint.route("/agents")
class Agents(MethodView):
    @blueprint.arguments(PageForm, location="query")
    @blueprint.response(200, wire.AgentItem(many=True))
    def get(self, form: dict[str, Any]) -> Any:
        """All agents by id."""
        shown = known.summaries(Agent.visible_to(g.principal))
        found = page(shown, form, Order((Agent.id,), descending=False))
        return [wire.summarised(row) for row in found]


@blueprint.route("/agents/status")
class Presences(MethodView):
    @blueprint.response(200, wire.Presences)
    def get(self) -> Any:
        """What every agent does right now, as far as the caller may see it."""
        rows = list(known.summaries(Agent.visible_to(g.principal)))
        ids = [row["id"] for row in rows]
        return wire.present(rows, presence.presences(g.principal, ids))


@blueprint.route("/agents/<agent_id>")
class OneAgent(MethodView):
    @blueprint.response(200, wire.AgentView)
    def get(self, agent_id: str) -> Any:
        """An agent with the text of its files."""
        return wire.described(visible(Agent, agent_id))


@blueprint.route("/agents/<agent_id>/status")
class AgentStatus(MethodView):
    @blueprint.response(200, wire.AgentStatus)
    def get(self, agent_id: str) -> Any:
        """An agent and what it does right now."""
        agent = visible(Agent, agent_id)
        return wire.status_of(agent, presence.presences(g.principal, [agent.id])[agent.id])


@blueprint.route("/agents/<agent_id>/runs")
class AgentRuns(MethodView):
    @blueprint.arguments(PageForm, location="query")
    @blueprint.response(200, wire.AgentRun(many=True))
    def get(self, form: dict[str, Any], agent_id: str) -> Any:
        """The runs the agent has worked in, newest first."""
        joined = presence.runs_of(g.principal, visible(Agent, agent_id).id)
        found = page(joined, form, newest_first(Run))
        return presence.with_executions(found, agent_id)


@blueprint.route("/agents/<agent_id>/config")
class Config(MethodView):
    @blueprint.response(200, wire.AgentConfig)
    def get(self, agent_id: str) -> Any:
        """How the agent is set; `{}` when nothing is."""
        return wire.settings_of(visible(Agent, agent_id))

    @admin
    @blueprint.arguments(wire.ConfigForm)
    @blueprint.response(200, wire.Configured)
    def put(self, form: dict[str, Any], agent_id: str) -> Any:
        """Change some settings; the others stay."""
        agent = agents.configure(visible(Agent, agent_id).id, wire.changes_of(form))
        return {"status": "updated", "config": agent.config}


@blueprint.route("/agents/<agent_id>/files/<filename>")
class File(MethodView):
    @admin
    @blueprint.arguments(wire.FileForm)
    @blueprint.response(200, wire.WrittenFile)
    def put(self, form: dict[str, Any], agent_id: str, filename: str) -> Any:
        """Replace one of the agent's persona files."""
        agents.write_file(visible(Agent, agent_id).id, filename, form["content"])
        size = len(form["content"].encode())
        return {"status": "updated", "filename": filename, "size": size}


@blueprint.route("/agents/<agent_id>/wake-stats")
class WakeStats(MethodView):
    @blueprint.response(200, wire.WakeStats)
    def get(self, agent_id: str) -> Any:
        """How often others woke the agent today, and how often they may."""
        return wire.wake_stats(visible(Agent, agent_id))


@blueprint.route("/agents/<agent_id>/pulse/status")
class PulseStatus(MethodView):
    @blueprint.response(200, wire.PulseStatus)
    def get(self, agent_id: str) -> Any:
        """When the agent looks around by itself."""
        agent = visible(Agent, agent_id)
        present = presence.presences(g.principal, [agent.id])[agent.id]
        return wire.pulse_status(agent, present)


@blueprint.route("/agents/<agent_id>/projects")
class AgentProjects(MethodView):
    @blueprint.response(200, wire.AgentProject(many=True))
    def get(self, agent_id: str) -> Any:
        """The projects the agent works on, as far as the caller may see them."""
        return crew.projects_of(visible(Agent, agent_id, Agent.id).id)
