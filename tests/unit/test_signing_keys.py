"""Which texts are keys, and why others are refused. What is refused is never shown: it may be secret."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as new_ec_key
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as new_rsa_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jwt.algorithms import ECAlgorithm

from coupons.tickets.signing_keys import UnusableKeysError, of_file, of_jwks, of_secrets
from tests.tickets import SECRET, jwks, private_key, public_jwk, public_pem

RSA, ED = private_key("RS256"), private_key("EdDSA")
_EC = new_ec_key(SECP256R1())
EC_JWK = ECAlgorithm.to_jwk(_EC.public_key(), as_dict=True)
PRIVATE_PEM = ED.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
PKCS1_PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode()
WEAK_PEM = public_pem(new_rsa_key(65537, 1024))
EC_PEM = _EC.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize(
    ("text", "algorithms"),
    [
        (public_pem(ED), ["EdDSA"]),
        (public_pem(RSA), ["RS256"]),
        (PKCS1_PEM, ["RS256"]),
        (f"# old\n{public_pem(RSA)}\n# new\r\n{public_pem(ED)}", ["RS256", "EdDSA"]),
        (jwks(public_jwk(RSA, "a"), public_jwk(ED, "b")), ["RS256", "EdDSA"]),
        (jwks(public_jwk(ED, "b", alg="EdDSA", use="sig", key_ops=["verify"])), ["EdDSA"]),
        (jwks(public_jwk(ED, "b", alg="Ed25519")), ["EdDSA"]),
        # What is not for us stands beside what is.
        (jwks(EC_JWK, public_jwk(RSA, "a"), {"kty": "oct", "k": "c2VjcmV0"}), ["RS256"]),
        (
            jwks(public_jwk(RSA, "a", use="enc"), public_jwk(RSA, "b", alg="PS256"), public_jwk(ED, "c")),
            ["EdDSA"],
        ),
        (jwks(public_jwk(ED, "a", key_ops=["sign"]), public_jwk(RSA, "b")), ["RS256"]),
    ],
)
def test_keys_are_read(text: str, algorithms: list[str]) -> None:
    assert [key.algorithm for key in of_file(text)] == algorithms


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no key"),
        ("nonsense", "no key"),
        (PRIVATE_PEM, "private key"),
        (public_pem(ED) + PRIVATE_PEM, "private key"),
        (WEAK_PEM, "at least 2048 bits"),
        (EC_PEM, "neither Ed25519 nor RSA"),
        (public_pem(ED) * 5, "more than 4"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "no public key"),
        ("{}", "no JWKS"),
        ('{"keys": 5}', "no JWKS"),
        ('{"keys": [5]}', "no RSA or Ed25519 key"),
        ('{"keys": [{}]}', "no RSA or Ed25519 key"),
        ('{"keys": ' + "[" * 100_000, "no JWKS"),
        (jwks(), "no RSA or Ed25519 key"),
        (jwks(EC_JWK), "no RSA or Ed25519 key"),
        (jwks({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}), "no RSA or Ed25519 key"),
        (jwks({**public_jwk(ED, "a"), "d": "x"}), "private key"),
        (jwks({**public_jwk(ED, "a"), "x": "AAAA"}), "cannot be read"),
        (jwks({**public_jwk(RSA, "a"), "n": 5}), "cannot be read"),
        (jwks(public_jwk(new_rsa_key(65537, 1024), "a")), "at least 2048 bits"),
        (json.dumps({"keys": [{**public_jwk(ED, "a"), "kid": 5}]}), "kid"),
    ],
)
def test_what_is_no_key_is_refused(text: str, why: str) -> None:
    with pytest.raises(UnusableKeysError, match=why) as refused:
        of_file(text)
    assert "geheim" not in str(refused.value)


def test_a_secret_is_on_each_line() -> None:
    assert [key.key for key in of_secrets(f"{SECRET}\n\n other \n")] == [SECRET.encode(), b"other"]


@pytest.mark.parametrize(
    "text",
    ["", " \n", "\n".join("abcde"), public_pem(RSA).replace("\n", ""), json.dumps(public_jwk(ED, "a"))],
)
def test_a_secret_that_is_none_is_refused(text: str) -> None:
    """Neither nothing (CVE-2026-49852) nor a public key in any form (CVE-2022-29217, GHSA-xgmm-8j9v-c9wx)."""
    with pytest.raises(UnusableKeysError):
        of_secrets(text)


@pytest.mark.parametrize(
    "broken",
    [
        public_jwk(new_rsa_key(65537, 1024), "a"),
        {**public_jwk(RSA, "a"), "n": 5},
        {**public_jwk(ED, "a"), "x": "AAAA"},
        {**public_jwk(ED, "a"), "kid": 5},
        {},
        {**public_jwk(RSA, "a"), "kty": []},
        public_jwk(RSA, "a", key_ops=None),
        public_jwk(RSA, "a", key_ops=5),
        public_jwk(RSA, "a", alg=[]),
        public_jwk(RSA, "a", alg=None),
        5,
        None,
        "key",
        [],
    ],
)
def test_a_broken_key_takes_no_good_one_away(broken: Any) -> None:
    found = of_jwks(jwks(broken, public_jwk(RSA, "b"), broken))

    assert [key.kid for key in found] == ["b"]


def test_a_large_jwks_is_read_by_name() -> None:
    keys: list[dict[str, Any]] = [public_jwk(ED, str(number)) for number in range(50)]

    assert [key.kid for key in of_jwks(jwks(*keys))] == [str(number) for number in range(50)]
