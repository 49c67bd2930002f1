"""Events, written by a plain producer before any consumer is there."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from typing import Final

from uuid_utils.compat import uuid7

from coupons.eventlog.events import CouponIssueEvent, encode, partition_key
from dev import topics

_SEED: Final = 5  # the same order in every run


def events(coupon_ids: Sequence[int], users: Sequence[int]) -> list[CouponIssueEvent]:
    """One event per user, on one coupon after the other; users come in no order, as in life."""
    order = list(users)
    random.Random(_SEED).shuffle(order)
    now_ms = time.time_ns() // 1_000_000
    return [
        CouponIssueEvent(
            request_id=uuid7(),
            user_id=user,
            coupon_id=coupon_ids[number % len(coupon_ids)],
            timestamp_ms=now_ms,
        )
        for number, user in enumerate(order)
    ]


def write(topic: str, written: Sequence[CouponIssueEvent], changes: Mapping[str, int] | None = None) -> None:
    """Returns when the broker has them all; raises RuntimeError if it has not."""
    records = ((partition_key(event.coupon_id), encode(event)) for event in written)
    topics.write(topic, records, {"linger.ms": 20, "enable.idempotence": False} | dict(changes or {}))
