"""What clients say when they listen."""

from __future__ import annotations

from marshmallow import fields, validate

from web.bodies import Form


class StreamForm(Form):
    """Where to begin, and under which names."""

    since = fields.String(
        metadata={"description": "Begin after this event id; 0 everything, $ live only"}
    )
    after = fields.String(metadata={"description": "The same as `since`"})
    names = fields.String(validate=validate.OneOf(["reference", "legacy"]))
    token = fields.String(metadata={"description": "Where no header can be sent"})


class FeedForm(StreamForm):
    """One run, or everything the caller may see."""

    run_id = fields.String()
    follow = fields.Boolean(
        load_default=False, metadata={"description": "Stay after the end of the run"}
    )


class ActivityForm(StreamForm):
    """How much of the past to begin with."""

    limit = fields.Integer(load_default=50, validate=validate.Range(1, 200))
