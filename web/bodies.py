"""Reading what clients send: strict JSON objects, forms that ignore keys they do not know."""

from __future__ import annotations

import json
import unicodedata
from typing import Any, NoReturn

import orjson
from flask import Request, Response
from flask.json.provider import JSONProvider
from gunicorn.http.errors import ParseException
from marshmallow import EXCLUDE, Schema, ValidationError, fields, pre_load, validate
from webargs import flaskparser
from webargs.multidictproxy import MultiDictProxy
from werkzeug.exceptions import UnprocessableEntity, UnsupportedMediaType

from models.base import DEEPEST, clean, is_deep
from models.errors import Invalid, Malformed
from web import uploads

JSON = "application/json"
LARGEST = 2**53 - 1  # what a JSON number holds everywhere
UNSTORABLE = "\ufffd"  # what `clean` makes of what cannot be stored, such as NUL


def storable_address(_: str | None, values: dict[str, Any] | None) -> None:
    """Make the parts of an address storable; what is not simply names nothing."""
    if values:
        values.update(clean(values))


class Reader(flaskparser.FlaskParser):
    """webargs, but no body and `null` are `{}`, another media type is 415, broken JSON 422."""

    def load_json(self, req: Request, schema: Any) -> Any:
        body = _received(req)
        if not body.strip():
            return {}
        if req.mimetype != JSON and not req.mimetype.endswith("+json"):
            raise UnsupportedMediaType(f"Send {JSON}, not {req.mimetype or 'an untyped body'}")
        try:
            read = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise unreadable(error.msg, error.pos) from None
        if is_deep(read):
            raise unreadable(f"nested deeper than {DEEPEST} levels")
        return {} if read is None else read

    def load_files(self, req: Request, schema: Any) -> Any:
        return uploads.read(req, schema)

    def handle_error(self, error: ValidationError, req: Any, schema: Any, **_: Any) -> NoReturn:
        """Raise 422 with the messages where `web.errors` looks for them."""
        refusal = UnprocessableEntity()
        refusal.data = {"messages": error.messages}  # type: ignore[attr-defined]
        raise refusal


def _received(req: Request) -> bytes:
    """The whole body; Malformed when it stops early or its chunks are broken."""
    try:
        return req.get_data(cache=True)
    except (OSError, ParseException) as error:
        raise Malformed("The body did not arrive whole") from error


def unreadable(why: str, place: int = 0) -> Invalid:
    """The error for a body that cannot be taken as JSON."""
    fault = {"loc": ["body", place], "msg": why, "type": "json_invalid"}
    return Invalid(f"The body is not JSON: {why}", errors=[fault])


class Form(Schema):
    """What a client may send. Text is made storable: Postgres takes neither NUL nor half pairs."""

    class Meta:
        unknown = EXCLUDE

    @pre_load
    def storable(self, data: Any, **_: Any) -> Any:
        if isinstance(data, MultiDictProxy):
            return {name: clean(data[name]) for name in self.sent(data)}
        return clean(data) if isinstance(data, dict) else data

    def sent(self, data: MultiDictProxy) -> set[str]:
        """The names that both the query and this form know."""
        known = {field.data_key or name for name, field in self.fields.items()}
        return {name for name in known if name in data.data}


class Text(fields.String):
    """A string; blank ones are refused when it is required."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, *args, **kwargs)
        if self.required and not text.strip():
            raise ValidationError("Shorter than one character.")
        return text


class Name(fields.String):
    """What a person calls something: one line, without blanks around it."""

    def __init__(self, *, longest: int, **options: Any) -> None:
        super().__init__(validate=validate.Length(1, longest), **options)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, *args, **kwargs).strip()
        if UNSTORABLE in text or any(unicodedata.category(letter) == "Cc" for letter in text):
            raise ValidationError("Control characters are no part of a name.")
        return text


class Whole(fields.Integer):
    """A whole number and nothing that merely looks like one (bodies; queries are all text)."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.make_error("invalid")
        return super()._deserialize(value, *args, **kwargs)


class Flag(fields.Boolean):
    """true or false and nothing that merely looks like them (bodies; queries are all text)."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class FastJson(JSONProvider):
    """orjson, which is quick; the standard library for what it will not write (huge numbers)."""

    def response(self, *args: Any, **kwargs: Any) -> Response:
        """An answer with what is given as JSON, which stays the bytes that orjson makes."""
        written = self.written(self._prepare_response_obj(args, kwargs))
        return Response(written, mimetype=JSON)

    def written(self, obj: Any) -> bytes:
        try:
            return orjson.dumps(obj, default=str)
        except orjson.JSONEncodeError:
            return json.dumps(clean(obj), default=str).encode()

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return self.written(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return orjson.loads(s)
