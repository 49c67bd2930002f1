"""Keys of the shop's back office: programs that read or claim for any user. Pure.

A key is 256 random bits, so its SHA-256 is enough to know it by: nothing can be tried out.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from runtime.wording import Wording

PREFIX: Final = "office_"  #: so that a key is found where it should not be: in a repository, in a log
_LINE: Final = re.compile(r"([A-Za-z0-9._-]{1,64})\s+sha256:([0-9a-f]{64})\s+(\S+)")


class Scope(StrEnum):
    """What a key may be good for."""

    USERS_READ = "users:read"  # the coupons of any user
    REQUESTS_READ = "requests:read"  # the status of any request
    CLAIMS_WRITE = "claims:write"  # claims for any user


class UnusableOfficeKeysError(Wording, ValueError):
    """A text is no list of keys; the error says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficeKey:
    """``name``: of the program that has it, for the log. Two keys may have one name, while one is changed."""

    name: str
    digest: str
    scopes: frozenset[Scope]

    def line(self) -> str:
        return f"{self.name} sha256:{self.digest} {','.join(sorted(self.scopes))}"


class OfficeKeys:
    """Immutable: any thread may read it."""

    def __init__(self, keys: Collection[OfficeKey] = ()) -> None:
        self._by_digest: Final = {key.digest: key for key in keys}

    def find(self, key: bytes) -> OfficeKey | None:
        return self._by_digest.get(digest_of(key))

    def __len__(self) -> int:
        return len(self._by_digest)


def digest_of(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()


def new(name: str, scopes: Collection[Scope]) -> tuple[str, OfficeKey]:
    """A new key, and what is kept of it. Raises UnusableOfficeKeysError for a name that is none."""
    key = PREFIX + secrets.token_urlsafe(32)
    [kept] = parsed(OfficeKey(name=name, digest=digest_of(key.encode()), scopes=frozenset(scopes)).line())
    return key, kept


def parsed(text: str) -> list[OfficeKey]:
    """One key on a line; a line that begins with # is a comment. Raises UnusableOfficeKeysError."""
    return [
        _key(number, line.strip())
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]


def _key(number: int, line: str) -> OfficeKey:
    match = _LINE.fullmatch(line)
    if match is None:
        # The line is not repeated, because it may hold a key.
        raise UnusableOfficeKeysError(
            "line {number} is not: name sha256:<64 hex digits> scope,scope", number=number
        )
    try:
        scopes = frozenset(map(Scope, match[3].split(",")))
    except ValueError as error:
        raise UnusableOfficeKeysError(
            "line {number} names a scope that is none of {known}", number=number, known=", ".join(Scope)
        ) from error
    return OfficeKey(name=match[1], digest=match[2], scopes=scopes)
