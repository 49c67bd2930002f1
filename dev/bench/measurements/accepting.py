"""accept and refuse: closed loop, 64 connections, in turn with the constant views."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from dev.bench import baselines, database
from dev.bench.judging import Figure, Outcome
from dev.bench.run import Run
from dev.bench.stage import Stage, staged
from dev.bench.usage import cpu_counted
from dev.processes import Process

_SOLD_OUT: Final = 100  #: coupons that went before


@dataclass(slots=True)
class _Taken:
    """Rates per second by site, and what is known of each of our slices: all must be answered so."""

    status: int
    code: str | None = None
    rates: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    slices: list[dict[str, Any]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def outcome(self, name: str, *figures: Figure) -> Outcome:
        details = {"rates": dict(self.rates), "slices": self.slices}
        return Outcome(name=name, figures=figures, complaints=self.complaints, details=details)

    def figure(self, name: str, *, beside: str = "plain", ours: str = "ours") -> Figure:
        return Figure(name=name, ours=median(self.rates[ours]), baseline=median(self.rates[beside]))


def accept(run: Run) -> Outcome:
    """Claims answered 202 per second: by the API alone, as the views it is compared with are, and while
    a consumer on the same cores decides them."""
    with staged(run) as stage:
        sites = {"plain": baselines.plain_site(stage), "rest": baselines.rest_site(stage)}
        [coupon_id] = database.make_coupons(1, stock=run.scale.users)
        taken = _Taken(202)
        _in_turn(stage, sites, coupon_id, taken, also_alone=True)
        taken.complaints += stage.verify()
    run.plain_per_s, run.accept_per_s = median(taken.rates["plain"]), median(taken.rates["while issuing"])
    return taken.outcome(
        "accept",
        taken.figure("accept / plain view"),
        taken.figure("accept / DRF view", beside="rest"),
        taken.figure("accept while issuing / plain view", ours="while issuing"),
    )


def refuse(run: Run) -> Outcome:
    """Refusals per second once the coupon is sold out, the longest part of a real event."""
    with staged(run) as stage:
        sites = {"plain": baselines.plain_site(stage)}
        [coupon_id] = database.make_coupons(1, stock=_SOLD_OUT)  # the warm-up takes them
        taken = _Taken(409, "OUT_OF_STOCK")
        _in_turn(stage, sites, coupon_id, taken)
        issued = database.issued(coupon_id)
        if issued != _SOLD_OUT:
            taken.complaints.append(f"{issued} issued of a stock of {_SOLD_OUT}")
        taken.complaints += stage.verify()
    return taken.outcome("refuse", taken.figure("refuse / plain view"))


def _in_turn(
    stage: Stage,
    sites: Mapping[str, Process],
    coupon_id: int,
    taken: _Taken,
    *,
    also_alone: bool = False,
) -> None:
    """Everything warmed up, then a slice of each in every round."""
    scale = stage.run.scale
    stage.start_api()
    consumer = stage.start_consumer()
    for site in sites.values():
        baselines.load(site, seconds=scale.warm_s)
    stage.load(coupon_id, seconds=scale.warm_s)
    stage.wait_decided(coupon_id)
    for _ in range(scale.rounds):
        for name, site in sites.items():
            taken.rates[name].append(baselines.load(site, seconds=scale.slice_s).per_s(200))
        if also_alone:
            _take_ours(stage, coupon_id, taken, name="ours", beside=consumer.paused())
        _take_ours(stage, coupon_id, taken, name="while issuing" if also_alone else "ours")


def _take_ours(
    stage: Stage,
    coupon_id: int,
    taken: _Taken,
    *,
    name: str,
    beside: AbstractContextManager[None] | None = None,
) -> None:
    """One slice of claims, decided to its end; the CPU time is that of both together.

    ``beside``: what holds during the load; the consumer paused, for less than the group waits for it.
    """
    with cpu_counted(stage.pids()) as cpu_s:
        with beside or nullcontext():
            counted = stage.load(coupon_id, seconds=stage.run.scale.slice_s)
        stage.wait_decided(coupon_id)
    taken.complaints += counted.complaints(status=taken.status, code=taken.code)
    taken.rates[name].append(counted.per_s(taken.status))
    answers = sum(counted.statuses.values())
    taken.slices.append(
        {
            "of": name,
            "seconds": counted.seconds,
            "statuses": dict(counted.statuses),
            "codes": dict(counted.codes),
            "wrk_core_share": round(counted.core_share, 3),
            "cpu_us_per_claim": {name: round(used / answers * 1e6, 1) for name, used in cpu_s.items()},
        }
    )
