"""Browser cookies on the wire; their content goes in and never comes out."""

from __future__ import annotations

from typing import Any

from flask_smorest.fields import Upload
from marshmallow import ValidationError, fields

from models.cookies import LARGEST, LONGEST_NAME, CookieGrant, CookieSet
from web.bodies import Form, Name
from web.schemas.base import Milliseconds, derived, made

DOMAIN = {"example": "github.com"}
FILE = {"example": "ck_5f0c9a1b2c3d4e5f.txt"}
GIVEN_BY = {"example": "usr_5f0c9a1b2c3d4e5f"}
_GIVEN = made(
    "CookieSetGrant",
    {
        "agent_id": fields.String(),
        "granted_by": fields.String(metadata=GIVEN_BY),
        "granted_at": Milliseconds(),
    },
)
CookieSetView = made(
    "CookieSet",
    {
        **derived(CookieSet, "id", "name", user_id="owner_id"),
        "domain": fields.String(metadata=DOMAIN),
        "filename": fields.String(metadata=FILE),
        "cookie_count": fields.Integer(),
        "expires_at": fields.Integer(
            allow_none=True, metadata={"description": "Epoch seconds of the first to end"}
        ),
        **derived(CookieSet, "created_at", "updated_at"),
        "grants": fields.List(fields.Nested(_GIVEN)),
    },
)
CookieGrantView = made(
    "CookieGrant",
    {
        **derived(CookieGrant, "id", "agent_id"),
        "cookie_set_id": fields.String(attribute="cookie_set"),
        "cookie_set_name": fields.String(allow_none=True),
        "cookie_set_domain": fields.String(allow_none=True, metadata=DOMAIN),
        **derived(CookieGrant, "granted_by", "granted_at"),
    },
)
Done = made("CookiesDone", {"ok": fields.Boolean()})
Lent = made(
    "CookiesLent",
    {
        "ok": fields.Boolean(),
        "file_copied": fields.Boolean(),
        "filename": fields.String(metadata=FILE),
    },
)
Replaced = made(
    "CookiesReplaced",
    {
        "ok": fields.Boolean(),
        "cookie_set_id": fields.String(),
        "cookie_count": fields.Integer(),
        "domain": fields.String(metadata=DOMAIN),
        "agents_updated": fields.Integer(),
        "agents_failed": fields.List(fields.String(), metadata={"example": []}),
        "updated_at": Milliseconds(),
    },
)


class File(Upload):
    """The content of an uploaded file."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> bytes:
        if not isinstance(value, bytes):
            raise ValidationError("Not a file.")
        return value


class ContentForm(Form):
    """Other cookies for a set."""

    largest = LARGEST
    cookie_file = File(required=True)


class CookieForm(ContentForm):
    """A cookie file in Netscape's format, and what to call it."""

    name = Name(required=True, longest=LONGEST_NAME)


def filed(row: dict[str, Any]) -> dict[str, Any]:
    """A set with the name that its file has for agents."""
    return {**row, "filename": f"{row['id']}.txt"}


def lent(cookies: CookieSet) -> dict[str, Any]:
    """What a grant is answered with: there is no copy that could fail."""
    return {"ok": True, "file_copied": True, "filename": cookies.filename}


def replaced(cookies: CookieSet, agents: int) -> dict[str, Any]:
    """What new content is answered with; every agent gets it, none can fail."""
    told = {"cookie_set_id": cookies.id, "cookie_count": cookies.cookie_count}
    about = {"domain": cookies.domain, "updated_at": cookies.updated_at}
    return {"ok": True, **told, **about, "agents_updated": agents, "agents_failed": []}
