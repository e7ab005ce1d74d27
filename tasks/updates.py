"""Updates: asking what releases there are, and being asked to install one."""

from __future__ import annotations

from models import audit
from models.base import db
from models.config import settings
from models.errors import Malformed, Unsupported
from models.principals import Principal
from models.releases import Release
from tasks import task


@task(queue="short")
def check() -> None:
    """Ask the configured address for the newest release, and write it down."""


def ask() -> None:
    """Have it checked, unless the operator wants no checks or there was one a moment ago."""
    newest = Release.newest()
    if settings().updates_url and not (newest and newest.fresh):
        with db.atomic():
            check.enqueue_once("newest")


def apply(principal: Principal, target: str | None) -> None:
    """Write down that somebody wants the update; always Unsupported, for this is not our doing.

    Malformed when no version is named and none is known.
    """
    newest = Release.newest()
    version = target or (newest and newest.version)
    if not version:
        raise Malformed("The latest version is not known: name one as target_version")
    with db.atomic():
        audit.record(principal, "update.requested", version)
    raise Unsupported(
        f"Updates are managed by the deployment: install {version} there, run `djinn migrate`,"
        " and start the processes anew"
    )
