"""How often a user and an address may ask, and which proxies are believed about addresses."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from environs import Env
from marshmallow.validate import Range

from runtime.config.reading import ConfigError

Network = IPv4Network | IPv6Network
_PER_MINUTE: Final = Range(min=0, max=1_000_000)
_BURST: Final = Range(min=1, max=100_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A bucket of ``burst`` tokens that fills at ``per_minute``; a request takes one."""

    per_minute: int
    burst: int

    @property
    def interval_us(self) -> int:
        """Between two tokens."""
        return 60_000_000 // self.per_minute

    @property
    def depth_us(self) -> int:
        """Until an empty bucket is full."""
        return self.interval_us * self.burst


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    user: Limit | None = None  #: of claims
    address: Limit | None = None  #: of every request of the API
    proxies: tuple[Network, ...] = ()  #: whose X-Forwarded-For is believed

    @property
    def is_on(self) -> bool:
        return bool(self.user or self.address)


def load(env: Env) -> LimitSettings:
    proxies: list[str] = env.list("COUPON_PROXIES", [])
    settings = LimitSettings(
        user=_limit(
            env.int("COUPON_LIMIT_USER_PER_MINUTE", 0, validate=_PER_MINUTE),
            env.int("COUPON_LIMIT_USER_BURST", 5, validate=_BURST),
        ),
        address=_limit(
            env.int("COUPON_LIMIT_ADDRESS_PER_MINUTE", 0, validate=_PER_MINUTE),
            env.int("COUPON_LIMIT_ADDRESS_BURST", 100, validate=_BURST),
        ),
        proxies=tuple(_network(text.strip()) for text in proxies if text.strip()),
    )
    if settings.proxies and settings.address is None:
        raise ConfigError("COUPON_PROXIES has no effect: set COUPON_LIMIT_ADDRESS_PER_MINUTE")
    return settings


def _limit(per_minute: int, burst: int) -> Limit | None:
    return Limit(per_minute=per_minute, burst=burst) if per_minute else None


def _network(text: str) -> Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        raise ConfigError(
            "COUPON_PROXIES has {text!r}, which is no address and no network: 10.0.0.7 or 10.0.0.0/8",
            text=text,
        ) from error
    if network.prefixlen == 0:
        raise ConfigError(
            "COUPON_PROXIES has {text}: every client could name any address. Name the proxies", text=text
        )
    return network
