"""What an agent takes along to a step besides its tools: secrets, cookies, a key to the API.

It is looked up and opened when the step begins, goes into the sandbox and nowhere else, and is
blotted out of whatever comes back. The prompt names it without saying it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from models import netscape, run_keys, secrets
from models.config import Settings
from models.cookies import CookieSet
from models.errors import DomainError
from models.logs import log
from models.masking import lines, without
from models.runs import Run
from models.steps import Step
from models.vault import Unreadable
from workers.pipelines.briefing import Look
from workers.sandboxes.base import Belongings

MOST_BYTES = 512 * 1024  # of all variables together; the kernel refuses a few times as much
TELLING_COOKIE = 8  # characters; shorter values of cookies are words that everybody uses
VARIABLES = (
    "Environment variables of your commands that hold secrets: {names}. Use them by name. You are"
    " not shown their values, and they must not get into files of the workspace."
)
COOKIES = "Cookie files (Netscape's format) that log you in, read-only: {files}."
API = (
    "The platform's API is at $DJINNBOT_API_URL (under /v1); call it with the header"
    ' "Authorization: Bearer $AGENT_API_KEY". The key is good for this step only.'
)


@dataclass(frozen=True)
class Equipment:
    """Variables and files for the sandbox; `told` goes into the prompt, `lost` did not open."""

    belongings: Belongings = field(default_factory=Belongings, repr=False)
    hidden: tuple[str, ...] = field(default=(), repr=False)
    told: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    def seen(self, look: Look) -> Look:
        """What there is to see, with what the agent has and without what it must not be told."""
        progress = without(look.progress, self.hidden)
        git_log = tuple(without(line, self.hidden) for line in look.git_log)
        return replace(look, progress=progress, git_log=git_log, carried=self.told)


def equip(settings: Settings, run: Run, step: Step, network: bool) -> Equipment:
    """What the agent has been given and the run's owner may use; with a network, a key as well."""
    given = secrets.usable(step.agent_id, run.owner_id or "")
    variables = _fitting(given.values)
    cookies = dict(_files(CookieSet.usable(step.agent_id, run.owner_id or "")))
    key = run_keys.drawn(step) if network else None
    env = {**variables, **_api(settings, key)}
    told = [
        VARIABLES.format(names=", ".join(sorted(variables))) if variables else "",
        COOKIES.format(files=", ".join(about for about, _ in cookies.values())) if cookies else "",
        API if key else "",
    ]
    files = {name: text for name, (_, text) in cookies.items()}
    return Equipment(
        Belongings(env, files),
        tuple(_hidden(variables, files, key)),
        tuple(filter(None, told)),
        (*given.lost, *(given.values.keys() - variables.keys())),
    )


def _fitting(values: Mapping[str, str]) -> dict[str, str]:
    """As many variables as a command can be given, those granted last first."""
    fitting, room = {}, MOST_BYTES
    for name, value in values.items():
        room -= len(value.encode())
        if room >= 0:
            fitting[name] = value
    return fitting


def _files(sets: list[CookieSet]) -> Iterator[tuple[str, tuple[str, str]]]:
    """The name of each cookie file, what to say about it, and its text."""
    for kept in sets:
        try:
            text = kept.reveal("content") or ""
        except (Unreadable, DomainError) as error:
            log.warning("cookies do not open", cookies=kept.id, error=str(error))
            continue
        yield kept.filename, (f"~/cookies/{kept.filename} ({kept.name}, {kept.domain})", text)


def _api(settings: Settings, key: str | None) -> dict[str, str]:
    if key is None:
        return {}
    return {"DJINNBOT_API_URL": settings.api_url, "AGENT_API_KEY": key}


def _hidden(
    variables: Mapping[str, str], files: Mapping[str, str], key: str | None
) -> Iterator[str]:
    """Every text that gives something away."""
    for value in variables.values():
        yield from lines(value)
    for text in files.values():
        values = {cookie.value for cookie in netscape.parse(text)}
        yield from (value for value in values if len(value) >= TELLING_COOKIE)
    if key is not None:
        yield key
