"""Everything that is measured, in the order of the table. Imports no Django: it can be listed at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    name: str
    what: str
    function: str  #: in ``dev.bench.measurements``, called with the Run, returns an Outcome
    in_short: bool = True


ALL: Final = (
    Measurement(
        name="accept",
        what="claims answered 202 per second, closed loop, 64 connections",
        function="accepting.accept",
    ),
    Measurement(name="refuse", what="refusals per second on a sold-out coupon", function="accepting.refuse"),
    Measurement(name="latency", what="latency, open loop at 70 % of that rate", function="latency.latency"),
    Measurement(
        name="issue-hot",
        what="issued per second, one consumer, a backlog on one hot coupon",
        function="issuing.hot",
    ),
    Measurement(name="issue-spread", what="the same, over 500 coupons", function="issuing.spread"),
    Measurement(
        name="issue-single", what="the same, one event per lock and transaction", function="issuing.single"
    ),
    Measurement(
        name="rush",
        what="more users than stock at once, until the last coupon is stored",
        function="rush.rush",
    ),
    Measurement(
        name="issue-large",
        what="issued per second with 3,000,000 claims already stored",
        function="issuing.large",
        in_short=False,
    ),
    Measurement(
        name="cold",
        what="Redis flushed under 50,000 undecided: a claim on each of 1,000 coupons, and warm ones beside",
        function="cold.cold",
        in_short=False,
    ),
    Measurement(name="memory", what="memory of the processes, Redis per claimant", function="memory.memory"),
    Measurement(name="start", what="from process start to ready", function="starting.start"),
)


def chosen(names: list[str], *, short: bool) -> list[Measurement]:
    """Those named, else all, else the short form's. Raises LookupError."""
    if unknown := set(names) - {each.name for each in ALL}:
        raise LookupError(f"there is no measurement {', '.join(sorted(unknown))}: --list names them")
    return [each for each in ALL if (each.name in names if names else each.in_short or not short)]
