"""Asking the world, and only the world: real sockets, a resolver of ours."""

from __future__ import annotations

import contextlib
import ipaddress
import ssl
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from models import config, outbound
from models.errors import Invalid, Unreachable
from models.outbound import Declined, Gate, Refused, refused
from tests.patience import within
from tests.servers.outside import Answer, Outside, Received

PRIVATE = """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 172.16.0.0/12 192.168.0.0/16 198.18.0.0/15
    192.0.2.0/24 224.0.0.0/4 240.0.0.0/4 255.255.255.255/32 ::1/128 ::/128 fc00::/7 fe80::/10
    fec0::/10 ff00::/8 2001:db8::/32 100::/64 2001::/32
"""
METADATA = ("169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254")
HOME = Gate(private_networks=True)


def carried(address: int) -> list[str]:
    """Every IPv6 address that carries an IPv4 address."""
    nat64, six, teredo = 0x64FF9B << 96, 0x2002 << 112, 0x20010000 << 96
    forms = (
        0xFFFF_0000_0000 | address,
        address,
        nat64 | address,
        six | address << 80,
        teredo | address ^ 0xFFFF_FFFF,
    )
    return [str(ipaddress.IPv6Address(form)) for form in forms]


@given(st.sampled_from(PRIVATE.split()).flatmap(lambda net: st.ip_addresses(network=net)))
def test_what_is_not_the_public_internet_is_refused_however_it_is_carried(address):
    assert refused(str(address))
    if isinstance(address, ipaddress.IPv4Address):
        assert all(refused(form) for form in carried(int(address)))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_that_ipv6_carries_is_never_judged_more_mildly(address):
    for private in (False, True):
        if refused(str(address), private):
            assert all(refused(form, private) for form in carried(int(address)))


@given(st.ip_addresses())
def test_where_private_networks_are_allowed_nothing_else_gets_worse(address):
    assert refused(str(address)) or not refused(str(address), private_networks=True)


@pytest.mark.parametrize("address", METADATA)
def test_metadata_services_are_refused_always(address: str):
    assert refused(address, private_networks=True)
    if "." in address:
        forms = carried(int(ipaddress.ip_address(address)))
        assert all(refused(form, private_networks=True) for form in forms)


@pytest.mark.parametrize("address", ["1.1.1.1", "140.82.121.4", "2606:4700::1111"])
def test_public_addresses_are_asked_also_by_a_translator(address: str):
    assert not refused(address)
    assert not refused("64:ff9b::101:101")
    assert refused("fe80::1%eth0")


@pytest.fixture
def outside() -> Iterator[Outside]:
    with Outside(lambda _: Answer({"hello": "world"})) as server:
        yield server


def test_the_name_is_resolved_once_and_the_connection_goes_to_what_was_judged(outside: Outside):
    """No name server knows this name: whoever asked one again would not get there."""
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    url = outside.called("rebinding.invalid")
    got = outbound.fetch_json(url, gate=replace(HOME, resolve=resolve))
    assert got == {"hello": "world"}
    assert asked == ["rebinding.invalid"]
    assert outside.requests[0].headers["host"] == f"rebinding.invalid:{outside.port}"


def test_a_name_that_changes_its_mind_is_judged_again_for_every_connection(outside: Outside):
    answers = iter((["127.0.0.1"], ["169.254.169.254"]))
    gate = replace(HOME, resolve=lambda *_: next(answers))
    with outbound.client(gate, headers={"Connection": "close"}) as client:
        assert client.get(outside.called("rebinding.invalid")).status_code == 200
        with pytest.raises(Refused):
            client.get(outside.called("rebinding.invalid"))


def test_one_private_address_among_public_ones_is_enough_to_refuse(outside: Outside):
    gate = Gate(resolve=lambda *_: ["140.82.121.4", "127.0.0.1"], private_networks=False)
    with pytest.raises(Refused):
        outbound.fetch_json(outside.called("mixed.invalid"), gate=gate)
    assert outside.connections == 0


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "2130706433", "0x7f.1", "017700000001", "127.1", "[::1]", "localhost", "0"],
)
def test_odd_spellings_are_judged_by_what_they_resolve_to(outside: Outside, host: str):
    with pytest.raises(Refused):
        outbound.fetch_json(outside.called(host), gate=Gate(private_networks=False))
    assert outside.connections == 0


def redirecting(received: Received) -> Answer:
    where = received.path.removeprefix("/to?")
    return (
        Answer({"path": where}) if where == received.path else Answer({}, 302, {"Location": where})
    )


def test_redirects_are_not_followed_unless_told_to():
    with Outside(redirecting) as server, outbound.client(HOME) as client:
        assert client.get(f"{server.url}/to?/there").status_code == 302
        with pytest.raises(Declined) as declined:
            outbound.fetch_json(f"{server.url}/to?/there", gate=HOME)
        assert declined.value.status == 302


def test_a_redirect_is_judged_like_the_first_address():
    def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"] if host == "outside.invalid" else [host]

    gate = replace(HOME, resolve=resolve)
    with Outside(redirecting) as server, outbound.client(gate, redirects=True) as client:
        here = server.called("outside.invalid")
        assert client.get(f"{here}/to?/there").json() == {"path": "/there"}
        for there in ("http://169.254.169.254/latest", f"http://a:b@127.0.0.1:{server.port}/x"):
            with pytest.raises(Refused):
                client.get(f"{here}/to?{there}")
        with pytest.raises(httpx2.UnsupportedProtocol):
            client.get(f"{here}/to?file:///etc/passwd")
        with pytest.raises(httpx2.TooManyRedirects):
            client.get(f"{here}{'/to?' * 4}/there")


