"""Who may claim and read: tickets of the shop's login, and keys of its back office."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from environs import Env
from marshmallow.validate import Range

from runtime.config.reading import ConfigError, readable_file, secret, secret_file


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySettings:
    """Texts that stand in files are read again when those change (coupons/tickets/key_ring.py)."""

    secret: str = field(default="", repr=False)  #: of HS256 tickets; several, one on a line
    secret_file: str = ""  #: the file that it was read from
    old_header: bool = True  #: X-User-Token is read too, where there is a secret
    keys_file: str = ""  #: public keys: PEM blocks, or a JWKS
    jwks: str = ""  #: the address of a JWKS
    issuer: str = ""
    audience: str = ""
    lifetime_s: int = 3600  #: a ticket that is valid for longer than this from now is refused
    leeway_s: int = 10  #: the difference of clocks that is forgiven
    office_keys: str = field(default="", repr=False)  #: as `manage.py office_key` prints them, one on a line
    office_keys_file: str = ""

    #: Whether claims and reads must prove who asks. Off: any client may name any user (SECURITY.md). A field,
    #: because each claim looks at it.
    is_on: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_on", bool(self.secret or self.keys_file or self.jwks))


def load(env: Env) -> IdentitySettings:
    settings = IdentitySettings(
        secret=secret(env, "COUPON_IDENTITY_SECRET"),
        secret_file=secret_file(env, "COUPON_IDENTITY_SECRET"),
        old_header=env.bool("COUPON_IDENTITY_OLD_HEADER", True),
        keys_file=readable_file(env, "COUPON_TICKET_KEYS"),
        jwks=_address(env.str("COUPON_TICKET_JWKS", "")),
        issuer=env.str("COUPON_TICKET_ISSUER", ""),
        audience=env.str("COUPON_TICKET_AUDIENCE", ""),
        lifetime_s=env.int("COUPON_TICKET_LIFETIME_S", 3600, validate=Range(min=10, max=86_400)),
        leeway_s=env.int("COUPON_TICKET_LEEWAY_S", 10, validate=Range(min=0, max=300)),
        office_keys=secret(env, "COUPON_OFFICE_KEYS"),
        office_keys_file=secret_file(env, "COUPON_OFFICE_KEYS"),
    )
    if not settings.is_on:
        _refuse_what_is_not_used(settings)
    return settings


def _address(text: str) -> str:
    if text and (urlsplit(text).scheme not in ("https", "http") or not urlsplit(text).hostname):
        raise ConfigError("COUPON_TICKET_JWKS is no address: it is https://host/path")
    return text


def _refuse_what_is_not_used(settings: IdentitySettings) -> None:
    given = {
        "COUPON_TICKET_ISSUER": settings.issuer,
        "COUPON_TICKET_AUDIENCE": settings.audience,
        "COUPON_OFFICE_KEYS": settings.office_keys,
    }
    for name in (name for name, value in given.items() if value):
        raise ConfigError(
            "{name} has no effect while anybody may name any user: set COUPON_TICKET_KEYS, "
            "COUPON_TICKET_JWKS or COUPON_IDENTITY_SECRET",
            name=name,
        )
