"""Whose request it is behind proxies: the address by which clients are told apart. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

from runtime.config.limits import Network

Address = IPv4Address | IPv6Address

#: One person has a whole network of so many bits, and could ask from 2^64 addresses.
_IPV6_BITS: Final = 64
#: Proxies behind each other that are looked at. Fewer, and a long chain is one client; more, and a client
#: that names thousands costs time.
_MOST_HOPS: Final = 10
#: Characters of a header that is remembered. A usual one has 40; longer, and strangers fill the memory.
_LONGEST: Final = 200


class Proxies:
    """``networks``: those of our proxies. What anybody else says of addresses is not believed."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)
        self._remembered = lru_cache(maxsize=4096)(self._client)

    def client(self, peer: str, forwarded_for: str | None) -> str:
        """The client: an IPv4 address, or an IPv6 network. ``peer``: who connected.

        X-Forwarded-For is read from its end: each of our proxies has added who connected to it, and what
        stands before that, the client itself wrote.
        """
        if forwarded_for is not None and len(forwarded_for) > _LONGEST:
            return self._client(peer, forwarded_for)
        return self._remembered(peer, forwarded_for if self._networks else None)

    def remembered(self) -> int:
        """How many pairs of peer and header are kept, with the client that they mean."""
        return self._remembered.cache_info().currsize

    def _client(self, peer: str, forwarded_for: str | None) -> str:
        client = _parsed(peer) or IPv4Address("127.0.0.1")  # a Unix socket has no address
        hops = (forwarded_for or "").split(",")[-_MOST_HOPS:]
        while hops and self._has(client):
            hop = _parsed(hops.pop())
            if hop is None:
                break
            client = hop
        return _told_apart(client)

    def _has(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _parsed(text: str) -> Address | None:
    """The address, without a port; as IPv4 if it is an IPv4 address that IPv6 has wrapped."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _told_apart(address: Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((address, _IPV6_BITS), strict=False))
