"""Onboarding on the wire."""

from __future__ import annotations

from typing import Any

from marshmallow import INCLUDE, ValidationError, fields, validate, validates, validates_schema

from models import onboarding
from models.base import IDENTIFIER, dumps
from models.chats import ChatMessage
from models.onboarding import MOST_CONTEXT, OnboardingSession
from models.projects import Project
from web.bodies import Form, Text
from web.schemas.base import Free, Milliseconds, derived, made
from web.schemas.projects import Setup

EXAMPLE = {"example": "onb_5f0c9a1b2c3d4e5f"}
AGENT = {"example": "stas"}
CONTEXT = {"example": {"project_name": "Todo", "goal": "Nobody forgets the milk"}}
CHAT = {"example": "onb_stas_1730000000000_5f0c9a1b2c3d4e5f"}
MODEL = validate.Length(1, 256)
ID = validate.Length(1, IDENTIFIER)
MOST_MESSAGE = 100_000  # characters

Message = made(
    "OnboardingMessage",
    {
        "id": fields.String(metadata={"example": "ombm_5f0c9a1b2c3d4e5f"}),
        "session_id": fields.String(metadata=EXAMPLE),
        "role": fields.String(metadata={"example": "assistant"}),
        "content": fields.String(),
        "agent_id": fields.String(allow_none=True, metadata=AGENT),
        "agent_name": fields.String(allow_none=True, metadata={"example": "Stas"}),
        "agent_emoji": fields.String(allow_none=True, metadata={"example": "🚀"}),
        "tool_calls": fields.List(Free(), allow_none=True, metadata={"example": None}),
        "thinking": fields.String(allow_none=True),
        "handoff_to_agent": fields.String(allow_none=True, metadata={"example": None}),
        "status": fields.String(allow_none=True, metadata={"example": "completed"}),
        "created_at": Milliseconds(),
    },
)
Page = made(
    "OnboardingLandingPage",
    {
        "html": fields.String(metadata={"example": "<h1>Todo</h1>"}),
        "caption": fields.String(allow_none=True),
        "last_agent_id": fields.String(allow_none=True, metadata=AGENT),
        "version": fields.Integer(),
    },
)
Summary = made(
    "OnboardingSummary",
    {
        **derived(OnboardingSession, "id", status="state"),
        **derived(OnboardingSession, "project_id", "template_id", "current_agent_id"),
        "current_agent_name": fields.String(metadata={"example": "Stas"}),
        "current_agent_emoji": fields.String(metadata={"example": "🚀"}),
        **derived(OnboardingSession, "phase", "chat_session_id", "model"),
        "context": Free(metadata=CONTEXT),
        **derived(OnboardingSession, "planning_run_id", "planning_error"),
        **derived(OnboardingSession, "created_at", "updated_at", "completed_at"),
    },
)
Session = made(
    "OnboardingSession",
    {
        **Summary._declared_fields,
        "landing_page_state": fields.Nested(Page, allow_none=True),
        "messages": fields.List(fields.Nested(Message)),
    },
)
_SAID = {"status": fields.String(), "sessionId": fields.String(metadata=EXAMPLE)}
Queued = made(
    "OnboardingQueued",
    {
        "status": fields.String(metadata={"example": "queued"}),
        "sessionId": fields.String(metadata=EXAMPLE),
        "chatSessionId": fields.String(metadata=CHAT),
        "userMessageId": fields.String(metadata={"example": "msg_5f0c9a1b2c3d4e5f"}),
        "assistantMessageId": fields.String(metadata={"example": "msg_5f0c9a1b2c3d4e60"}),
    },
)
_MADE = {
    "projectId": fields.String(metadata={"example": "proj_5f0c9a1b2c3d4e5f"}),
    "projectName": fields.String(metadata={"example": "Todo"}),
    "planningRunId": fields.String(
        allow_none=True,
        metadata={
            "example": "run_5f0c9a1b2c3d4e5f",
            "description": "null while the repository is cloned: the plan begins after that",
        },
    ),
}
HandedOver = made(
    "OnboardingHandedOver",
    {
        "status": fields.String(
            metadata={"example": "handed_off", "description": "already_handed_off | finalized"}
        ),
        "sessionId": fields.String(metadata=EXAMPLE),
        "fromAgent": fields.String(metadata=AGENT),
        "toAgent": fields.String(metadata={"example": "jim"}),
        "newChatSessionId": fields.String(metadata={"example": CHAT["example"]}),
        "phase": fields.String(metadata={"example": "strategy"}),
        "currentAgent": fields.String(metadata={"example": "jim"}),
        **_MADE,
    },
)
Finalized = made(
    "OnboardingFinalized",
    {
        "status": fields.String(
            metadata={"example": "finalized", "description": "already_finalized"}
        ),
        "sessionId": fields.String(metadata=EXAMPLE),
        **_MADE,
        "workspaceSetup": Setup,
    },
)
Stopped = made(
    "OnboardingStopped",
    {
        "status": fields.String(metadata={"example": "stop_sent"}),
        "sessionId": fields.String(metadata=EXAMPLE),
        "chatSessionId": fields.String(allow_none=True, metadata=CHAT),
    },
)
Ended = made("OnboardingEnded", _SAID)
Known = made("OnboardingKnown", {"status": fields.String(), "context": Free(metadata=CONTEXT)})
Shown = made(
    "OnboardingShown",
    {"status": fields.String(), "landingPageState": fields.Nested(Page)},
)


