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
    in_full: bool = True  #: False: only where it is named


ALL: Final = (
    Measurement(
        "accept", "claims answered 202 per second, closed loop, 64 and 256 at once", "accepting.accept"
    ),
    Measurement(
        "tickets",
        "claims with tickets, beside claims without, by algorithm",
        "tickets.tickets",
        in_short=False,
    ),
    Measurement("refuse", "refusals per second on a sold-out coupon", "accepting.refuse"),
    Measurement("mixed", "claims on 100 hot coupons at once, beside one", "accepting.mixed", in_short=False),
    Measurement(
        "kept",
        "claims beside 1,000, 5,000 and 10,000 connections that are kept",
        "kept.kept",
        in_short=False,
    ),
    Measurement(
        "limits",
        "claims with limits of rate beside none; others' p99 beside a flood from one address",
        "limited.limits",
        in_short=False,
    ),
    Measurement(
        "watched",
        "claims while a hundred people watch the event's page",
        "watched.watched",
        in_short=False,
    ),
    Measurement(
        "figures",
        "the API's CPU a claim with figures by the second, beside none",
        "figures.figures",
        in_short=False,
        in_full=False,
    ),
    Measurement("latency", "latency, open loop at 70 % of that rate", "latency.latency"),
    Measurement("issue-hot", "issued per second, one consumer, a backlog on one hot coupon", "issuing.hot"),
    Measurement("issue-spread", "the same, over 100 coupons", "issuing.spread"),
    Measurement("issue-single", "the same, one event per lock and transaction", "issuing.single"),
    Measurement("rush", "more users than stock at once, until the last coupon is stored", "rush.rush"),
    Measurement(
        "stored",
        "accepting and issuing with a million claims stored",
        "stored.million",
        in_short=False,
    ),
    Measurement(
        "stored-ten-million",
        "the same with ten million",
        "stored.ten_million",
        in_short=False,
        in_full=False,
    ),
    Measurement(
        "cold",
        "Redis flushed under 50,000 undecided: claims on 1,000 coupons, warm ones beside; on 100",
        "cold.cold",
        in_short=False,
    ),
    Measurement(
        "winners",
        "a million winners as CSV, by the page and by the command",
        "winners.winners",
        in_short=False,
        in_full=False,
    ),
    Measurement("memory", "memory of the processes, Redis per claimant", "memory.memory"),
    Measurement("start", "from process start to ready", "starting.start"),
)
