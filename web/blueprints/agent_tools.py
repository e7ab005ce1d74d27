"""Which tools agents may use."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models import agent_tools
from models.agent_tools import ToolOverride
from models.agents import Agent
from tasks import agent_tools as commands
from web.resources import Blueprint, Order, PageForm, page, visible
from web.schemas import agent_tools as wire
from web.security import admin, for_agents, internal

blueprint = Blueprint("agent-tools", "Which tools agents may use")
BY_NAME = Order((ToolOverride.tool_name,), descending=False)


@blueprint.route("/agent-tools/<agent_id>", "/agents/<agent_id>/tools/overrides")
class Tools(MethodView):
    @blueprint.arguments(PageForm, location="query")
    @blueprint.response(200, wire.ToolView(many=True))
    def get(self, form: dict[str, Any], agent_id: str) -> Any:
        """What has been decided about the agent's tools; it may use all others."""
        agent = visible(Agent, agent_id, Agent.id)
        decided = ToolOverride.visible_to(g.principal).where(ToolOverride.agent == agent.id)
        return page(decided, form, BY_NAME)

    @admin
    @blueprint.arguments(wire.OverridesForm)
    @blueprint.response(200, wire.ToolView(many=True))
    def put(self, form: dict[str, Any], agent_id: str) -> Any:
        """Decide about several tools at once; agents at work heed it from their next turn on."""
        told = {each["tool_name"]: each["enabled"] for each in form["overrides"]}
        return commands.decide(g.principal, visible(Agent, agent_id, Agent.id).id, told)


@blueprint.route(
    "/agent-tools/<agent_id>/<tool_name>", "/agents/<agent_id>/tools/overrides/<tool_name>"
)
class Tool(MethodView):
    @admin
    @blueprint.arguments(wire.ToolForm)
    @blueprint.response(200, wire.ToolView)
    def put(self, form: dict[str, Any], agent_id: str, tool_name: str) -> Any:
        """Allow or forbid the agent a tool; agents at work heed it from their next turn on."""
        agent, told = visible(Agent, agent_id, Agent.id), {tool_name: form["enabled"]}
        return commands.decide(g.principal, agent.id, told)[0]

    @admin
    @blueprint.response(204)
    def delete(self, agent_id: str, tool_name: str) -> None:
        """Let the agent use the tool as if nobody had ever decided about it."""
        commands.forget(g.principal, visible(Agent, agent_id, Agent.id).id, tool_name)


@blueprint.route("/agents/<agent_id>/tools/disabled")
class Disabled(MethodView):
    @internal
    @for_agents
    @blueprint.response(200, example=["bash"])
    def get(self, agent_id: str) -> Any:
        """The names of the tools the agent may not use."""
        return agent_tools.disabled(visible(Agent, agent_id, Agent.id).id)
