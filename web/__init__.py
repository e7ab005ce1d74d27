"""How the world asks: `create_app()` makes the WSGI application."""

from __future__ import annotations

import importlib
import pkgutil

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from models import base
from models.config import Settings
from models.config import settings as configured
from web import errors, headers, openapi, security, throttles, tokens
from web.bodies import FastJson, storable_address
from web.feed import Feed


def create_app(settings: Settings | None = None) -> Flask:
    """The application; connects to nothing before its first request."""
    settings = settings or configured()
    if settings.database_url:
        base.connect(settings.database_url, settings.database_connections)
    app = Flask(__name__, static_folder=None)
    app.json = FastJson(app)
    app.config |= {"MAX_CONTENT_LENGTH": settings.body_limit, "PROPAGATE_EXCEPTIONS": False}
    app.extensions["settings"] = settings
    app.extensions["feed"] = Feed(settings.redis_url)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.url_value_preprocessor(storable_address)
    errors.register(app)
    headers.register(app, settings)
    tokens.register(app, settings)
    security.register(app, settings)
    throttles.register(app, settings)
    _trust_proxies(app, settings.trusted_proxies)
    app.teardown_appcontext(_return_connection)
    _register_blueprints(app, settings)
    return app


def _register_blueprints(app: Flask, settings: Settings) -> None:
    """Every module of web.blueprints has a `blueprint`."""
    import web.blueprints

    api = openapi.describe(app, settings)
    for module in pkgutil.iter_modules(web.blueprints.__path__):
        loaded = importlib.import_module(f"web.blueprints.{module.name}")
        api.register_blueprint(loaded.blueprint)
    throttles.finish(app)
    openapi.finish(app, api)


def _trust_proxies(app: Flask, count: int) -> None:
    """Believe what this many proxies say of the client's address and scheme, and nobody else."""
    if count:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=1)  # type: ignore[method-assign]


def _return_connection(_: BaseException | None) -> None:
    """Give the request's database connection back to the pool, unless a caller is amid its use."""
    if not (base.db.is_closed() or base.db.in_transaction()):
        base.db.close()
