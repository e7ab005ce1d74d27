"""The settings of every process: the only reader of the environment."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from models import credentials
from models.config_github import GithubSettings
from models.credentials import Credential

T = TypeVar("T")

MOST_DOLLARS = 1_000_000  # what a budget may be
MOST_TOKENS = 2**53 - 1
LEAST_SECRET = 32  # bytes of the key that signs tokens
KEY_NAME = re.compile(r"[A-Za-z0-9_-]{0,32}")


class Misconfigured(Exception):
    """The environment lacks or garbles something a process cannot start without."""


@dataclass(frozen=True)
class Settings:
    """Everything a process may be told. Sizes are bytes, times are seconds."""

    data: Path
    database_url: str | None = field(default=None, repr=False)
    redis_url: str | None = field(default=None, repr=False)
    blob_url: str = ""
    host: str = "127.0.0.1"
    port: int = 8000
    auth_enabled: bool = True
    allow_insecure: bool = False
    engine_token: str | None = field(default=None, repr=False)
    cors_origins: tuple[str, ...] = ("*",)
    legacy_event_names: bool = False
    build_version: str = "dev"
    build_commit: str | None = None
    built_at: str | None = None
    updates_url: str | None = None  # a list of releases as GitHub gives it; none: nobody is asked
    log_level: str = "INFO"
    sandbox: str = "bubblewrap"
    sandbox_image: str = "debian:stable-slim"
    docker_host: str | None = None
    default_model: str = "scripted/demo"
    executor_model: str | None = None  # of executors whose agent names none
    thinking_level: str = "off"  # where neither the step nor the agent says how much
    local_model_url: str | None = None
    providers: Mapping[str, Credential] = field(default_factory=dict)
    web_workers: int = 1
    worker_threads: int = 8
    database_connections: int = 20
    step_timeout: int = 300
    model_silence: int = 180
    body_limit: int = 2 * 1024 * 1024
    run_budget_usd: Decimal | None = None
    run_budget_tokens: int | None = None
    user_daily_budget_usd: Decimal | None = None
    user_daily_budget_tokens: int | None = None
    auth_secret: str | None = field(default=None, repr=False)
    access_seconds: int = 900
    refresh_seconds: int = 604_800
    totp_issuer: str = "DjinnBot"
    setup_token: str | None = field(default=None, repr=False)
    vault_keys: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)  # the first seals
    frontend_url: str = "http://localhost:3000"
    public_url: str | None = None  # how browsers and GitHub reach us; else the request's own
    trusted_proxies: int = 0  # how many stand before us and name the client's address
    private_networks: bool = False  # whether URLs that people set may lead into them
    github: GithubSettings = field(default_factory=GithubSettings)

    @property
    def api_url(self) -> str:
        """Where those who work for us reach the API."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::", ""} else self.host  # noqa: S104
        name = f"[{host}]" if ":" in host else host
        return self.public_url or f"http://{name}:{self.port}"

    def server(self, name: str) -> str:
        """The URL in `DATABASE_URL` or `REDIS_URL`; raises Misconfigured when that is not set."""
        url = {"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url}[name]
        if not url:
            raise Misconfigured(f"{name} is not set; `djinn up` starts servers of its own")
        return url

    @classmethod
    def read(cls, source: Mapping[str, str]) -> Settings:
        """Read `source`; raises Misconfigured with every faulty name at once."""
        return _Reader(source).settings()


class _Reader:
    """Collects what is wrong while it reads, so that it can be said all together."""

    def __init__(self, source: Mapping[str, str]) -> None:
        stripped = {name: value.strip() for name, value in source.items()}
        self.source = {name: value for name, value in stripped.items() if value}
        self.faults: list[str] = []

    def settings(self) -> Settings:
        data = Path(self.source.get("DJINN_DATA_PATH") or self._default_data()).expanduser()
        providers = credentials.found(self.source)
        local = self.source.get("LOCAL_MODEL_URL")
        read = Settings(
            data=data,
            database_url=self.source.get("DATABASE_URL"),
            redis_url=self.source.get("REDIS_URL"),
            blob_url=self.source.get("BLOB_URL") or (data / "blobs").absolute().as_uri(),
            auth_enabled=self._flag("AUTH_ENABLED", True),
            allow_insecure=self._flag("ALLOW_INSECURE", False),
            engine_token=self.source.get("ENGINE_INTERNAL_TOKEN"),
            cors_origins=tuple(self.source.get("CORS_ORIGINS", "*").replace(" ", "").split(",")),
            legacy_event_names=self._choice("EVENT_NAMES", ("reference", "legacy")) == "legacy",
            docker_host=self.source.get("DOCKER_HOST"),
            sandbox=self._choice("SANDBOX", ("bubblewrap", "docker", "unsafe-local")),
            default_model=self.source.get("DEFAULT_MODEL") or _default_model(providers, local),
            local_model_url=local,
            providers=providers,
            private_networks=self._flag("ALLOW_PRIVATE_NETWORKS", False),
            auth_secret=self._auth_secret(),
            vault_keys=self._vault_keys(),
            github=GithubSettings.read(self.source, self.faults),
            **self._plain(),
            **self._budgets(),
        )
        if self.faults:
            raise Misconfigured("; ".join(self.faults))
        return read

    def _plain(self) -> dict[str, Any]:
        """The settings that are read the same way: name, then what makes the value."""
        table: dict[str, tuple[str, Callable[[str], Any]]] = {
            "host": ("HOST", str),
            "port": ("PORT", int),
            "build_version": ("DJINNBOT_BUILD_VERSION", str),
            "build_commit": ("DJINNBOT_BUILD_COMMIT", str),
            "built_at": ("DJINNBOT_BUILT_AT", str),
            "updates_url": ("UPDATES_URL", str),
            "log_level": ("LOG_LEVEL", str.upper),
            "sandbox_image": ("SANDBOX_IMAGE", str),
            "web_workers": ("WEB_CONCURRENCY", int),
            "worker_threads": ("WORKER_THREADS", int),
            "database_connections": ("DB_POOL", int),
            "step_timeout": ("DEFAULT_STEP_TIMEOUT_SEC", int),
            "model_silence": ("MODEL_SILENCE_SEC", int),
            "body_limit": ("BODY_LIMIT", int),
            "access_seconds": ("AUTH_ACCESS_TOKEN_TTL", int),
            "refresh_seconds": ("AUTH_REFRESH_TOKEN_TTL", int),
            "totp_issuer": ("AUTH_TOTP_ISSUER", str),
            "setup_token": ("SETUP_TOKEN", str),
            "frontend_url": ("FRONTEND_URL", _without_slash),
            "public_url": ("PUBLIC_API_URL", _without_slash),
            "trusted_proxies": ("TRUSTED_PROXIES", int),
        }
        present = {key: row for key, row in table.items() if row[0] in self.source}
        return {key: self._made(name, make) for key, (name, make) in present.items()}

    def _budgets(self) -> dict[str, Any]:
        """Limits of spending: US dollars and tokens; one that is not set is none."""
        return {
            f"{whose}_budget_{unit}": self._budget(f"{whose}_budget_{unit}".upper(), make, most)
            for whose in ("run", "user_daily")
            for unit, make, most in (("usd", Decimal, MOST_DOLLARS), ("tokens", int, MOST_TOKENS))
        }

    def _budget(self, name: str, make: Callable[[str], Any], most: int) -> Any:
        if name not in self.source:
            return None
        try:
            limit = make(self.source[name])
            fits = 0 < limit <= most
        except (ValueError, InvalidOperation):
            limit, fits = None, False
        if not fits:
            kind = "a whole number of tokens" if make is int else "an amount of US dollars"
            self.faults.append(f"{name} must be {kind} above 0, at most {most}, or not set at all")
        return limit

    def _auth_secret(self) -> str | None:
        secret = self.source.get("AUTH_SECRET_KEY")
        if secret is not None and len(secret.encode()) < LEAST_SECRET:
            self.faults.append(f"AUTH_SECRET_KEY must have at least {LEAST_SECRET} bytes")
        return secret

    def _vault_keys(self) -> tuple[tuple[str, bytes], ...]:
        """`name:hex,name:hex`, the newest first; a key without a name is called by its digest."""
        several = self.source.get("SECRET_ENCRYPTION_KEYS", "")
        given = several or self.source.get("SECRET_ENCRYPTION_KEY", "")
        keys: dict[str, bytes] = {}
        for entry in filter(None, given.replace(" ", "").split(",")):
            name, _, digits = entry.rpartition(":")
            if not re.fullmatch(r"[0-9a-fA-F]{64}", digits) or not KEY_NAME.fullmatch(name):
                self.faults.append(
                    "SECRET_ENCRYPTION_KEYS must be 64 hex digits, or name:digits, by comma"
                )
                continue
            key = bytes.fromhex(digits)
            keys.setdefault(name or hashlib.sha256(key).hexdigest()[:8], key)
        return tuple(keys.items())

    def _made(self, name: str, make: Callable[[str], T]) -> T | None:
        try:
            return make(self.source[name])
        except ValueError:
            self.faults.append(f"{name} must be a whole number, not {self.source[name]!r}")
            return None

    def _flag(self, name: str, default: bool) -> bool:
        word = self.source.get(name, str(default)).lower()
        if word not in {"true", "false", "1", "0", "yes", "no", "on", "off"}:
            self.faults.append(f"{name} must be true or false, not {word!r}")
        return word in {"true", "1", "yes", "on"}

    def _choice(self, name: str, words: tuple[str, ...]) -> str:
        word = self.source.get(name, words[0])
        if word not in words:
            self.faults.append(f"{name} must be one of {', '.join(words)}, not {word!r}")
        return word

    def _default_data(self) -> str:
        share = self.source.get("XDG_DATA_HOME") or "~/.local/share"
        return f"{share}/djinnbot"


def _without_slash(url: str) -> str:
    return url.rstrip("/")


def _default_model(providers: Mapping[str, Credential], local_url: str | None) -> str:
    """The best model that can be reached without being told which."""
    choices = {
        "anthropic": "anthropic/claude-sonnet-4-6",
        "openai": "openai/gpt-5.1",
        "openrouter": "openrouter/moonshotai/kimi-k2.5",
        "google": "google/gemini-2.5-pro",
    }
    for provider, model in choices.items():
        if provider in providers and providers[provider].api_key:
            return model
    return "local/smollm2-135m" if local_url else "scripted/demo"


def environment() -> dict[str, str]:
    """A copy of this process's environment, for the processes it starts."""
    return dict(os.environ)


def adopt(told: Mapping[str, str]) -> None:
    """Have the settings of the process that says so."""
    os.environ.update(told)
    settings.cache_clear()


@cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return Settings.read(os.environ)
