"""Proof of identity for claims, where a secret is shared with the shop's login."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from django.conf import settings

HEADER: Final = "X-User-Token"


def is_proven(user_id: int, *, token: str) -> bool:
    """True if the token is the hex HMAC-SHA256 of the user id under the secret, or if there is no secret."""
    secret = settings.CONFIG.api.identity_secret
    if not secret:
        return True
    expected = hmac.new(secret.encode(), str(user_id).encode(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), token.lower().encode())
