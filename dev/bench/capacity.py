"""What the measured figures mean for more machines. Pure arithmetic; every assumption is in ASSUMPTIONS."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

BUSY: Final = 0.7  #: how full a core may be planned
ASSUMPTIONS: Final = (
    f"cores are planned {BUSY:.0%} busy; a core there does what a core here did while all parts shared two",
    "API: accepted and refused claims cost the CPU time that `accept` and `refuse` took; nothing is shared",
    "gate: all claims of one (sub-)stock are decided by one Redis thread, whose time per claim was measured; "
    "claims are gathered there as they were here",
    "Redis memory: nobody is decided while claims come in, so that all accepted are there: the worst case",
    "partitions: one consumer each, as fast as on the hot coupon; (sub-)stocks fall evenly on them",
    "database: one primary, limited by its CPU time per event, its disk keeping up with one sync a batch",
    "sub-stocks: each has its own slots, partition and order: the first N/k of each win, not the first N",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One claim's cost by part in CPU microseconds, rates per second, memory in bytes."""

    api_us_accepted: float
    api_us_refused: float
    redis_us_accepted: float
    redis_us_refused: float
    kafka_us_accepted: float
    consumer_per_s: float
    database_us: float
    redis_bytes: float

    @classmethod
    def of(cls, report: dict[str, Any]) -> Measured:
        """From the JSON of a run. Raises LookupError naming what it lacks."""
        runs = report["measurements"]
        for name in ("accept", "refuse", "issue-hot", "memory"):
            if name not in runs or runs[name]["complaints"]:
                raise LookupError(f"the run has no good {name}: measure it with `make bench`")
        accepted, refused = _costs(runs["accept"]), _costs(runs["refuse"])
        return cls(
            api_us_accepted=accepted["api"],
            api_us_refused=refused["api"],
            redis_us_accepted=accepted["redis"],
            redis_us_refused=refused["redis"],
            kafka_us_accepted=accepted["kafka"],
            consumer_per_s=runs["issue-hot"]["per_s"],
            database_us=runs["issue-hot"]["cpu_us_per_event"]["db"],
            redis_bytes=runs["memory"]["redis_bytes_per_claimant"],
        )


def _costs(run: dict[str, Any]) -> dict[str, float]:
    slices = [each["cpu_us_per_claim"] for each in run["slices"]]
    return {part: median(each[part] for each in slices) for part in slices[0]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    people: int
    seconds: float  #: in which they all come
    coupons: int  #: that they come for, each as wanted as the other
    stock: int  #: of each
    sub_stocks: int = 1  #: that each coupon is cut into

    @property
    def accepted(self) -> int:
        return min(self.people, self.coupons * self.stock)

    @property
    def refused(self) -> int:
        return self.people - self.accepted


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one scenario needs, and how long it then takes."""

    claims_per_s: float
    api_cores: int
    api_machines: int
    gate_share: float  #: of one Redis thread, by the busiest (sub-)stock; above BUSY it is too much
    redis_shards: int
    redis_mb: float
    broker_cores: int
    partitions: int  #: and as many consumers
    issued_s: float  #: from the first claim to the last coupon in the database
    limited_by: str  #: "partitions": there cannot be more than (sub-)stocks

    @property
    def fits(self) -> bool:
        return self.gate_share <= BUSY


def plan(measured: Measured, scenario: Scenario, *, cores: int) -> Plan:
    """``cores`` of one machine, of the API and of the database alike."""
    api_us = _both(scenario, measured.api_us_accepted, measured.api_us_refused)
    redis_us = _both(scenario, measured.redis_us_accepted, measured.redis_us_refused)
    api_cores = _cores(api_us, scenario.seconds)
    streams = scenario.coupons * scenario.sub_stocks
    database_per_s = BUSY * cores * 1e6 / measured.database_us
    wanted = math.ceil(database_per_s / measured.consumer_per_s)
    partitions = max(1, min(streams, wanted))
    coming_s = scenario.accepted / scenario.people * scenario.seconds
    issuing_s = scenario.accepted / min(partitions * measured.consumer_per_s, database_per_s)
    return Plan(
        claims_per_s=scenario.people / scenario.seconds,
        api_cores=api_cores,
        api_machines=math.ceil(api_cores / cores),
        gate_share=redis_us / 1e6 / scenario.seconds / streams,
        redis_shards=min(streams, _cores(redis_us, scenario.seconds)),
        redis_mb=scenario.accepted * measured.redis_bytes / 1e6,
        broker_cores=_cores(scenario.accepted * measured.kafka_us_accepted, scenario.seconds),
        partitions=partitions,
        issued_s=max(issuing_s, coming_s),
        limited_by=_limit(issuing_s=issuing_s, coming_s=coming_s, by_database=partitions == wanted),
    )


def _limit(*, issuing_s: float, coming_s: float, by_database: bool) -> str:
    if coming_s >= issuing_s:
        return "people coming"
    return "database" if by_database else "partitions"


def sub_stocks_needed(measured: Measured, scenario: Scenario) -> int:
    """Into how many parts each coupon must be cut so that no Redis thread is too busy with one."""
    redis_us = _both(scenario, measured.redis_us_accepted, measured.redis_us_refused)
    return _cores(redis_us / scenario.coupons, scenario.seconds)


def _both(scenario: Scenario, us_accepted: float, us_refused: float) -> float:
    """CPU microseconds of the whole crowd."""
    return scenario.accepted * us_accepted + scenario.refused * us_refused


def _cores(us: float, seconds: float) -> int:
    return max(1, math.ceil(us / 1e6 / seconds / BUSY))
