"""Everything that is measured, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.judging import Outcome
from bench.measurements import accepting, issuing, latency, memory, rush, starting
from bench.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    name: str
    what: str
    measure: Callable[[Run], Outcome]
    in_short: bool = True


ALL: Final = (
    Measurement(
        name="accept",
        what="claims answered 202 per second, closed loop, 64 connections",
        measure=accepting.accept,
    ),
    Measurement(name="refuse", what="refusals per second on a sold-out coupon", measure=accepting.refuse),
    Measurement(name="latency", what="latency, open loop at 70 % of that rate", measure=latency.latency),
    Measurement(
        name="issue-hot",
        what="issued per second, one consumer, a backlog on one hot coupon",
        measure=issuing.hot,
    ),
    Measurement(name="issue-spread", what="the same, over 500 coupons", measure=issuing.spread),
    Measurement(
        name="issue-single", what="the same, one event per lock and transaction", measure=issuing.single
    ),
    Measurement(
        name="rush", what="more users than stock at once, until the last coupon is stored", measure=rush.rush
    ),
    Measurement(
        name="issue-large",
        what="issued per second with 3,000,000 claims already stored",
        measure=issuing.large,
        in_short=False,
    ),
    Measurement(name="memory", what="memory of the processes, Redis per claimant", measure=memory.memory),
    Measurement(name="start", what="from process start to ready", measure=starting.start),
)
