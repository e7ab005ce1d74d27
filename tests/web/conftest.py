"""What several tests of the API begin with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import config
from tests.servers.github import Github
from tests.servers.issuer import Issuer
from tests.web.connecting import FORM, HERE
from tests.web.delivering import Send, sender


@pytest.fixture
def run(owner: FlaskClient) -> str:
    """A run that nobody has worked on yet."""
    return owner.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "x"}).json["id"]


@pytest.fixture
def ask(owner: FlaskClient) -> Callable[..., dict[str, Any]]:
    """Asks for a run as the owner and gives the answer."""

    def start(task: str = "Mend the login", pipeline: str = "bugfix", **more: Any) -> Any:
        body = {"pipeline_id": pipeline, "task_description": task, **more}
        answer = owner.post("/v1/runs", json=body)
        assert answer.status_code == 200, answer.json
        return answer.json

    return start


@pytest.fixture
def issuer(settings: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Issuer]:
    """A provider on the loopback, where private networks are allowed."""
    monkeypatch.setenv("ALLOW_PRIVATE_NETWORKS", "true")
    config.settings.cache_clear()
    with Issuer() as server:
        yield server
    monkeypatch.undo()
    config.settings.cache_clear()


@pytest.fixture
def outside(admin: FlaskClient, issuer: Issuer) -> Issuer:
    """The same, which people may log in with."""
    assert admin.post("/v1/auth/oidc", json=issuer.provider()).status_code == 200
    return issuer


@pytest.fixture
def send(github: Github, nobody: FlaskClient) -> Send:
    """Delivers webhooks as GitHub does, to a server on which our App is set up."""
    return sender(nobody)


@pytest.fixture
def connected(github: Github, owner: FlaskClient) -> FlaskClient:
    """The owner, whose project has a repository."""
    assert owner.post(f"{HERE}/connect", json=FORM).status_code == 200
    return owner