class OnboardingListForm(Form):
    """Which sessions are wanted; without a status those that have not become a project."""

    status = fields.String(validate=validate.OneOf(list(OnboardingSession.state.arrows)))
    limit = fields.Integer(load_default=20, validate=validate.Range(0, 100))
    offset = fields.Integer(load_default=0, validate=validate.Range(0, 1_000_000))
    cursor = fields.String(metadata={"description": "Go on where a `Link` header pointed"})


class OnboardingStartForm(Form):
    """Which model talks, and which template's agents and board it is to be."""

    model = fields.String(allow_none=True, validate=MODEL, metadata={"example": "scripted/demo"})
    template_id = fields.String(
        data_key="templateId",
        allow_none=True,
        validate=ID,
        metadata={"example": "software-dev"},
    )


class OnboardingSayForm(Form):
    """What is said."""

    message = Text(
        required=True,
        validate=validate.Length(max=MOST_MESSAGE),
        metadata={"example": "I want to build a todo app"},
    )
    model = fields.String(allow_none=True, validate=MODEL, metadata={"example": "scripted/demo"})


class Facts(fields.Dict):
    """What is known, by key: at most as much as there is room for."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        read = super()._deserialize(value, *args, **kwargs)
        refuse_long(read)
        return read


def refuse_long(told: Any) -> None:
    """Raise ValidationError for more than there is room for."""
    if len(dumps(told).encode()) > MOST_CONTEXT:
        raise ValidationError(f"Longer than {MOST_CONTEXT >> 10} KiB.")


class OnboardingContextForm(Form):
    """Whatever is known, by key."""

    class Meta:
        unknown = INCLUDE

    @validates_schema
    def _bounded(self, told: dict[str, Any], **_: Any) -> None:
        refuse_long(told)


class OnboardingHandoffForm(Form):
    """Who is to go on, and what the one that hands over has found out."""

    next_agent_id = Text(required=True, validate=ID, metadata={"example": "jim"})
    context_update = Facts(allow_none=True, metadata=CONTEXT)
    summary = fields.String(allow_none=True, validate=validate.Length(max=8_000))
    from_agent_id = fields.String(allow_none=True, validate=ID, metadata=AGENT)
    conversation_highlights = fields.List(
        fields.String(validate=validate.Length(max=1_000)),
        allow_none=True,
        validate=validate.Length(max=10),
    )


class OnboardingFinalizeForm(Form):
    """The project that it is to be."""

    project_name = Text(
        required=True, validate=validate.Length(1, 256), metadata={"example": "Todo"}
    )
    description = fields.String(allow_none=True, validate=validate.Length(max=20_000))
    repository = fields.String(
        allow_none=True, validate=validate.Length(max=1_000), metadata={"example": None}
    )
    context = Facts(allow_none=True, metadata=CONTEXT)
    template_id = fields.String(
        data_key="templateId", allow_none=True, validate=ID, metadata={"example": None}
    )


class OnboardingPageForm(Form):
    """A page about the project."""

    html = Text(required=True, metadata={"example": "<h1>Todo</h1>"})
    caption = fields.String(allow_none=True, validate=validate.Length(max=500))

    @validates("html")
    def _bounded(self, value: str, **_: Any) -> None:
        if len(value.encode()) > onboarding.MOST_HTML:
            raise ValidationError(f"Longer than {onboarding.MOST_HTML >> 10} KiB.")


def summed(session: OnboardingSession) -> dict[str, Any]:
    """A session without what was said in it."""
    return summaries([session])[0]


def summaries(sessions: list[OnboardingSession]) -> list[dict[str, Any]]:
    """Sessions with how their agents are called."""
    known = onboarding.faces({each.current_agent_id for each in sessions})
    return [
        {
            **{name: each.__data__.get(name) for name in OnboardingSession._meta.fields},
            **{f"current_{key}": value for key, value in known[each.current_agent_id].items()},
        }
        for each in sessions
    ]


def shown(session: OnboardingSession) -> dict[str, Any]:
    """A session with all that was said in it."""
    told = {"landing_page_state": session.landing_page, "messages": onboarding.messages(session)}
    return {**summed(session), **told}


def queued(session: OnboardingSession, said: ChatMessage, answer: ChatMessage) -> dict[str, Any]:
    """What a message is answered with."""
    told = {"status": "queued", "sessionId": session.id, "chatSessionId": said.session_id}
    return {**told, "userMessageId": said.id, "assistantMessageId": answer.id}


def handed_over(before: str, became: str, session: OnboardingSession) -> dict[str, Any]:
    """What a handoff is answered with, in each of its three outcomes."""
    told: dict[str, Any] = {"status": became, "sessionId": session.id}
    if became == "already_handed_off":
        return {**told, "currentAgent": session.current_agent_id}
    told["fromAgent"] = before
    if became == "finalized":
        return {**told, "toAgent": onboarding.DONE, **_project(session)}
    place = {"toAgent": session.current_agent_id, "phase": session.phase}
    return {**told, **place, "newChatSessionId": session.chat_session_id}


def finalized(now: bool, session: OnboardingSession) -> dict[str, Any]:
    """What a finalisation is answered with."""
    if not now:
        return {"status": "already_finalized", "projectId": session.project_id}
    about = _project(session)
    return {"status": "finalized", "sessionId": session.id, **about}


def _project(session: OnboardingSession) -> dict[str, Any]:
    project = Project.find(session.project_id or "")
    setup = Setup.metadata["example"] if project and project.repository else None
    return {
        "projectId": session.project_id,
        "projectName": project.name if project else None,
        "planningRunId": session.planning_run_id,
        "workspaceSetup": setup,
    }


def ended(status: str, session: OnboardingSession) -> dict[str, Any]:
    """What a session that was put away is answered with."""
    return {"status": status, "sessionId": session.id}
