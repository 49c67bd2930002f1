"""A gate's keys, and claims as the bytes in their hashes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Final
from uuid import UUID

from coupons.claim import Claim
from coupons.eventlog.events import MAX_ID
from coupons.gate.redis_client import Argument

_KEY: Final = re.compile(rb"\{coupon:([1-9][0-9]{0,18})\}:.*")
_COUNT: Final = re.compile(rb"[0-9]{1,16}")  #: the rule of ``whole`` in lua/common.lua


@lru_cache(maxsize=10_000)
def keys_of(coupon_id: int) -> tuple[str, str, str]:
    # One hash tag: all of a coupon's keys live on one node of a Redis Cluster.
    tag = f"{{coupon:{coupon_id}}}"
    return f"{tag}:gate", f"{tag}:reservations", f"{tag}:settled:"


def coupon_of(key: bytes) -> int | None:
    """The coupon of a gate's key; None if the key is not ours."""
    match = _KEY.fullmatch(key)
    return int(match[1]) if match and int(match[1]) <= MAX_ID else None


def count_in(value: bytes | None) -> int | None:
    """The count in a field's value; None if we cannot have written it."""
    return int(value) if value is not None and _COUNT.fullmatch(value) else None


def claims_in(coupon_id: int, reservations: Iterable[tuple[bytes, bytes]]) -> Iterator[Claim]:
    """The claims in a hash of reservations; fields that are no reservation of ours are passed over."""
    claims = (claim_in(coupon_id, user_id, request_id) for user_id, request_id in reservations)
    return (claim for claim in claims if claim is not None)


def claim_in(coupon_id: int, user: bytes, request: bytes) -> Claim | None:
    """The claim in a field; None if ``pair`` cannot have written it."""
    user_id = int.from_bytes(user, "big")
    if not 1 <= user_id <= MAX_ID or user[0] == 0 or len(request) != 16:
        return None
    return Claim(coupon_id=coupon_id, user_id=user_id, request_id=UUID(bytes=request))


def paired(values: Sequence[bytes] = ()) -> Iterable[tuple[bytes, bytes]]:
    return zip(values[::2], values[1::2], strict=True)


def pairs(claims: Iterable[Claim]) -> Iterable[Argument]:
    return flat(map(pair, claims))


def pair(claim: Claim) -> tuple[bytes, bytes]:
    # As bytes: 3 and 16 instead of the 7 and 36 of text. Redis keeps a pair for every claimant.
    user_id = claim.user_id
    return user_id.to_bytes((user_id.bit_length() + 7) // 8, "big"), claim.request_id.bytes


def flat(rows: Iterable[tuple[Argument, ...]]) -> Iterable[Argument]:
    return chain.from_iterable(rows)