def test_proxies_of_the_environment_are_not_asked(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert outbound.fetch_json(outside.url, gate=HOME) == {"hello": "world"}


def test_an_answer_is_read_only_so_far():
    endless = Outside(lambda _: Answer(iter(lambda: b"[" * 65536, None)))
    with endless as server, pytest.raises(Declined, match="more than"):
        outbound.fetch_json(server.url, gate=HOME)


def test_an_answer_that_is_no_json_or_packed_is_declined(outside: Outside):
    for body, headers in ((b"<html>", {}), (b"\x1f\x8b", {"Content-Encoding": "gzip"})):
        outside.answer = lambda _, body=body, headers=headers: Answer(body, headers=headers)
        with pytest.raises(Declined, match="JSON"):
            outbound.fetch_json(outside.url, gate=HOME)


def test_an_answer_that_drips_is_over_in_time():
    def drip() -> Iterator[bytes]:
        while True:
            time.sleep(0.05)
            yield b" "

    def ask() -> None:
        with Outside(lambda _: Answer(drip())) as server, pytest.raises(Unreachable):
            outbound.fetch_json(server.url, seconds=0.4, gate=HOME)

    within(2, ask)


def test_what_does_not_answer_is_unreachable_and_its_query_is_not_repeated():
    with Outside(lambda _: Answer()) as server:
        gone = server.url
    with pytest.raises(Unreachable) as error:
        outbound.fetch_json(f"{gone}/x?key=s3cret", gate=HOME)
    assert "s3cret" not in str(error.value)


def certificate(name: str, folder) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's context with a certificate for this name."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "both.pem"
    pem, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(pem, private, serialization.NoEncryption())
    file.write_bytes(secret + made.public_bytes(pem))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cafile=str(file))


def test_tls_is_asked_for_the_name_not_the_address(tmp_path):
    of_server, of_client = certificate("rebinding.invalid", tmp_path)
    gate = replace(HOME, resolve=lambda *_: ["127.0.0.1"])
    server, client = Outside(lambda _: Answer({}), of_server), outbound.client(gate, tls=of_client)
    with server, client:
        assert client.get(server.called("rebinding.invalid")).status_code == 200
        with pytest.raises(httpx2.ConnectError):
            client.get(server.called("another.invalid"))


@pytest.mark.usefixtures("session_settings")
@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "http://",
        "http:///x",
        "http://user:pass@example.com",
        "http://user@example.com",
        "http://example.com/#part",
        "http://exa mple.com",
        "http://exam\nple.com",
        "http://example.com\\@10.0.0.1",
        "http://a..b",
        "http://example.com:0",
        "http://example.com:65536",
        "http://①②⑦.0.0.1",
        "http://[::1",
        "http://[fe80::1%25eth0]",
        "http://" + "a" * 254,
        "http://example.com/" + "a" * 2048,
        "http://localhost:11434",
        "http://LOCALHOST.",
        "http://db.localhost",
        "http://127.0.0.1",
        "http://127.0.0.1.",
        "http://127.1",
        "http://0x7f000001",
        "http://017700000001",
        "http://2130706433",
        "http://0",
        "http://[::]",
        "http://[::ffff:10.0.0.1]",
        "http://[64:ff9b::a9fe:a9fe]",
        "http://169.254.169.254/latest",
    ],
)
def test_a_url_that_cannot_be_asked_is_not_stored_and_the_field_is_named(url: str):
    with pytest.raises(Invalid) as error:
        outbound.checked(url, "issuerUrl")
    assert error.value.errors[0]["loc"] == ["body", "issuerUrl"]


@pytest.mark.usefixtures("session_settings")
@given(st.text(max_size=40))
def test_any_text_is_a_url_or_refused(text: str):
    for url in (text, f"http://{text}", f"https://{text}.example/"):
        with contextlib.suppress(Invalid):
            assert outbound.checked(url) == url.strip()


@pytest.mark.usefixtures("session_settings")
def test_what_can_be_asked_is_stored_as_it_is():
    for url in (
        "https://id.example.com/realms/a?x=1",
        "http://1.1.1.1:8080",
        "https://bücher.example",
    ):
        assert outbound.checked(f" {url} ") == url
    with pytest.raises(Invalid, match="https"):
        outbound.checked("http://id.example.com", secure=True)


@pytest.fixture
def at_home(session_settings: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ALLOW_PRIVATE_NETWORKS", "true")
    config.settings.cache_clear()
    yield
    monkeypatch.undo()
    config.settings.cache_clear()


def test_an_operator_may_allow_private_networks_but_not_metadata(at_home: None, outside: Outside):
    assert outbound.checked("http://localhost:11434", secure=True)
    assert outbound.checked("http://10.0.0.1")
    with pytest.raises(Invalid):
        outbound.checked("http://169.254.169.254/latest")
    assert outbound.fetch_json(outside.url) == {"hello": "world"}
