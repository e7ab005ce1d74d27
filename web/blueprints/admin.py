"""What admins look after: notifications, the audit log, who uses the API with whose keys."""

from __future__ import annotations

from typing import Any

from flask.views import MethodView

from models import notifications
from models.audit import Entry
from models.notifications import Notification
from tasks import notifications as commands
from web.resources import Blueprint, Order, listed, newest_first, only, page, visible
from web.schemas import admin as wire
from web.security import admin, operators

blueprint = Blueprint("admin", "Administration")


@blueprint.route("/admin/api-usage", "/admin/usage")
class ApiUsage(MethodView):
    @admin
    @blueprint.arguments(wire.UsageForm, location="query")
    @blueprint.response(200, wire.Usage)
    def get(self, form: dict[str, Any]) -> Any:
        """Runs and chats, newest first, and whose keys of providers they were given."""
        return wire.usage(form)


@blueprint.route("/admin/audit")
class Audit(MethodView):
    @admin
    @blueprint.arguments(wire.AuditForm, location="query")
    @blueprint.response(200, wire.AuditEntry(many=True))
    def get(self, form: dict[str, Any]) -> Any:
        """Who changed what of accounts, keys, secrets, grants and settings, newest first."""
        entries = only(listed(Entry, wire.AuditEntry), form, wire.AUDIT_FILTERS)
        return page(entries, form, Order((Entry.seq,)))


@blueprint.route("/admin/notifications")
class Notifications(MethodView):
    @admin
    @blueprint.arguments(wire.NotificationsForm, location="query")
    @blueprint.response(200, wire.NotificationView(many=True))
    def get(self, form: dict[str, Any]) -> Any:
        """What admins are told, newest first."""
        told = listed(Notification, wire.NotificationView)
        told = told.where(~Notification.was_read) if form["unread_only"] else told
        return page(told, form, newest_first(Notification))

    @operators
    @blueprint.arguments(wire.NotificationForm)
    @blueprint.response(200, wire.NotificationView)
    def post(self, form: dict[str, Any]) -> Any:
        """Tell the admins something."""
        return commands.create(form)


@blueprint.route("/admin/notifications/<notification_id>/dismiss")
class Dismiss(MethodView):
    @admin
    @blueprint.response(200, wire.Noted)
    def post(self, notification_id: str) -> Any:
        """A notification has been read; doing it again changes nothing."""
        commands.dismiss(visible(Notification, notification_id))
        return {"ok": True}


@blueprint.route("/admin/notifications/<notification_id>/read")
class Read(MethodView):
    @admin
    @blueprint.response(200, wire.Noted)
    def patch(self, notification_id: str) -> Any:
        """The same for clients that know it under this name."""
        commands.dismiss(visible(Notification, notification_id))
        return {"ok": True}


@blueprint.route("/admin/notifications/mark-all-read")
class ReadAll(MethodView):
    @admin
    @blueprint.response(200, wire.Noted)
    def post(self) -> Any:
        """All notifications have been read."""
        notifications.mark_all_read()
        return {"ok": True}
