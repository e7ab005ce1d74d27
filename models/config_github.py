"""The settings of the GitHub App: who we are to GitHub, and which GitHub it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

PUBLIC_API = "https://api.github.com"
ENTERPRISE = "/api/v3"  # how the API's address of a GitHub Enterprise Server ends
LARGEST_KEY = 64 * 1024  # bytes


@dataclass(frozen=True)
class GithubSettings:
    """What is set of the GitHub App; whether that suffices is asked with `fault`.

    A server without an App starts all the same. The key is read when it is needed: it may be
    mounted or renewed later.
    """

    app_id: str = ""
    client_id: str = ""
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)  # any of them verifies
    key_path: Path = Path("/secrets/github-app.pem")
    app_name: str = "djinnbot"
    api_url: str = PUBLIC_API

    @classmethod
    def read(cls, source: Mapping[str, str], faults: list[str]) -> GithubSettings:
        """Read the variables; what cannot be meant is added to `faults`."""
        api_url = source.get("GITHUB_API_URL", PUBLIC_API).rstrip("/")
        if urlsplit(api_url).scheme not in {"http", "https"}:
            faults.append("GITHUB_API_URL must begin with https://")
        secrets = source.get("GITHUB_APP_WEBHOOK_SECRET", "").split(",")
        return cls(
            app_id=source.get("GITHUB_APP_ID", ""),
            client_id=source.get("GITHUB_APP_CLIENT_ID", ""),
            webhook_secrets=tuple(filter(None, map(str.strip, secrets))),
            key_path=Path(source.get("GITHUB_APP_PRIVATE_KEY_PATH", cls.key_path)),
            app_name=source.get("GITHUB_APP_NAME", cls.app_name),
            api_url=api_url,
        )

    @property
    def missing(self) -> list[str]:
        """The variables that still have to be set, in the order in which one sets them."""
        wanted = {
            "GITHUB_APP_ID": self.app_id,
            "GITHUB_APP_CLIENT_ID": self.client_id,
            "GITHUB_APP_WEBHOOK_SECRET": self.webhook_secrets,
            "GITHUB_APP_PRIVATE_KEY_PATH": self.key_path.is_file(),
        }
        return [name for name, value in wanted.items() if not value]

    @property
    def fault(self) -> str | None:
        """The first thing that keeps the App from working, for people; None when nothing does."""
        if self.missing:
            return f"{self.missing[0]} is not set, or leads nowhere"
        if not self.app_id.isascii() or not self.app_id.isdigit():
            return "GITHUB_APP_ID must be the number that GitHub shows for the App"
        key = self.private_key()
        if key is None:
            return "The App's private key cannot be read, or is empty"
        if not key.startswith("-----BEGIN") or "PRIVATE KEY-----" not in key:
            return "The App's private key is not a PEM private key"
        return None

    def private_key(self) -> str | None:
        """The App's key as it is in its file now; None when there is none to be had."""
        try:
            with self.key_path.open("rb") as file:
                return file.read(LARGEST_KEY).decode("ascii", "replace").strip() or None
        except OSError:
            return None

    @property
    def web_url(self) -> str:
        """Where people look at what the API tells of."""
        if self.api_url == PUBLIC_API:
            return "https://github.com"
        return self.api_url.removesuffix(ENTERPRISE)

    @property
    def is_public(self) -> bool:
        """Whether it is github.com, and no Enterprise Server."""
        return self.api_url == PUBLIC_API

    @property
    def raw_url(self) -> str:
        """Below which the files of repositories are: `owner/name/commit/path`."""
        return "https://raw.githubusercontent.com" if self.is_public else f"{self.web_url}/raw"

    @property
    def install_url(self) -> str:
        """Where one installs the App on an account."""
        apps = "github-apps" if self.api_url.endswith(ENTERPRISE) else "apps"
        return f"{self.web_url}/{apps}/{self.app_name}/installations/new"
