"""Settings on the wire, made of the table of `models.settings`."""

from __future__ import annotations

import math
from typing import Any

from marshmallow import fields, validate

from models.favorites import MOST
from models.settings import SETTINGS, Setting
from web.bodies import Flag, Form, Text, Whole
from web.schemas.base import made


class Number(fields.Float):
    """A finite number and nothing that merely looks like one."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.make_error("invalid")
        return super()._deserialize(value, *args, **kwargs)


def _field(setting: Setting) -> fields.Field:
    told: dict[str, Any] = {"metadata": {"example": setting.default}}
    if isinstance(setting.default, bool):
        return Flag(**told)
    if isinstance(setting.default, str):
        return fields.String(validate=_text_rules(setting), **told)
    kind = Whole if isinstance(setting.default, int) else Number
    most = None if math.isinf(setting.most) else setting.most
    return kind(validate=validate.Range(setting.least, most), **told)


def _text_rules(setting: Setting) -> list[validate.Validator]:
    """What a text must be; the empty one takes the default back."""
    rules: list[validate.Validator] = [validate.Length(max=setting.longest)]
    if setting.choices:
        rules.append(validate.OneOf((*setting.choices, "")))
    if setting.pattern is not None:
        rules.append(validate.Regexp(rf"(?:{setting.pattern.pattern})?\Z"))
    return rules


FIELDS = {name: _field(setting) for name, setting in SETTINGS.items()}
SettingsForm = Form.from_dict(dict(FIELDS), name="SettingsForm")
SettingsView = made("SettingsView", FIELDS)


class Favorite(Form):
    """A model that somebody has marked."""

    modelId = Text(required=True, validate=validate.Length(max=512))
    modelName = fields.String(load_default="", validate=validate.Length(max=512))
    providerName = fields.String(load_default="", validate=validate.Length(max=128))


class FavoritesForm(Form):
    """The whole list."""

    favorites = fields.List(
        fields.Nested(Favorite), required=True, validate=validate.Length(max=MOST)
    )


FavoritesView = made("FavoritesView", {"favorites": fields.List(fields.Nested(Favorite))})
Suggestions = made(
    "Suggestions",
    {
        name: fields.List(fields.String(metadata={"example": "zai/glm-5"}))
        for name in ("working", "thinking")
    },
)
