"""accept and refuse: closed loop, 64 connections, in turn with the constant views."""

from __future__ import annotations

from statistics import median
from typing import Any

from bench import baselines, database
from bench.judging import Figure, Outcome
from bench.run import Run
from bench.stage import Stage, cpu_counted, staged

_SOLD_OUT = 100  #: coupons that went before


def accept(run: Run) -> Outcome:
    """Claims answered 202 per second, the consumer deciding them meanwhile."""
    with staged(run) as stage:
        plain, rest = baselines.plain_site(stage), baselines.rest_site(stage)
        stage.start_api()
        stage.start_consumer()
        [coupon_id] = database.make_coupons(1, stock=run.scale.users)
        for site in (plain, rest):
            baselines.load(site, seconds=run.scale.warm_s)
        stage.load(coupon_id, seconds=run.scale.warm_s)
        stage.settle(coupon_id)
        rates: dict[str, list[float]] = {"plain": [], "ours": [], "rest": []}
        slices: list[dict[str, Any]] = []
        complaints: list[str] = []
        for _ in range(run.scale.rounds):
            rates["plain"].append(baselines.load(plain, seconds=run.scale.slice_s).per_s(200))
            told = _slice(stage, coupon_id, complaints, status=202)
            slices.append(told)
            rates["ours"].append(told["per_s"])
            rates["rest"].append(baselines.load(rest, seconds=run.scale.slice_s).per_s(200))
        complaints += stage.verify()
    run.plain_per_s, run.accept_per_s = median(rates["plain"]), median(rates["ours"])
    return Outcome(
        name="accept",
        figures=[
            _figure("accept / plain view", rates["ours"], rates["plain"], "plain view"),
            _figure("accept / DRF view", rates["ours"], rates["rest"], "DRF view, gthread 2x4"),
        ],
        complaints=complaints,
        details={"rates": rates, "slices": slices},
    )


def refuse(run: Run) -> Outcome:
    """Refusals per second once the coupon is sold out, the longest part of a real event."""
    with staged(run) as stage:
        plain = baselines.plain_site(stage)
        stage.start_api()
        stage.start_consumer()
        [coupon_id] = database.make_coupons(1, stock=_SOLD_OUT)
        baselines.load(plain, seconds=run.scale.warm_s)
        stage.load(coupon_id, seconds=run.scale.warm_s)
        stage.settle(coupon_id)
        rates: dict[str, list[float]] = {"plain": [], "ours": []}
        slices: list[dict[str, Any]] = []
        complaints: list[str] = []
        for _ in range(run.scale.rounds):
            rates["plain"].append(baselines.load(plain, seconds=run.scale.slice_s).per_s(200))
            told = _slice(stage, coupon_id, complaints, status=409, code="OUT_OF_STOCK")
            slices.append(told)
            rates["ours"].append(told["per_s"])
        issued = database.issued(coupon_id)
        if issued != _SOLD_OUT:
            complaints.append(f"{issued} issued of a stock of {_SOLD_OUT}")
        complaints += stage.verify()
    return Outcome(
        name="refuse",
        figures=[_figure("refuse / plain view", rates["ours"], rates["plain"], "plain view")],
        complaints=complaints,
        details={"rates": rates, "slices": slices},
    )


def _slice(
    stage: Stage, coupon_id: int, complaints: list[str], *, status: int, code: str | None = None
) -> dict[str, Any]:
    """One slice of claims, decided to its end; the CPU time of both together."""
    with cpu_counted(stage.pids()) as cpu_s:
        counted = stage.load(coupon_id, seconds=stage.run.scale.slice_s)
        stage.settle(coupon_id)
    complaints += counted.complaints(status=status, code=code)
    answers = sum(counted.statuses.values())
    return {
        "per_s": counted.per_s(status),
        "seconds": counted.seconds,
        "statuses": dict(counted.statuses),
        "codes": dict(counted.codes),
        "wrk_core_share": round(counted.core_share, 3),
        "cpu_us_per_claim": {name: round(used / answers * 1e6, 1) for name, used in cpu_s.items()},
    }


def _figure(name: str, ours: list[float], baseline: list[float], baseline_name: str) -> Figure:
    return Figure(
        name=name, unit="/s", ours=median(ours), baseline=median(baseline), baseline_name=baseline_name
    )
