"""IP addresses that may be connected to, in all notations."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segwatch.geo.sources.http.ip_addresses import classify_address, explain_refusal, parse_allowed

PUBLIC = ["93.184.215.14", "1.1.1.1", "2606:4700::1111", "64:ff9b::101:101", "2002:101:101::1"]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert explain_refusal("example.org", ip_address(address), 443, ()) is None


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "2130706433", "0177.0.0.1", "0x7f.1", "0x7f000001", "017700000001", "::1",
        "::ffff:127.0.0.1", "::ffff:7f00:1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "0", "0.0.0.0", "::",
        "10.0.0.1", "172.16.5.4", "192.168.1.1", "100.64.0.1", "169.254.169.254", "::ffff:169.254.169.254",
        "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "fe80::1", "fd00:ec2::254", "100.100.100.200",
        "168.63.129.16", "192.0.0.192", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1",
        "2001:0:a9fe:a9fe::", "2001:db8::5efe:169.254.169.254", "224.0.0.1", "ff02::1", "255.255.255.255",
        "240.0.0.1", "198.18.0.1", "fec0::1", "::ffff:0:10.0.0.1",
    ],
)  # fmt: skip
def test_any_notation_of_a_private_address_is_refused(host: str) -> None:
    found = {one[4][0] for one in socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM)}
    assert found
    for address in found:
        reason = explain_refusal(host, ip_address(address), 80, ())
        assert reason is not None, address
        assert "SEGWATCH_ALLOWED_ADDRESSES" in reason


@given(st.integers(0, 2**32 - 1), st.sampled_from(["::ffff:0:0", "64:ff9b::", "::"]))
def test_an_embedded_ipv4_address_is_checked(number: int, prefix: str) -> None:
    inside = IPv4Address(number)
    outside = IPv6Address(int(IPv6Address(prefix)) | number)
    if classify_address(inside) is not None:
        assert classify_address(outside) is not None


@pytest.mark.parametrize(
    ("rule", "host", "address", "port", "open_"),
    [
        ("127.0.0.1:8080", "127.0.0.1", "127.0.0.1", 8080, True),
        ("127.0.0.1:8080", "127.0.0.1", "127.0.0.1", 8081, False),
        ("127.0.0.1:8080,9000-9010", "x", "127.0.0.1", 9005, True),
        ("127.0.0.1", "x", "::ffff:127.0.0.1", 1, True),
        ("10.1.0.0/16:443", "hooks.example", "10.1.2.3", 443, True),
        ("10.1.0.0/16:443", "hooks.example", "10.2.2.3", 443, False),
        ("Hooks.Example:443", "hooks.example", "10.2.2.3", 443, True),
        ("hooks.example:443", "other.example", "10.2.2.3", 443, False),
        ("[fd00::/8]:443", "x", "fd12::1", 443, True),
        ("[::1]:80", "x", "::1", 81, False),
        ("::1", "x", "::1", 81, True),
    ],
)
def test_an_operator_allows_by_name_or_network_and_port(
    rule: str, host: str, address: str, port: int, open_: bool
) -> None:
    assert (explain_refusal(host, ip_address(address), port, [parse_allowed(rule)]) is None) is open_


@pytest.mark.parametrize(
    "rule", ["", ":80", "x:", "x:0", "x:70000", "x:a", "10.0.0.0/99", "a b:80", "[::1", "x:9-3"]
)
def test_an_invalid_allowance_is_refused(rule: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_allowed(rule)


def test_literal_addresses_are_trusted_except_metadata_services() -> None:
    def reason(host: str, address: str) -> str | None:
        return explain_refusal(host, ip_address(address), 80, (), trusts_literals=True)

    assert reason("127.0.0.1", "127.0.0.1") is None
    assert reason("localhost", "::1") is None
    assert reason("10.1.2.3", "10.1.2.3") is None
    assert reason("2130706433", "127.0.0.1") is not None
    assert reason("catalog.example", "127.0.0.1") is not None
    for one in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "0.0.0.0", "fe80::1"):
        assert reason(one, one) is not None
