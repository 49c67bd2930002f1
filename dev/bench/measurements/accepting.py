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
from dev.bench.stage import Stage, cpu_counted, staged
from tests.system import Server

_SOLD_OUT: Final = 100  #: coupons that went before


@dataclass(slots=True)
class _Taken:
    """Rates per second by site, and what is known of each of our slices."""

    rates: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    slices: list[dict[str, Any]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def outcome(self, name: str, *figures: Figure) -> Outcome:
        details = {"rates": {site: rates for site, rates in self.rates.items() if rates}}
        return Outcome(
            name=name,
            figures=figures,
            complaints=self.complaints,
            details=details | {"slices": self.slices},
        )

    def figure(self, name: str, site: str, baseline_name: str, *, ours: str = "ours") -> Figure:
        return Figure(
            name=name,
            unit="/s",
            ours=median(self.rates[ours]),
            baseline=median(self.rates[site]),
            baseline_name=baseline_name,
        )


def accept(run: Run) -> Outcome:
    """Claims answered 202 per second: by the API alone, as the views it is compared with are, and while
    a consumer on the same cores decides them."""
    with staged(run) as stage:
        sites = {"plain": baselines.plain_site(stage), "rest": baselines.rest_site(stage)}
        [coupon_id] = database.make_coupons(1, stock=run.scale.users)
        taken = _in_turn(stage, sites, coupon_id, status=202, also_alone=True)
        taken.complaints += stage.verify()
    run.plain_per_s, run.accept_per_s = median(taken.rates["plain"]), median(taken.rates["while issuing"])
    return taken.outcome(
        "accept",
        taken.figure("accept / plain view", "plain", "plain view"),
        taken.figure("accept / DRF view", "rest", "DRF view, gthread 2x4"),
        taken.figure("accept while issuing / plain view", "plain", "plain view", ours="while issuing"),
    )


def refuse(run: Run) -> Outcome:
    """Refusals per second once the coupon is sold out, the longest part of a real event."""
    with staged(run) as stage:
        sites = {"plain": baselines.plain_site(stage)}
        [coupon_id] = database.make_coupons(1, stock=_SOLD_OUT)  # the warm-up takes them
        taken = _in_turn(stage, sites, coupon_id, status=409, code="OUT_OF_STOCK")
        issued = database.issued(coupon_id)
        if issued != _SOLD_OUT:
            taken.complaints.append(f"{issued} issued of a stock of {_SOLD_OUT}")
        taken.complaints += stage.verify()
    return taken.outcome("refuse", taken.figure("refuse / plain view", "plain", "plain view"))


def _in_turn(
    stage: Stage,
    sites: Mapping[str, Server],
    coupon_id: int,
    *,
    status: int,
    code: str | None = None,
    also_alone: bool = False,
) -> _Taken:
    """Everything warmed up, then a slice of each in every round; all of ours must be answered so."""
    scale = stage.run.scale
    stage.start_api()
    consumer = stage.start_consumer()
    for site in sites.values():
        baselines.load(site, seconds=scale.warm_s)
    stage.load(coupon_id, seconds=scale.warm_s)
    stage.wait_decided(coupon_id)
    taken = _Taken()
    for _ in range(scale.rounds):
        for name, site in sites.items():
            taken.rates[name].append(baselines.load(site, seconds=scale.slice_s).per_s(200))
        if also_alone:
            _take_ours(
                stage, coupon_id, taken, name="ours", beside=consumer.paused(), status=status, code=code
            )
        name = "while issuing" if also_alone else "ours"
        _take_ours(stage, coupon_id, taken, name=name, beside=nullcontext(), status=status, code=code)
    return taken


def _take_ours(
    stage: Stage,
    coupon_id: int,
    taken: _Taken,
    *,
    name: str,
    beside: AbstractContextManager[None],
    status: int,
    code: str | None,
) -> None:
    """One slice of claims, decided to its end; the CPU time is that of both together.

    ``beside``: what holds during the load; the consumer paused, for less than the group waits for it.
    """
    with cpu_counted(stage.pids()) as cpu_s:
        with beside:
            counted = stage.load(coupon_id, seconds=stage.run.scale.slice_s)
        stage.wait_decided(coupon_id)
    taken.complaints += counted.complaints(status=status, code=code)
    taken.rates[name].append(counted.per_s(status))
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
