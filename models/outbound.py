"""Asking the world: no URL that a person set leads into the networks behind this server.

A connection resolves its name here, judges every address it got, and goes to one of those very
addresses: a name that changes its mind in between (DNS rebinding) gains nothing. Host and TLS keep
the name. Metadata services of clouds, which hand out credentials, are never asked.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import httpcore2
import httpx2
import orjson

from models.addresses import refused
from models.config import settings
from models.errors import Invalid, Unreachable
from models.logs import log

Resolver = Callable[[str, int], Sequence[str]]  # (host, port) -> addresses

LONGEST_URL = 2048
MOST_BYTES = 1024 * 1024  # of an answer that is read whole
SECONDS = 10.0  # for each of: connect, write, the next bytes
MOST_REDIRECTS = 3
MOST_ADDRESSES = 4  # of one name that are tried one after the other
HOST = re.compile(r"(?!.*\.\.)[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?")


class Refused(Unreachable):
    """This address leads into a network that may not be asked from here."""


class Declined(Unreachable):
    """The other side answered, but not with what was asked for."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def client(
    gate: Gate | None = None,
    *,
    redirects: bool = False,
    tls: ssl.SSLContext | None = None,
    **how: Any,
) -> httpx2.Client:
    """An HTTP client for URLs that people set; `how` goes to httpx2.Client.

    It follows redirects only when told to, three at most, each of them judged like the first
    address. It raises Refused beside what httpx2 raises.
    """
    return httpx2.Client(
        transport=_Transport(gate or Gate(), tls or authorities()),
        trust_env=False,
        follow_redirects=redirects,
        max_redirects=MOST_REDIRECTS,
        **{"timeout": SECONDS, **how},
    )


def transport(gate: Gate) -> httpx2.HTTPTransport:
    """What `client` connects by, for clients that are made elsewhere."""
    return _Transport(gate, authorities())


def fetch_json(
    url: str,
    *,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    most_bytes: int = MOST_BYTES,
    seconds: float = SECONDS,
    gate: Gate | None = None,
) -> Any:
    """The JSON at `url`, by POST when there is a form.

    Raises Unreachable: Refused for where it leads, Declined for any status but 2xx. The answer is
    whole within `seconds` or not at all, however slowly it comes.
    """
    sent = {"Accept": "application/json", **(headers or {})}
    body = fetch(url, form=form, headers=sent, most_bytes=most_bytes, seconds=seconds, gate=gate)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Declined(f"{_shown(url)} did not answer with JSON", 200) from error


def fetch(
    url: str,
    *,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    redirects: bool = False,
    most_bytes: int = MOST_BYTES,
    seconds: float = SECONDS,
    gate: Gate | None = None,
) -> bytes:
    """The bytes at `url`, asked for and refused like `fetch_json`."""
    gate = replace(gate or Gate(), until=time.monotonic() + seconds)
    sent = {"Accept-Encoding": "identity", **(headers or {})}
    method = "GET" if form is None else "POST"
    try:
        with (
            client(gate, redirects=redirects) as http,
            http.stream(method, url, data=form, headers=sent) as answer,
        ):
            return _read(answer, most_bytes)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        log.info("outside unreachable", url=_shown(url), error=repr(error))
        raise Unreachable(f"{_shown(url)} does not answer") from error


def checked(
    url: str, field: str = "url", *, secure: bool = False, private_networks: bool | None = None
) -> str:
    """The URL as it may be stored; Invalid names the field.

    What a name resolves to is judged when it is asked, every time; this refuses what no name
    server can make better. `secure` wants https, unless private networks are allowed.
    """
    url = url.strip()
    parsed, told = _parsed(url, field), settings().private_networks
    private = told if private_networks is None else private_networks
    host = parsed.host.rstrip(".")
    if parsed.scheme not in ({"https"} if secure and not private else {"http", "https"}):
        raise _invalid(field, "Must begin with https://" if secure else "Must be http or https.")
    if parsed.userinfo or parsed.fragment:
        raise _invalid(field, "Must hold neither a user name or password nor a fragment.")
    local = host == "localhost" or host.endswith(".localhost")
    if (local and not private) or any(refused(place, private) for place in _numeric(host)):
        raise _invalid(field, "Leads into a network that may not be asked from here.")
    return url


