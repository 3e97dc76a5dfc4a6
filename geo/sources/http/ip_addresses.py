"""Which network addresses may be connected to. Pure: names are resolved elsewhere, and the result is judged here.

Whoever names an address (a rule's webhook, a service, a catalog, a feed) makes this machine connect to it, from inside
its network. So connections go to public addresses only, unless the operator allows others by name or network and port.

| attack | defence |
| --- | --- |
| ``http://127.0.0.1``, ``http://10.0.0.7``, ``http://169.254.169.254`` | only global addresses |
| ``http://2130706433``, ``http://0177.1``, ``http://0x7f.1`` | what the resolver makes of it is judged, not the text |
| ``::ffff:127.0.0.1``, ``64:ff9b::7f00:1``, ``2002:7f00:1::`` and the like | the IPv4 address inside is judged, too |
| a public name that resolves to a private address, now or later | the address that is connected to is judged |
| a redirect to any of these | so is that of every connection |
| metadata services at public addresses (168.63.129.16) | they are listed |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

IPAddress = IPv4Address | IPv6Address

#: Services that hand out the machine's own credentials: of AWS, Azure, Google, Alibaba and Oracle.
_METADATA = frozenset(
    ip_address(one)
    for one in (
        "169.254.169.254", "169.254.170.2", "169.254.170.23", "168.63.129.16", "100.100.100.200", "192.0.0.192",
        "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
    )
)  # fmt: skip
#: Networks of IPv6 that hold an IPv4 address, and how far from the right end it is, in bits.
_HOLDING_IPV4 = (
    (IPv6Network("::ffff:0:0/96"), 0),
    (IPv6Network("::ffff:0:0:0/96"), 0),
    (IPv6Network("::/96"), 0),
    (IPv6Network("64:ff9b::/96"), 0),
    (IPv6Network("64:ff9b:1::/48"), 0),
    (IPv6Network("2002::/16"), 80),
)
_TEREDO = IPv6Network("2001::/32")
_ISATAP = (0x00005EFE, 0x02005EFE)
_LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Allowed:
    """Addresses that may be connected to though they are not public."""

    host: str = ""
    """A name, in small letters; empty where a network is given."""
    network: IPv4Network | IPv6Network | None = None
    ports: tuple[tuple[int, int], ...] = ()
    """First and last of each range; empty = every port."""

    def matches(self, host: str, address: IPAddress, port: int) -> bool:
        """Whether a connection to an address, as which a host was resolved, is allowed."""
        if self.ports and not any(first <= port <= last for first, last in self.ports):
            return False
        if self.network is None:
            return host.lower().rstrip(".") == self.host
        return any(one.version == self.network.version and one in self.network for one in _forms(address))


def parse_allowed(text: str) -> Allowed:
    """``HOST``, ``ADDRESS`` or ``NETWORK/BITS``, with ``:PORT``, ``:PORT-PORT`` or several, divided by commas.

    IPv6 with ports is written in brackets, as ``[fd00::/8]:443``.

    Raises
    ------
    ValueError
        It is none of these.
    """
    given = text.strip().lower()
    place, colon, ports = given.rpartition(":")
    if given.startswith("[") or given.count(":") == 1:
        if given.endswith("]"):
            place, colon, ports = given, "", ""
    else:
        place, colon, ports = given, "", ""
    if colon and not ports:
        raise ValueError(f"{text!r} names no port after the colon")
    ranges = tuple(_ports(one, text) for one in ports.split(",")) if colon else ()
    place = place.removeprefix("[").removesuffix("]")
    try:
        return Allowed(network=ip_network(place, strict=False), ports=ranges)
    except ValueError:
        if "/" in place or ":" in place or not place or any(one.isspace() for one in place):
            raise ValueError(
                f"{text!r} is no host, address or network; write 10.1.0.0/16:443, 127.0.0.1:8080 or hooks.example:443"
            ) from None
    return Allowed(host=place.rstrip("."), ports=ranges)


def _ports(given: str, text: str) -> tuple[int, int]:
    first, _, last = given.partition("-")
    if not first.isdecimal() or not (last or first).isdecimal():
        raise ValueError(f"{text!r}: {given!r} is no port")
    found = int(first), int(last or first)
    if not 0 < found[0] <= found[1] <= _LAST_PORT:
        raise ValueError(f"{text!r}: ports are 1 to {_LAST_PORT}, got {given}")
    return found


def refusal(
    host: str, address: IPAddress, port: int, allowed: Sequence[Allowed], *, trusts_literals: bool = False
) -> str | None:
    """Why a connection may not be made; None when it may.

    Parameters
    ----------
    host
        As it was written.
    address
        That it was resolved as.
    trusts_literals
        Whether a private or loopback address that is written out in its usual form is allowed by that: for what only
        the operator names.
    """
    kind = kind_of(address)
    if kind is None or any(one.matches(host, address, port) for one in allowed):
        return None
    if trusts_literals and kind in {"loopback", "private"} and is_written_out(host, address):
        return None
    where = str(address) if host == str(address) else f"{host} ({address})"
    bracketed = f"[{address}]" if address.version == 6 else str(address)
    return (
        f"{where} is {_ARTICLES.get(kind, 'a')} {kind} address; where that is meant, allow it: "
        f'SEGWATCH_ALLOWED_ADDRESSES=["{bracketed}:{port}"]'
    )


_ARTICLES = {"unspecified": "an"}


def is_written_out(host: str, address: IPAddress) -> bool:
    """Whether a host is the address itself in its usual form, or ``localhost``."""
    return host.strip("[]").lower() in {str(address), "localhost"}


def kind_of(address: IPAddress) -> str | None:
    """What keeps an address, or one that it holds, from being public; None where it is."""
    return next((kind for one in _forms(address) if (kind := _kind(one)) is not None), None)


def _kind(address: IPAddress) -> str | None:
    if address in _METADATA:
        return "metadata"
    checks = (
        ("unspecified", address.is_unspecified),
        ("loopback", address.is_loopback),
        ("link-local", address.is_link_local),
        ("multicast", address.is_multicast),
        ("reserved", address.is_reserved and not _held(address)),
        ("private", address.is_private and not _held(address)),
        ("site-local", isinstance(address, IPv6Address) and address.is_site_local),
    )
    found = next((kind for kind, is_so in checks if is_so), None)
    if found is None and not address.is_global and not _held(address):
        return "non-global"
    return found


def _forms(address: IPAddress) -> tuple[IPAddress, ...]:
    """The address, and the IPv4 addresses that it holds."""
    return (address, *_held(address))


def _held(address: IPAddress) -> tuple[IPv4Address, ...]:
    if isinstance(address, IPv4Address) or address.is_unspecified or address.is_loopback:
        return ()
    number = int(address)
    found = [IPv4Address(number >> shift & 0xFFFFFFFF) for net, shift in _HOLDING_IPV4 if address in net]
    if address in _TEREDO:
        found += [IPv4Address(number >> 64 & 0xFFFFFFFF), IPv4Address(~number & 0xFFFFFFFF)]
    if number >> 32 & 0xFFFFFFFF in _ISATAP:
        found.append(IPv4Address(number & 0xFFFFFFFF))
    return tuple(found)
