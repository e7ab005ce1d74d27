"""Which IP addresses a connection that a person asked for may go to.

Only what the registries of IANA call globally reachable; an IPv6 address that carries an IPv4
address (mapped, translated, tunnelled) is judged by both.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

UNICAST = ipaddress.ip_network("2000::/3")  # all that IANA has given out of IPv6
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
MAPPED = ipaddress.ip_network("::ffff:0:0/96")
COMPATIBLE = ipaddress.ip_network("::/96")
NEVER = tuple(
    ipaddress.ip_network(block)
    for block in (
        "169.254.0.0/16",  # link-local: metadata of AWS, Azure, Google and most others
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google
        "fe80::a9fe:a9fe",  # OpenStack
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure's platform
        "192.0.0.192",  # Oracle
        "64:ff9b:1::/48",  # translators of an operator's own (RFC 8215): leads nobody knows where
    )
)


def refused(address: str, private_networks: bool = False) -> bool:
    """Whether no connection that a person asked for may go to this IP address."""
    place = ipaddress.ip_address(address.partition("%")[0])
    places = [place, *_embedded(place)]
    if any(one in block for one in places for block in NEVER):
        return True
    return not private_networks and not all(_is_public(one) for one in places)


def _is_public(place: Address) -> bool:
    if isinstance(place, ipaddress.IPv4Address):
        return place.is_global and not place.is_multicast
    return (place in UNICAST and place.is_global) or place in NAT64


def _embedded(place: Address) -> Iterator[ipaddress.IPv4Address]:
    """The IPv4 addresses at which packets to an IPv6 address may end up."""
    if isinstance(place, ipaddress.IPv4Address):
        return
    if place in NAT64 or place in MAPPED or place in COMPATIBLE:
        yield ipaddress.IPv4Address(int(place) & 0xFFFF_FFFF)
    if place.sixtofour is not None:
        yield place.sixtofour
    yield from place.teredo or ()
