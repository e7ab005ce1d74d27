"""How many streams may be open in a process: of everybody, and of one caller."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models.config import Settings
from tests.processes.product import until
from tests.web.listening import listening
from web import create_app, feed

EVERYTHING = "/v1/events/stream"


def test_one_caller_does_not_take_the_places_of_all_others(
    app: Flask,
    owner: FlaskClient,
    stranger: FlaskClient,
    run: str,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(feed, "MOST_EACH", 2)
    of_run = f"{EVERYTHING}?run_id={run}"
    with listening(owner, EVERYTHING), listening(owner, of_run):
        for path in (EVERYTHING, of_run):
            refused = owner.get(path)
            assert (refused.status_code, refused.headers["Retry-After"]) == (429, "10")
        with listening(stranger, EVERYTHING) as frames:
            next(frames)
    until(lambda: not len(app.extensions["feed"].audience))
    with listening(owner, EVERYTHING) as frames:
        next(frames)


def test_services_and_who_needs_no_account_may_have_all_places(
    engine: FlaskClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(feed, "MOST_EACH", 1)
    anybody = create_app(replace(settings, auth_enabled=False)).test_client()
    for client in (engine, anybody):
        with listening(client, EVERYTHING), listening(client, EVERYTHING) as frames:
            next(frames)


def test_who_finds_every_place_taken_comes_again(
    owner: FlaskClient, stranger: FlaskClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(feed, "MOST", 1)
    with listening(owner, EVERYTHING):
        refused = stranger.get(EVERYTHING)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
