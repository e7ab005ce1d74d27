"""Handing a message to a mail server (RFC 5321), over TLS whose certificate is verified.

What went wrong is said in words of ours: a server's own may quote what nobody should read.
"""

from __future__ import annotations

import smtplib
import ssl
from contextlib import suppress
from email.message import EmailMessage

from models.errors import Unreachable
from models.mail import EmailSettings, domain
from models.vault import Unreadable

IMPLICIT_TLS = 465
SECONDS = 10.0  # for each answer


class Deferred(Unreachable):
    """The mail server did not take the message; it may later."""


class Refused(Unreachable):
    """The mail server will never take this message."""


def send(settings: EmailSettings, message: EmailMessage) -> None:
    """Hand the message over; returns when the server has taken it, raises Deferred or Refused.

    Not to be called within a transaction: a silent server keeps it for a minute.
    """
    try:
        _converse(settings, message)
    except smtplib.SMTPRecipientsRefused as error:
        code = min(code for code, _ in error.recipients.values())
        raise _judged("refused the recipient", code) from None
    except smtplib.SMTPDataError as error:
        raise _judged("refused the message", error.smtp_code) from None
    except smtplib.SMTPAuthenticationError as error:
        raise Deferred(f"The mail server refused the login ({error.smtp_code})") from None
    except smtplib.SMTPResponseException as error:
        raise Deferred(f"The mail server refused us ({error.smtp_code})") from None
    except smtplib.SMTPNotSupportedError:
        raise Deferred("The mail server does not offer what the settings ask of it") from None
    except ssl.SSLError as error:
        verified = not isinstance(error, ssl.SSLCertVerificationError)
        what = "speaks no TLS here" if verified else "has a certificate that cannot be verified"
        raise Deferred(f"The mail server {what}") from None
    except (smtplib.SMTPException, OSError, UnicodeError):
        raise Deferred("The mail server cannot be reached, or hung up") from None


def _judged(what: str, code: int) -> Unreachable:
    """Codes 5xx are for ever, others for now."""
    return (Refused if code >= 500 else Deferred)(f"The mail server {what} ({code})")


def _converse(settings: EmailSettings, message: EmailMessage) -> None:
    login = (settings.smtp_username, _password(settings)) if settings.smtp_username else None
    server = _connected(settings)
    try:
        if login:
            server.login(*login)
        server.send_message(message)
        with suppress(smtplib.SMTPException, OSError):  # it has the message: manners do not count
            server.quit()
    finally:
        server.close()


def _password(settings: EmailSettings) -> str:
    try:
        return settings.reveal("smtp_password") or ""
    except Unreadable:
        raise Deferred("The password of the mail server does not open: enter it again") from None


def _connected(settings: EmailSettings) -> smtplib.SMTP:
    where, us = (settings.smtp_host, settings.smtp_port), domain(settings.from_email)
    trusted = ssl.create_default_context()
    if settings.smtp_port == IMPLICIT_TLS:
        return smtplib.SMTP_SSL(*where, us, timeout=SECONDS, context=trusted)
    server = smtplib.SMTP(*where, us, timeout=SECONDS)
    if settings.smtp_use_tls:
        try:
            server.starttls(context=trusted)
        except BaseException:
            server.close()
            raise
    return server
