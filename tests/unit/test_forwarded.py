"""Whose request it is behind proxies, and that nobody makes up an address."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from runtime.config.limits import Network
from runtime.http.forwarded import Proxies


def proxies(*networks: str) -> Proxies:
    named: list[Network] = [ip_network(each) for each in networks]
    return Proxies(named)


@pytest.mark.parametrize(
    ("peer", "header", "client"),
    [
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", " 203.0.113.7 ", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
        ("10.0.0.1", "[2001:db8:1:2::7]:4711", "2001:db8:1:2::/64"),
        ("10.0.0.1", '"[2001:db8:1:2::7]"', "2001:db8:1:2::/64"),
        ("10.0.0.1", "2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("10.0.0.1", "fe80::1%eth0", "fe80::/64"),
        ("10.0.0.1", "::ffff:203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7, 10.0.0.2, 10.0.0.3", "203.0.113.7"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("localhost", "203.0.113.7", "127.0.0.1"),  # a Unix socket; 127.0.0.0/8 is not named here
        ("::ffff:10.0.0.1", "203.0.113.7", "203.0.113.7"),
    ],
)
def test_the_client_is_the_last_that_is_no_proxy(peer: str, header: str | None, client: str) -> None:
    assert proxies("10.0.0.0/8").client(peer, header) == client


@pytest.mark.parametrize(
    "header",
    [
        "1.2.3.4",
        "1.2.3.4, 203.0.113.7",
        "10.0.0.9",
        "1.2.3.4, 10.0.0.9, 203.0.113.7",
        "nonsense, 203.0.113.7",
        ",,,203.0.113.7",
    ],
)
def test_what_a_client_writes_itself_is_not_believed(header: str) -> None:
    """Our proxy adds who connected to it behind that."""
    added = f"{header}, 198.51.100.5"

    assert proxies("10.0.0.0/8").client("10.0.0.1", added) == "198.51.100.5"


@pytest.mark.parametrize("header", ["1.2.3.4", "1.2.3.4, 10.0.0.9", "10.0.0.9, 1.2.3.4", "x"])
def test_a_stranger_who_sends_the_header_is_who_connected(header: str) -> None:
    assert proxies("10.0.0.0/8").client("203.0.113.7", header) == "203.0.113.7"
    assert proxies().client("203.0.113.7", header) == "203.0.113.7"


def test_what_is_no_address_hides_nobody_behind_it() -> None:
    """All such clients of a proxy are one, the proxy itself."""
    assert proxies("10.0.0.0/8").client("10.0.0.1", "1.2.3.4, unknown") == "10.0.0.1"
    assert proxies("10.0.0.0/8").client("10.0.0.1", "1.2.3.4, 999.1.1.1") == "10.0.0.1"


def test_a_person_has_a_network_of_ipv6_addresses() -> None:
    known = proxies()

    assert known.client("2001:db8::1", None) == known.client("2001:db8::ffff:1", None)
    assert known.client("2001:db8::1", None) != known.client("2001:db8:0:1::1", None)


def test_thousands_of_made_up_addresses_are_forgotten() -> None:
    known = proxies("10.0.0.0/8")
    for number in range(20_000):
        known.client("10.0.0.1", f"203.0.{number >> 8}.{number & 255}")
        known.client("10.0.0.1", f"{'1.2.3.4, ' * 50}203.0.{number >> 8}.{number & 255}")

    assert known.remembered() <= 4096


def test_a_chain_of_thousands_costs_little() -> None:
    """Each hop that is looked at costs time; strangers may write 16 kB of them."""
    header = ", ".join(["10.0.0.2"] * 5000)

    assert proxies("10.0.0.0/8").client("10.0.0.1", f"203.0.113.7, {header}") == "10.0.0.2"
