"""A shop's login for the benchmark: keys of each kind, and files of tickets for the users who claim next.

They are signed before the load begins: signing is the login's work, and none of ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ALGORITHMS: Final = ("HS256", "RS256", "EdDSA")
_SECRET: Final = "b3d90f6a27c14e58" * 4
#: More than any load so far has used up. With too few the last claims come without, and the figure is red.
_MORE: Final = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    folder: Path
    keys: Mapping[str, RSAPrivateKey | Ed25519PrivateKey | str]

    @classmethod
    def new(cls, folder: Path) -> Login:
        keys: dict[str, RSAPrivateKey | Ed25519PrivateKey | str] = {
            "HS256": _SECRET,
            "RS256": generate_private_key(65537, 2048),
            "EdDSA": Ed25519PrivateKey.generate(),
        }
        return cls(folder=folder, keys=keys)

    def settings(self, algorithm: str) -> dict[str, str]:
        """For an API that checks its tickets of this kind, and knows no other."""
        key = self.keys[algorithm]
        if isinstance(key, str):
            return {"COUPON_IDENTITY_SECRET": key}
        file = self.folder / f"{algorithm}.pem"
        file.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        return {"COUPON_TICKET_KEYS": str(file)}

    def signing(
        self, algorithm: str, *, first_user: Callable[[], int], used: Callable[[], int]
    ) -> Callable[[], Path]:
        """What makes a file for the users from ``first_user`` on, 1.5 times as many as ``used``."""

        def sign() -> Path:
            first, file = first_user(), self.folder / f"{algorithm}.tickets"
            users = range(first, first + int(used() * _MORE))
            claims = {"exp": int(time.time()) + 600, "iss": "https://login.example.com", "aud": "coupons"}
            key = self.keys[algorithm]
            lines = [jwt.encode({"sub": str(user), **claims}, key, algorithm) for user in users]
            file.write_text("\n".join(lines))
            return file

        return sign
