"""What `manage.py check --deploy` says of tickets and keys, and a preflight in the operator's language."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from coupons.tickets import key_ring
from runtime import secret_strength
from runtime.config import ConfigError
from runtime.config.identity import IdentitySettings
from runtime.operator_language import say


def identity(**kwargs: Any) -> list[CheckMessage]:
    found = settings.CONFIG.identity
    return [*_weak(found), *_unusable(found), *_in_clear_text(found)]


def _weak(found: IdentitySettings) -> list[CheckMessage]:
    try:
        secret_strength.refuse_weak_identity_secret(found.secret)
    except ConfigError as error:
        return [Error(say(error), id="coupons.E010")]
    return []


def _unusable(found: IdentitySettings) -> list[CheckMessage]:
    try:
        key_ring.refuse_unusable(found)
    except ConfigError as error:
        return [Error(say(error), id="coupons.E011")]
    return []


def _in_clear_text(found: IdentitySettings) -> list[CheckMessage]:
    address = urlsplit(found.jwks)
    if address.scheme != "http" or address.hostname in ("localhost", "127.0.0.1", "::1"):
        return []
    return [
        Warning(
            say(
                "COUPON_TICKET_JWKS is asked in clear text: "
                "who can change the answer signs tickets for anybody."
            ),
            hint=say("Begin it with https."),
            id="coupons.W010",
        )
    ]
