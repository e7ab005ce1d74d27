"""Browser cookies: kept by people, lent to agents."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models import cookies as known
from models.agents import Agent
from models.cookies import CookieGrant, CookieSet
from tasks import cookies
from web.resources import Blueprint, Order, PageForm, newest_first, page, visible
from web.schemas import cookies as wire
from web.security import for_agents

blueprint = Blueprint("cookies", "Logins that agents may use in their browsers")


@blueprint.route("/browser/cookies")
class CookieSets(MethodView):
    @blueprint.arguments(PageForm, location="query")
    @blueprint.response(200, wire.CookieSetView(many=True))
    def get(self, form: dict[str, Any]) -> Any:
        """The caller's cookie sets, newest first; never the cookies."""
        mine = known.shown(CookieSet.visible_to(g.principal))
        return [wire.filed(row) for row in page(mine, form, newest_first(CookieSet))]

    @blueprint.arguments(wire.CookieForm, location="files")
    @blueprint.response(200, wire.CookieSetView)
    def post(self, form: dict[str, Any]) -> Any:
        """Keep a cookie file."""
        made = cookies.keep(g.principal, form["name"], form["cookie_file"])
        return wire.filed(known.described(made))


@blueprint.route("/browser/cookies/<cookie_set_id>")
class OneCookieSet(MethodView):
    @blueprint.response(200, wire.CookieSetView)
    def get(self, cookie_set_id: str) -> Any:
        """A cookie set and who was lent it."""
        return wire.filed(known.described(visible(CookieSet, cookie_set_id)))

    @blueprint.response(200, wire.Done)
    def delete(self, cookie_set_id: str) -> Any:
        """Forget a cookie set."""
        cookies.delete(g.principal, visible(CookieSet, cookie_set_id).id)
        return {"ok": True}


@blueprint.route("/browser/cookies/<cookie_set_id>/content")
class Content(MethodView):
    @blueprint.arguments(wire.ContentForm, location="files")
    @blueprint.response(200, wire.Replaced)
    def put(self, form: dict[str, Any], cookie_set_id: str) -> Any:
        """Replace the cookies; agents have the new ones from their next step on."""
        kept = visible(CookieSet, cookie_set_id)
        return wire.replaced(*cookies.replace(g.principal, kept.id, form["cookie_file"]))


@blueprint.route("/browser/cookies/agents/<agent_id>")
class OfAgent(MethodView):
    @for_agents
    @blueprint.arguments(PageForm, location="query")
    @blueprint.response(200, wire.CookieGrantView(many=True))
    def get(self, form: dict[str, Any], agent_id: str) -> Any:
        """The cookie sets an agent was lent, as far as the caller may see them."""
        return page(known.of_agent(g.principal, agent_id), form, Order((CookieGrant.id,)))


@blueprint.route("/browser/cookies/agents/<agent_id>/<cookie_set_id>/grant")
class Grant(MethodView):
    @blueprint.response(200, wire.Lent)
    def post(self, agent_id: str, cookie_set_id: str) -> Any:
        """Lend a cookie set to an agent, in runs of whoever owns the set."""
        kept, agent = visible(CookieSet, cookie_set_id), visible(Agent, agent_id)
        return wire.lent(cookies.grant(g.principal, kept.id, agent.id))


@blueprint.route("/browser/cookies/agents/<agent_id>/<cookie_set_id>")
class Revocation(MethodView):
    @blueprint.response(200, wire.Done)
    def delete(self, agent_id: str, cookie_set_id: str) -> Any:
        """Take a cookie set from an agent."""
        cookies.revoke(g.principal, visible(CookieSet, cookie_set_id).id, agent_id)
        return {"ok": True}