def resolved(host: str, port: int) -> list[str]:
    """The addresses of a host, as this machine resolves names (and odd spellings of numbers)."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore2.ConnectError(f"{host} does not resolve") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True)
class Gate(httpcore2.NetworkBackend):
    """Opens connections for `client`: to public addresses, or private ones where that is allowed.

    `until` is when every connection is over (`time.monotonic`), None for never.
    """

    resolve: Resolver = resolved
    private_networks: bool | None = None  # None: as the settings say
    until: float | None = None

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        failure: Exception | None = None
        for address in self._judged(host, port)[:MOST_ADDRESSES]:
            try:
                left = _left(self.until, timeout)
                opened = httpcore2.SyncBackend().connect_tcp(
                    address, port, left, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return opened if self.until is None else _Hurried(opened, self.until)
        raise failure or httpcore2.ConnectError(f"{host} has no address")

    def _judged(self, host: str, port: int) -> Sequence[str]:
        """Every address of the host; Refused when one of them may not be asked.

        One is enough: a public name with a private address is a mistake or an attack.
        """
        private = self.private_networks
        allowed = settings().private_networks if private is None else private
        addresses = self.resolve(host, port)
        wrong = [address for address in addresses if refused(address, allowed)]
        if wrong:
            log.warning("outside refused", host=host, port=port, addresses=wrong)
            raise Refused(f"{host} leads into a network that may not be asked from here")
        return addresses


class _Hurried(httpcore2.NetworkStream):
    """A connection that is over at a set time, however slowly the other side speaks."""

    def __init__(self, stream: httpcore2.NetworkStream, until: float) -> None:
        self.stream, self.until = stream, until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.stream.read(max_bytes, _left(self.until, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.stream.write(buffer, _left(self.until, timeout))

    def close(self) -> None:
        self.stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        left = _left(self.until, timeout)
        return _Hurried(self.stream.start_tls(ssl_context, server_hostname, left), self.until)

    def get_extra_info(self, info: str) -> Any:
        return self.stream.get_extra_info(info)


class _Transport(httpx2.HTTPTransport):
    """httpx2's own, whose connections go through a gate."""

    def __init__(self, gate: Gate, tls: ssl.SSLContext) -> None:
        super().__init__(verify=tls)
        self._pool = httpcore2.ConnectionPool(ssl_context=tls, network_backend=gate)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.userinfo:  # set by a redirect
            raise Refused("An address with a user name or password is not asked")
        return super().handle_request(request)


def _left(until: float | None, timeout: float | None) -> float | None:
    """Seconds that one more wait may take; raises ReadTimeout when there are none."""
    if until is None:
        return timeout
    left = until - time.monotonic()
    if left <= 0:
        raise httpcore2.ReadTimeout("The answer took too long")
    return left if timeout is None else min(left, timeout)


def _read(answer: httpx2.Response, most_bytes: int) -> bytes:
    """A streamed answer, no byte more than allowed."""
    where = _shown(str(answer.url))
    if not answer.is_success:
        raise Declined(f"{where} answered {answer.status_code}", answer.status_code)
    body = bytearray()
    for chunk in answer.iter_raw():  # identity was asked for: nothing unpacks to gigabytes
        body += chunk
        if len(body) > most_bytes:
            raise Declined(f"{where} answered with more than {most_bytes} bytes", 200)
    return bytes(body)


def _parsed(url: str, field: str) -> httpx2.URL:
    """The URL as the client will read it, so that both see the same host."""
    fault = _invalid(field, f"Must be a URL of at most {LONGEST_URL} characters.")
    try:
        parsed = httpx2.URL(url)
        host = parsed.raw_host.decode("ascii")
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise fault from error
    fits = len(url) <= LONGEST_URL and not re.search(r"\s|\\", url)
    named = bool(HOST.fullmatch(host) or _numeric(host.rstrip("."))) and len(host) <= 253
    if fits and named and (parsed.port is None or 0 < parsed.port < 65536):
        return parsed
    raise fault


def _numeric(host: str) -> list[str]:
    """The address that a host spells in numbers (of any base), found without asking anybody."""
    try:
        found = socket.getaddrinfo(host, 0, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return []
    return [str(entry[4][0]) for entry in found[:1]]


def _shown(url: str) -> str:
    """An address without what may be secret in it."""
    return url.partition("?")[0].partition("#")[0]


def _invalid(field: str, why: str) -> Invalid:
    fault = {"loc": ["body", *field.split(".")], "msg": why, "type": "invalid"}
    return Invalid(f"{field}: {why}", errors=[fault])


@cache
def authorities() -> ssl.SSLContext:
    """Whom to believe about names: read once, it takes a while."""
    return httpx2.create_ssl_context()
