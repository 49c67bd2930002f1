"""How often an address and a user may ask: token buckets in Redis, for all API processes together.

A bucket is the time at which it will be full (GCRA): one number, which expires when the bucket is full. So
memory is bounded by who asked within the last ``burst`` intervals. A batch of requests is one call.

Losing the buckets costs nothing but that everybody's burst begins anew; while Redis is away nobody is
limited. docs/decisions/limits.md says why this is no library.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final, NamedTuple, TypeVar

from coupons.gate.admission import gate
from coupons.gate.redis_client import Argument
from runtime.config.limits import Limit, LimitSettings

K = TypeVar("K")

#: One hash tag: a call takes from the buckets of a batch, which a cluster must hold on one node.
_TAG: Final = "{coupon-limits}"


class Asking(NamedTuple):
    """Who asks. ``user_id`` None: nobody in particular, or it is no claim."""

    address: str
    user_id: int | None = None


class Bucket(NamedTuple):
    """After a request, in microseconds. ``wait_us`` 0: a token was taken, or could have been."""

    wait_us: int
    full_in_us: int

    def remaining(self, limit: Limit) -> int:
        return max(0, limit.depth_us - self.full_in_us) // limit.interval_us


class Verdict(NamedTuple):
    """None where that limit is off, or does not concern the request.

    ``is_remembered``: a refusal that Redis was not asked for, because the bucket was empty a moment ago.
    """

    address: Bucket | None
    user: Bucket | None
    is_remembered: bool = False

    @property
    def wait_us(self) -> int:
        """How long to wait for the next try; 0: the request is within the limits."""
        return max((bucket.wait_us for bucket in (self.address, self.user) if bucket), default=0)


def take(limits: LimitSettings, asking: Sequence[Asking]) -> list[Verdict]:
    """Take tokens, in the order given. Raises GateUnavailable. Waits for Redis: never in the loop."""
    addresses = _indexes([each.address for each in asking] if limits.address else [], first=1)
    users = [each.user_id for each in asking if each.user_id is not None] if limits.user else []
    by_user = _indexes(users, first=1 + len(addresses))
    keys = [*(f"{_TAG}:address:{each}" for each in addresses), *(f"{_TAG}:user:{each}" for each in by_user)]
    if not keys:
        return [Verdict(None, None)] * len(asking)
    asked = chain.from_iterable(
        (addresses.get(each.address, 0), by_user.get(each.user_id or 0, 0)) for each in asking
    )
    args: list[Argument] = [*_sizes(limits.address), *_sizes(limits.user), len(addresses), *asked]
    told = iter(gate.run("limit", (keys, args)))
    return [Verdict(_bucket(*four[:2]), _bucket(*four[2:])) for four in zip(*[told] * 4, strict=True)]


def _indexes(values: Iterable[K], *, first: int) -> dict[K, int]:
    """Each value once, and its place among the script's keys."""
    return {value: place for place, value in enumerate(dict.fromkeys(values), first)}


def _sizes(limit: Limit | None) -> tuple[int, int]:
    return (limit.interval_us, limit.depth_us) if limit else (0, 0)


def _bucket(wait_us: int, full_in_us: int) -> Bucket | None:
    return None if wait_us < 0 else Bucket(wait_us, full_in_us)
