"""The document and the page that shows it, without the internet."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

from flask.testing import FlaskClient

from models.base import Model, Moment
from models.config import Settings
from models.onboarding import OnboardingSession
from models.runs import Run
from web import create_app
from web.schemas.base import Milliseconds, field_of


def test_the_document_is_there_without_a_token(nobody: FlaskClient):
    document = nobody.get("/openapi.json").json
    assert document["openapi"].startswith("3.1")
    assert document["security"] == [{"bearer": []}]
    assert document["paths"]["/v1/status"]["get"]["security"] == []
    assert document["paths"]["/v1/pipelines/{pipeline_id}"]["put"]["x-access"] == "admin"
    asked = document["paths"]["/v1/runs"]["post"]["requestBody"]["content"]["application/json"]
    assert asked["example"]["pipeline_id"] == "engineering"


def test_of_many_who_ask_first_all_get_the_same_document(settings: Settings, nobody: FlaskClient):
    made = create_app(settings)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: made.test_client().get("/openapi.json"), range(4)))
    assert {answer.text for answer in answers} == {nobody.get("/openapi.json").text}


def test_the_page_loads_only_what_we_serve_and_runs_no_inline_script(nobody: FlaskClient):
    page = nobody.get("/docs")
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "http" not in policy
    needed = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(needed) == 4
    for address in needed:
        file = nobody.get(address)
        assert file.status_code == 200, address
        assert file.headers["Content-Security-Policy"] == policy
    assert not re.search(r"<script>|onload=", page.text)


def test_other_files_are_not_served(nobody: FlaskClient):
    assert nobody.get("/docs/../application.py").status_code == 404
    assert nobody.get("/docs/index.j2").status_code == 404


def test_every_moment_goes_out_as_a_number():
    models: list[type[Model]] = [Run, OnboardingSession]
    moments = [field for model in models for field in model._meta.sorted_fields]
    moments = [field for field in moments if isinstance(field, Moment)]
    assert len(moments) == 7
    assert all(isinstance(field_of(field), Milliseconds) for field in moments)
