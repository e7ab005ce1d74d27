"""Settings of the running server, favorite and suggested models."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models import settings
from models.catalogue import SUGGESTIONS
from models.favorites import Favorites
from tasks import favorites
from tasks import settings as commands
from web.resources import Blueprint
from web.schemas import settings as wire
from web.security import admin

blueprint = Blueprint("settings", "Settings of the running server")


@blueprint.route("/settings")
class AllSettings(MethodView):
    @blueprint.response(200, wire.SettingsView)
    def get(self) -> Any:
        """All settings, those at their defaults as well."""
        return settings.told()

    @admin
    @blueprint.arguments(wire.SettingsForm)
    @blueprint.response(200, wire.SettingsView)
    def put(self, form: dict[str, Any]) -> Any:
        """Change the settings that are named; an empty text takes the default back."""
        return commands.change(g.principal, form)


@blueprint.route("/settings/favorites")
class FavoriteModels(MethodView):
    @blueprint.response(200, wire.FavoritesView)
    def get(self) -> Any:
        """The caller's favorite models; the server's for who has marked none, and for programs."""
        return {"favorites": Favorites.of(g.principal)}

    @blueprint.arguments(wire.FavoritesForm)
    @blueprint.response(200, wire.FavoritesView)
    def put(self, form: dict[str, Any]) -> Any:
        """Put another list in place of the caller's own."""
        return {"favorites": favorites.replace(g.principal, form["favorites"])}


@blueprint.route("/settings/models/suggestions")
class SuggestedModels(MethodView):
    @blueprint.response(200, wire.Suggestions)
    def get(self) -> Any:
        """Models that are good to begin with."""
        return SUGGESTIONS
