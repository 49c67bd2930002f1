"""The shop's login, for tests: its keys, and the tickets that it signs."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

from coupons.tickets import key_ring

SECRET: Final = "9c6b1f0e7d2a4853" * 4
PrivateKey = RSAPrivateKey | Ed25519PrivateKey


def private_key(algorithm: str, number: int = 0) -> PrivateKey:
    """The same key for the same number: making an RSA key takes a tenth of a second."""
    return _private_key(algorithm, number)


@cache
def _private_key(algorithm: str, number: int) -> PrivateKey:
    return Ed25519PrivateKey.generate() if algorithm == "EdDSA" else generate_private_key(65537, 2048)


def public_pem(*keys: PrivateKey) -> str:
    return "".join(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        for key in keys
    )


def public_jwk(key: PrivateKey, kid: str, **more: Any) -> dict[str, Any]:
    if isinstance(key, Ed25519PrivateKey):
        told = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        told = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**told, "kid": kid, **more}


def jwks(*keys: dict[str, Any]) -> str:
    return json.dumps({"keys": keys})


def claims_for(user_id: object = 7, **more: Any) -> dict[str, Any]:
    """A good ticket's claims; a value of None leaves a claim out."""
    claims = {"sub": str(user_id), "exp": int(time.time()) + 60, **more}
    return {name: value for name, value in claims.items() if value is not None}


def ticket_for(
    user_id: object = 7,
    *,
    algorithm: str = "HS256",
    key: PrivateKey | str = SECRET,
    headers: dict[str, Any] | None = None,
    **claims: Any,
) -> str:
    """PyJWT's encoder checks types that an attacker does not, so the claims are given as bytes."""
    payload = json.dumps(claims_for(user_id, **claims)).encode()
    return jwt.PyJWS().encode(payload, key, algorithm=algorithm, headers=headers)


def made_by_hand(header: dict[str, Any] | bytes, body: bytes | None = None, *, key: Any = SECRET) -> str:
    """What no library would make. ``key``: signs it, as HS256 where it is a text or bytes; None: nobody."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    payload = json.dumps(claims_for()).encode() if body is None else body
    signed = f"{base64url(head)}.{base64url(payload)}"
    return f"{signed}.{base64url(_signature(signed.encode(), key))}"


def _signature(signed: bytes, key: Any) -> bytes:
    if key is None:
        return b""
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(signed)
    secret = key.encode() if isinstance(key, str) else key
    return hmac.digest(secret, signed, "sha256")


def base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


@contextmanager
def identity(**changed: Any) -> Iterator[None]:
    """Identity is on with these settings, in this process."""
    before = settings.CONFIG
    settings.CONFIG = replace(before, identity=replace(before.identity, **changed))
    try:
        yield
    finally:
        settings.CONFIG = before
        key_ring.ring()
