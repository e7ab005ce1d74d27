"""A mail server on loopback that takes letters, or says what it is told to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from workers.local.folder import free_port

TAKEN = "250 Taken"


@dataclass
class MailServer:
    """What arrived, and the words with which the next letters and logins are answered."""

    port: int = 0
    letters: list[EmailMessage] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)  # to the next letters; then it takes them
    refuses_recipients: str = ""
    knows: tuple[str, str] | None = None
    pause: float = 0.0  # seconds before it answers to a letter
    now: int = 0  # how many wait for such an answer
    most: int = 0  # the most that ever did at once

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, _: Any):
        if self.refuses_recipients:
            return self.refuses_recipients
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.pause)
        self.now -= 1
        said = self.answers.pop(0) if self.answers else TAKEN
        if said == TAKEN:
            self.letters.append(message_from_bytes(envelope.content, policy=default))
        return said

    def admits(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> Any:
        login = data.login.decode(), data.password.decode()
        self.logins.append(login)
        return AuthResult(success=login == self.knows, handled=False)


@contextmanager
def mail_server(
    knows: tuple[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    implicit: ssl.SSLContext | None = None,
    port: int = 0,
) -> Iterator[MailServer]:
    """A mail server while the block lasts; `tls` is offered by STARTTLS and then required."""
    server = MailServer(knows=knows)
    server.port = port or free_port()
    asks: dict[str, Any] = {"tls_context": tls, "require_starttls": bool(tls)}
    if knows:
        asks |= {"authenticator": server.admits, "auth_require_tls": bool(tls)}
    where = {"hostname": "127.0.0.1", "port": server.port, "ssl_context": implicit}
    controller = Controller(server, **where, **asks)
    controller.start()
    try:
        yield server
    finally:
        controller.stop()


def certificate(folder: Path, names: Sequence[str] = ("localhost",)) -> tuple[Path, ssl.SSLContext]:
    """A certificate that signs itself: its file, for those who trust it, and its holder's TLS."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    others = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
    begun = datetime.now(UTC) - timedelta(days=1)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(begun)
        .not_valid_after(begun + timedelta(days=9))
        .add_extension(others, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "public.pem", folder / "private.pem"
    public.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private.write_bytes(key.private_bytes(pem, form, plain))
    holder = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    holder.load_cert_chain(public, private)
    return public, holder
