"""The keys that may have signed a ticket. Pure: texts in, keys out.

PyJWT reads keys, and checks what public ones have signed.

The algorithm is the key's, never the token's own word: a public key cannot be taken for a secret.
"""

from __future__ import annotations

import hmac
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import HMACAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import InvalidKeyError

from runtime.wording import Wording

#: Keys that are tried for one ticket, where its ``kid`` does not say which. More, and a forged ticket costs
#: the loop as many checks of 0.1 ms each; fewer, and old and new keys find no room beside each other.
MOST_TRIED: Final = 4
#: The same Ed25519 signature has two names: RFC 8037's, and RFC 9864's.
_SAME: Final = {"Ed25519": "EdDSA"}
_HS256: Final = HMACAlgorithm(HMACAlgorithm.SHA256)
_RS256: Final = RSAAlgorithm(RSAAlgorithm.SHA256)
_EDDSA: Final = OKPAlgorithm()
_PEM: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


class UnusableKeysError(Wording, ValueError):
    """A text has no usable keys; the error says why, and shows nothing of it."""


class SigningKey(NamedTuple):
    """One key. ``kid``: the name that tickets know it by; None: no ticket has to name it."""

    algorithm: str
    kid: str | None
    key: Any
    verifies: Callable[[bytes, bytes], bool]  #: what was signed, and the signature

    @classmethod
    def of(cls, algorithm: str, kid: str | None, key: Any) -> SigningKey:
        if algorithm == "HS256":
            return cls(algorithm, kid, key, _verifier_of_secret(key))
        verify = {"RS256": _RS256, "EdDSA": _EDDSA}[algorithm].verify
        return cls(algorithm, kid, key, lambda signed, signature: verify(signed, key, signature))


def _verifier_of_secret(secret: bytes) -> Callable[[bytes, bytes], bool]:
    """As PyJWT does it, but the secret is hashed once, not for each ticket: 0.8 us in place of 1.3."""
    keyed = hmac.new(secret, digestmod="sha256")

    def verifies(signed: bytes, signature: bytes) -> bool:
        ours = keyed.copy()
        ours.update(signed)
        return hmac.compare_digest(ours.digest(), signature)

    return verifies


class SigningKeys:
    """What may have signed a ticket, for a while. Immutable: any thread may read it."""

    def __init__(self, keys: Iterable[SigningKey]) -> None:
        self._by_algorithm: dict[str, list[SigningKey]] = defaultdict(list)
        for key in keys:
            self._by_algorithm[key.algorithm].append(key)
        self._by_algorithm.default_factory = None

    def __len__(self) -> int:
        return sum(map(len, self._by_algorithm.values()))

    @property
    def algorithms(self) -> frozenset[str]:
        return frozenset(self._by_algorithm)

    def candidates(self, algorithm: str, kid: str | None) -> Sequence[SigningKey]:
        """The keys that may have signed it: the one of this name, and those without a name.

        A ticket that names no key may be of any, unless there are more than MOST_TRIED.
        """
        keys = self._by_algorithm.get(_SAME.get(algorithm, algorithm), [])
        found = [key for key in keys if kid is None or key.kid in (None, kid)]
        return found if len(found) <= MOST_TRIED else []


def of_secrets(text: str) -> list[SigningKey]:
    """HS256 secrets, one on a line. Raises UnusableKeysError."""
    secrets = [line.strip() for line in text.splitlines() if line.strip()]
    if not secrets:
        raise UnusableKeysError("no secret")
    if len(secrets) > MOST_TRIED:
        raise UnusableKeysError("more than {most} secrets", most=MOST_TRIED)
    try:
        return [SigningKey.of("HS256", None, _HS256.prepare_key(each)) for each in secrets]
    except InvalidKeyError as error:
        raise UnusableKeysError("a public key is no secret: everybody knows it") from error


def of_file(text: str) -> list[SigningKey]:
    """Public keys, as PEM blocks or as a JWKS. Raises UnusableKeysError."""
    if text.lstrip().startswith("{"):
        return of_jwks(text)
    blocks = list(_PEM.finditer(text))
    if any("PRIVATE" in block[1] for block in blocks):
        raise UnusableKeysError("a private key stands there: it belongs to the shop's login alone")
    keys = [_of_pem(block[0]) for block in blocks]
    if not keys:
        raise UnusableKeysError('no key: neither "-----BEGIN PUBLIC KEY-----" nor a JWKS')
    if len(keys) > MOST_TRIED:
        raise UnusableKeysError(
            "more than {most} keys without names: give them as a JWKS, with kid", most=MOST_TRIED
        )
    return keys


def of_jwks(text: str) -> list[SigningKey]:
    """The keys of a JWKS that can check RS256 or EdDSA.

    Others in it are passed over, and so are broken ones (RFC 7517, 5): one of them must not take the good
    ones away. Raises UnusableKeysError if none is left, or if it tells a private key.
    """
    try:
        named = json.loads(text)["keys"]
        usable = [each for each in named if _is_for_us(each)]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnusableKeysError("no JWKS: it is {shape}", shape='{"keys": [...]}') from error
    if any("d" in each for each in usable):
        raise UnusableKeysError("a private key stands there: it belongs to the shop's login alone")
    keys: list[SigningKey] = []
    why = UnusableKeysError("no RSA or Ed25519 key for signatures is in it")
    for each in usable:
        try:
            keys.append(_of_jwk(each))
        except UnusableKeysError as error:
            why = error
    if not keys:
        raise why
    return keys


def _is_for_us(jwk: object) -> bool:
    """A symmetric key is never taken from there: an address that tells a secret tells it to everybody."""
    if not isinstance(jwk, dict):
        return False
    kind = (jwk.get("kty"), jwk.get("crv"))
    of = "RS256" if kind == ("RSA", None) else "EdDSA" if kind == ("OKP", "Ed25519") else ""
    algorithm, operations = jwk.get("alg", of), jwk.get("key_ops", ["verify"])
    return (
        of != ""
        and isinstance(algorithm, str)
        and _SAME.get(algorithm, algorithm) == of
        and jwk.get("use", "sig") == "sig"
        and isinstance(operations, (list, str))
        and "verify" in operations
    )


def _of_jwk(jwk: dict[str, Any]) -> SigningKey:
    kid = jwk.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise UnusableKeysError("a kid is no text")
    try:
        key = RSAAlgorithm.from_jwk(jwk) if jwk["kty"] == "RSA" else OKPAlgorithm.from_jwk(jwk)
    except (InvalidKeyError, UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise UnusableKeysError("a key in the JWKS cannot be read") from error
    return _checked(key, kid)


def _of_pem(block: str) -> SigningKey:
    try:
        key = load_pem_public_key(block.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnusableKeysError("a PEM block is no public key") from error
    return _checked(key, None)


def _checked(key: object, kid: str | None) -> SigningKey:
    match key:
        case RSAPublicKey() if key.key_size >= 2048:
            return SigningKey.of("RS256", kid, key)
        case Ed25519PublicKey():
            return SigningKey.of("EdDSA", kid, key)
        case _:
            raise UnusableKeysError("a key is neither Ed25519 nor RSA of at least 2048 bits")
