"""Pipelines: read them, check them, write them."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models.pipelines import Pipeline
from tasks import pipelines
from web.resources import Blueprint, Order, PageForm, page, visible
from web.schemas import pipelines as wire
from web.security import admin

blueprint = Blueprint("pipelines", "What agents do, step by step")


@blueprint.route("/pipelines")
class Pipelines(MethodView):
    @blueprint.arguments(PageForm, location="query")
    @blueprint.response(200, wire.PipelineView(many=True))
    def get(self, form: dict[str, Any]) -> Any:
        """All pipelines by id, those with errors included."""
        known = Pipeline.visible_to(g.principal).select(*wire.COLUMNS)
        found = page(known, form, Order((Pipeline.id,), descending=False))
        return [wire.described(pipeline) for pipeline in found]


@blueprint.route("/pipelines/<pipeline_id>")
class OnePipeline(MethodView):
    @blueprint.response(200, wire.PipelineView)
    def get(self, pipeline_id: str) -> Any:
        """A pipeline with its steps and agents."""
        return wire.described(visible(Pipeline, pipeline_id))

    @admin
    @blueprint.arguments(wire.PipelineForm)
    @blueprint.response(200, wire.Written)
    def put(self, form: dict[str, Any], pipeline_id: str) -> Any:
        """Write a pipeline; runs that exist keep the version they began with."""
        pipeline = pipelines.put(pipeline_id, form["yaml_content"])
        return {"status": "updated", "pipeline_id": pipeline.id, "file": pipeline.file}


@blueprint.route("/pipelines/<pipeline_id>/validate")
class Validate(MethodView):
    @blueprint.response(200, wire.Verdict)
    def post(self, pipeline_id: str) -> Any:
        """Check a stored pipeline against the grammar and the agents there are."""
        parsed = pipelines.check(visible(Pipeline, pipeline_id).yaml)
        errors = [str(problem) for problem in parsed.errors]
        told = {"errors": errors, "warnings": [str(problem) for problem in parsed.warnings]}
        return {"valid": not errors, "pipeline_id": pipeline_id, **told}


@blueprint.route("/pipelines/<pipeline_id>/raw")
class RawPipeline(MethodView):
    @blueprint.response(200, wire.Raw)
    def get(self, pipeline_id: str) -> Any:
        """The YAML as it was written."""
        return visible(Pipeline, pipeline_id)
