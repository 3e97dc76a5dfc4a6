"""Decide which IP addresses may be connected to. Pure: names are resolved elsewhere.

Whoever configures a URL (webhook, catalog, feed) makes this machine connect to it from inside its network (server-side
request forgery). So only public addresses are connected to, unless the operator allows others by host or network and
port.

| attack | defence |
| --- | --- |
| ``http://127.0.0.1``, ``http://10.0.0.7``, ``http://169.254.169.254`` | only global addresses |
| ``http://2130706433``, ``http://0177.1``, ``http://0x7f.1`` | the resolved address is checked, not the text |
| ``::ffff:127.0.0.1``, ``64:ff9b::7f00:1``, ``2002:7f00:1::`` and the like | the embedded IPv4 address is checked too |
| a public name that resolves to a private address, now or later | the address of the connection itself is checked |
| a redirect to any of these | every connection is checked |
| metadata services at public addresses (168.63.129.16) | they are listed |
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

IPAddress = IPv4Address | IPv6Address

#: Metadata services, which hand out the machine's credentials: AWS, Azure, Google, Alibaba and Oracle.
_METADATA = frozenset(
    ip_address(one)
    for one in (
        "169.254.169.254", "169.254.170.2", "169.254.170.23", "168.63.129.16", "100.100.100.200", "192.0.0.192",
        "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
    )
)  # fmt: skip
#: IPv6 networks that embed an IPv4 address, and its offset from the right in bits.
_EMBEDDING_IPV4 = (
    (IPv6Network("::ffff:0:0/96"), 0),
    (IPv6Network("::ffff:0:0:0/96"), 0),
    (IPv6Network("::/96"), 0),
    (IPv6Network("64:ff9b::/96"), 0),
    (IPv6Network("64:ff9b:1::/48"), 0),
    (IPv6Network("2002::/16"), 80),
)
_TEREDO = IPv6Network("2001::/32")
_ISATAP = (0x00005EFE, 0x02005EFE)
_MAX_PORT = 65535
#: Addresses allowed by the operator in this process for sources and feeds, see :func:`allow_addresses`.
PERMITTED: list[AllowedAddress] = []


def allow_addresses(allowed: Iterable[AllowedAddress]) -> None:
    """Allow connections of sources and feeds to these addresses, for this process."""
    PERMITTED[:] = allowed


@dataclass(frozen=True, slots=True)
class AllowedAddress:
    """Non-public addresses that the operator allows."""

    host: str = ""
    """Host name in lower case; empty where a network is given."""
    network: IPv4Network | IPv6Network | None = None
    ports: tuple[tuple[int, int], ...] = ()
    """First and last port of each range; empty = all ports."""

    def matches(self, host: str, address: IPAddress, port: int) -> bool:
        """Whether a connection to a host and the address that it resolved to is allowed."""
        if self.ports and not any(first <= port <= last for first, last in self.ports):
            return False
        if self.network is None:
            return host.lower().rstrip(".") == self.host
        return any(one.version == self.network.version and one in self.network for one in _forms(address))


def parse_allowed(text: str) -> AllowedAddress:
    """Parse ``HOST``, ``ADDRESS`` or ``NETWORK/BITS``, with optional ports: ``:PORT``, ``:PORT-PORT`` or a list.

    IPv6 with ports needs brackets, as in ``[fd00::/8]:443``.

    Raises
    ------
    ValueError
        The text is none of these.
    """
    given = text.strip().lower()
    place, colon, ports = given.rpartition(":")
    if given.startswith("[") or given.count(":") == 1:
        if given.endswith("]"):
            place, colon, ports = given, "", ""
    else:
        place, colon, ports = given, "", ""
    if colon and not ports:
        raise ValueError(f"{text!r} has no port after the colon")
    ranges = tuple(_ports(one, text) for one in ports.split(",")) if colon else ()
    place = place.removeprefix("[").removesuffix("]")
    try:
        return AllowedAddress(network=ip_network(place, strict=False), ports=ranges)
    except ValueError:
        if "/" in place or ":" in place or not place or any(one.isspace() for one in place):
            raise ValueError(
                f"{text!r} is not a host, address or network like 10.1.0.0/16:443, 127.0.0.1:8080 or hooks.example:443"
            ) from None
    return AllowedAddress(host=place.rstrip("."), ports=ranges)


def _ports(given: str, text: str) -> tuple[int, int]:
    first, _, last = given.partition("-")
    if not first.isdecimal() or not (last or first).isdecimal():
        raise ValueError(f"{text!r}: {given!r} is not a port")
    found = int(first), int(last or first)
    if not 0 < found[0] <= found[1] <= _MAX_PORT:
        raise ValueError(f"{text!r}: ports are 1 to {_MAX_PORT}, got {given}")
    return found


def explain_refusal(
    host: str,
    address: IPAddress,
    port: int,
    allowed: Sequence[AllowedAddress],
    *,
    trusts_literals: bool = False,
) -> str | None:
    """Explain why a connection is refused; None where it is allowed.

    Parameters
    ----------
    host
        Host as written in the URL.
    address
        Address that it resolved to.
    trusts_literals
        Whether a private or loopback address is allowed if the URL contains it literally; for URLs that only the
        operator configures.
    """
    kind = classify_address(address)
    if kind is None or any(one.matches(host, address, port) for one in allowed):
        return None
    if trusts_literals and kind in {"loopback", "private"} and is_literal(host, address):
        return None
    where = str(address) if host == str(address) else f"{host} ({address})"
    bracketed = f"[{address}]" if address.version == 6 else str(address)
    return (
        f"{where} is {_ARTICLES.get(kind, 'a')} {kind} address; if that is intended, set "
        f'SEGWATCH_ALLOWED_ADDRESSES=["{bracketed}:{port}"]'
    )


_ARTICLES = {"unspecified": "an"}


def is_literal(host: str, address: IPAddress) -> bool:
    """Whether a host is the address itself in canonical form, or ``localhost``."""
    return host.strip("[]").lower() in {str(address), "localhost"}


def classify_address(address: IPAddress) -> str | None:
    """Name what makes an address, or one embedded in it, non-public; None where it is public."""
    return next((kind for one in _forms(address) if (kind := _kind(one)) is not None), None)


def _kind(address: IPAddress) -> str | None:
    if address in _METADATA:
        return "metadata"
    checks = (
        ("unspecified", address.is_unspecified),
        ("loopback", address.is_loopback),
        ("link-local", address.is_link_local),
        ("multicast", address.is_multicast),
        ("reserved", address.is_reserved and not _embedded(address)),
        ("private", address.is_private and not _embedded(address)),
        ("site-local", isinstance(address, IPv6Address) and address.is_site_local),
    )
    found = next((kind for kind, is_so in checks if is_so), None)
    if found is None and not address.is_global and not _embedded(address):
        return "non-global"
    return found


def _forms(address: IPAddress) -> tuple[IPAddress, ...]:
    """The address and the IPv4 addresses embedded in it."""
    return (address, *_embedded(address))


def _embedded(address: IPAddress) -> tuple[IPv4Address, ...]:
    if isinstance(address, IPv4Address) or address.is_unspecified or address.is_loopback:
        return ()
    number = int(address)
    found = [IPv4Address(number >> shift & 0xFFFFFFFF) for net, shift in _EMBEDDING_IPV4 if address in net]
    if address in _TEREDO:
        found += [IPv4Address(number >> 64 & 0xFFFFFFFF), IPv4Address(~number & 0xFFFFFFFF)]
    if number >> 32 & 0xFFFFFFFF in _ISATAP:
        found.append(IPv4Address(number & 0xFFFFFFFF))
    return tuple(found)
