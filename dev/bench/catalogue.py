"""Everything that is measured, in the order of the table. Imports no Django: it can be listed at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Measurement:
    name: str
    what: str
    function: str  #: in ``dev.bench.measurements``, called with the Run, returns an Outcome
    in_short: bool = True


ALL: Final = (
    Measurement("accept", "claims answered 202 per second, closed loop, 64 connections", "accepting.accept"),
    Measurement("refuse", "refusals per second on a sold-out coupon", "accepting.refuse"),
    Measurement("latency", "latency, open loop at 70 % of that rate", "latency.latency"),
    Measurement("issue-hot", "issued per second, one consumer, a backlog on one hot coupon", "issuing.hot"),
    Measurement("issue-spread", "the same, over 500 coupons", "issuing.spread"),
    Measurement("issue-single", "the same, one event per lock and transaction", "issuing.single"),
    Measurement("rush", "more users than stock at once, until the last coupon is stored", "rush.rush"),
    Measurement(
        "issue-large",
        "the same, with 3,000,000 claims already stored",
        "issuing.large",
        in_short=False,
    ),
    Measurement(
        "cold",
        "Redis flushed under 50,000 undecided: a claim on each of 1,000 coupons, and warm ones beside",
        "cold.cold",
        in_short=False,
    ),
    Measurement("memory", "memory of the processes, Redis per claimant", "memory.memory"),
    Measurement("start", "from process start to ready", "starting.start"),
)
