"""Which pages of other origins may ask the API from a browser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from environs import Env

from runtime.config.reading import ConfigError

_ALL: Final = "*"
_USUAL_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class CorsSettings:
    """Without an origin the API says nothing about other origins, and browsers keep their pages away."""

    origins: tuple[str, ...] = ()
    credentials: bool = False  #: their pages may send cookies, and what a browser keeps of logins

    @property
    def is_on(self) -> bool:
        return bool(self.origins)

    @property
    def allows_all(self) -> bool:
        return _ALL in self.origins


def load(env: Env) -> CorsSettings:
    listed: list[str] = env.list("COUPON_CORS_ORIGINS", [])
    origins = tuple(each for text in listed if (each := text.strip()))
    for origin in origins:
        if origin != _ALL:
            _refuse_what_no_browser_sends(origin)
    settings = CorsSettings(origins=origins, credentials=env.bool("COUPON_CORS_CREDENTIALS", False))
    if settings.allows_all and len(origins) > 1:
        raise ConfigError("COUPON_CORS_ORIGINS has * beside others: * is all of them")
    if settings.credentials and not settings.is_on:
        raise ConfigError("COUPON_CORS_CREDENTIALS has no effect: set COUPON_CORS_ORIGINS")
    if settings.credentials and settings.allows_all:
        raise ConfigError(
            "COUPON_CORS_CREDENTIALS must not be true with COUPON_CORS_ORIGINS=*: any page could ask in the "
            "name of whoever looks at it. Name the origins"
        )
    return settings


def _refuse_what_no_browser_sends(origin: str) -> None:
    if origin == "null":
        raise ConfigError(
            "COUPON_CORS_ORIGINS must not have null: any page can make itself of that origin. "
            "Name the origins"
        )
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    named = host + (f":{port}" if port and port != _USUAL_PORTS.get(parts.scheme) else "")
    if parts.scheme not in _USUAL_PORTS or not parts.hostname or origin != f"{parts.scheme}://{named}":
        raise ConfigError(
            "COUPON_CORS_ORIGINS has {origin!r}, which no browser sends: an origin is https://host, or with "
            "a port that is not the usual one; lower case, nothing behind it",
            origin=origin,
        )
