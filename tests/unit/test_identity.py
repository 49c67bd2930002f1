"""Proof of identity: off by default; with a secret only the right token passes."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace

import pytest
from django.conf import settings

from coupons.claims.identity import is_proven


@pytest.fixture
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    api = replace(settings.CONFIG.api, identity_secret="shared")
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, api=api))


def test_without_a_secret_anybody_may_name_any_user() -> None:
    assert is_proven(1, token="")


@pytest.mark.usefixtures("_secret")
def test_with_a_secret_only_the_users_own_token_passes() -> None:
    token = hmac.new(b"shared", b"7", hashlib.sha256).hexdigest()

    assert is_proven(7, token=token)
    assert is_proven(7, token=token.upper())
    assert not is_proven(8, token=token)
    assert not is_proven(7, token="")
    assert not is_proven(7, token="é")
