"""What was asked of models, what it took and cost."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models import usage
from models.llm_calls import LlmCall
from web.resources import Blueprint, listed, newest_first, only, page, visible, wrapped
from web.schemas import llm_calls as wire
from web.security import admin

blueprint = Blueprint("llm-calls", "Calls of models")


@blueprint.route("/llm-calls")
class Calls(MethodView):
    @blueprint.arguments(wire.CallsForm, location="query")
    @blueprint.response(200, wire.Calls)
    def get(self, form: dict[str, Any]) -> Any:
        """Calls, newest first, with what all that match add up to."""
        calls = only(listed(LlmCall, wire.LlmCallView), form, wire.FILTERS)
        rows = page(calls, form, newest_first(LlmCall))
        return wrapped("calls", rows, summary=usage.summary(calls))


@blueprint.route("/admin/llm-calls")
@admin
class AllCalls(Calls):
    """The same for admins, under the path they know."""


@blueprint.route("/llm-calls/summary")
class Summary(MethodView):
    @blueprint.arguments(wire.CallFilter, location="query")
    @blueprint.response(200, wire.CallSummary)
    def get(self, form: dict[str, Any]) -> Any:
        """What the calls add up to: together, per provider, per model and per agent."""
        calls = only(LlmCall.visible_to(g.principal), form, wire.FILTERS)
        return usage.breakdown(calls)


@blueprint.route("/llm-calls/<call_id>")
class OneCall(MethodView):
    @blueprint.response(200, wire.LlmCallView)
    def get(self, call_id: str) -> Any:
        """One call."""
        return visible(LlmCall, call_id)
