"""A gate's keys, and a claim in the bytes that they hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final
from uuid import UUID

from coupons.claim import Claim
from coupons.eventlog.events import MAX_ID
from coupons.gate.redis_client import Argument

_KEY: Final = re.compile(rb"\{coupon:([1-9][0-9]{0,18})\}:.*")
_COUNT: Final = re.compile(rb"[0-9]{1,16}")  #: as lua/common.lua takes it


def keys_of(coupon_id: int) -> tuple[str, str, str]:
    # One hash tag: all of a coupon's keys live on one node of a Redis Cluster.
    tag = f"{{coupon:{coupon_id}}}"
    return f"{tag}:gate", f"{tag}:reservations", f"{tag}:settled:"


def coupon_of(key: bytes) -> int | None:
    """None: somebody else's key."""
    match = _KEY.fullmatch(key)
    return int(match[1]) if match and int(match[1]) <= MAX_ID else None


def count_in(value: bytes | None) -> int | None:
    """None: no number of ours."""
    return int(value) if value is not None and _COUNT.fullmatch(value) else None


def claims_in(coupon_id: int, reservations: Iterable[tuple[bytes, bytes]]) -> Iterator[Claim]:
    """A field that is no reservation of ours is none: the gate is loaded anew, without it."""
    claims = (claim_in(coupon_id, user_id, request_id) for user_id, request_id in reservations)
    return (claim for claim in claims if claim is not None)


def claim_in(coupon_id: int, user: bytes, request: bytes) -> Claim | None:
    """None: no reservation that ``pair`` could have written."""
    user_id = int.from_bytes(user, "big")
    if not 1 <= user_id <= MAX_ID or user[0] == 0 or len(request) != 16:
        return None
    return Claim(coupon_id=coupon_id, user_id=user_id, request_id=UUID(bytes=request))


def paired(values: Sequence[bytes] = ()) -> Iterable[tuple[bytes, bytes]]:
    return zip(values[::2], values[1::2], strict=True)


def pairs(claims: Iterable[Claim]) -> Iterable[Argument]:
    return flat(map(pair, claims))


def pair(claim: Claim) -> tuple[bytes, bytes]:
    # 3 bytes and 16 instead of 7 and 36: Redis keeps them for every claimant.
    user_id = claim.user_id
    return user_id.to_bytes((user_id.bit_length() + 7) // 8, "big"), claim.request_id.bytes


def flat(rows: Iterable[tuple[Argument, ...]]) -> Iterable[Argument]:
    return chain.from_iterable(rows)
