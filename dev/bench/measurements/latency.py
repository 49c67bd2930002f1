"""latency: open loop at 70 % of the highest accepting rate."""

from __future__ import annotations

from dataclasses import asdict
from statistics import median
from typing import Any, Final

from dev.bench import baselines, crowd, database
from dev.bench.crowd import Plan, Report
from dev.bench.judging import Figure, Outcome
from dev.bench.run import Run
from dev.bench.series import percentile, series_of
from dev.bench.stage import Stage, staged
from dev.bench.wrk import CONNECTIONS

_SHARE: Final = 0.7
#: Enough that no claim waits for another's connection, as nobody does in an open loop: some 60 are under way
#: at once. With 64, a second in which answers take 18 ms in place of 12 becomes a queue of claims that were
#: never sent, and is told as a latency of 270 ms.
_OPEN_CONNECTIONS: Final = 256
_CAPACITY_S: Final = 2.0


def latency(run: Run) -> Outcome:
    """From the scheduled time of each claim to its answer, the consumer deciding them meanwhile."""
    with staged(run) as stage:
        capacity = _capacity(stage)
        stage.start_api()
        stage.start_consumer()
        [coupon_id] = database.make_coupons(1, stock=run.scale.users)
        stage.load(coupon_id, seconds=run.scale.warm_s)
        highest = _accept_per_s(run, stage, coupon_id)
        stage.wait_decided(coupon_id)
        report = crowd.run(_open_loop(stage, coupon_id, per_s=_SHARE * highest))
        stage.wait_decided(coupon_id)
        complaints = report.complaints(202) + stage.verify()
    p50, p99, worst = (percentile(report.took, percent) for percent in (50, 99, 100))
    figures = [
        Figure(name="latency p99 / p50", ours=p99 * 1000, baseline=p50 * 1000),
        Figure(name="latency max / 1 s", ours=worst * 1000, baseline=1000),
    ]
    return Outcome(
        name="latency", figures=figures, complaints=complaints, details=_details(report, capacity, highest)
    )


def _open_loop(stage: Stage, coupon_id: int, *, per_s: float) -> Plan:
    seconds = stage.run.scale.open_loop_s
    return stage.plan(
        [coupon_id],
        int(per_s * seconds),
        limit_s=seconds * 2 + 10,
        connections=_OPEN_CONNECTIONS,
        per_s=per_s,
    )


def _accept_per_s(run: Run, stage: Stage, coupon_id: int) -> float:
    """What `accept` measured: what the API does when it is asked for all it can, the slices' median."""
    if run.accept_per_s is None:
        slices = [stage.load(coupon_id, seconds=run.scale.slice_s) for _ in range(run.scale.rounds)]
        run.accept_per_s = median(each.per_s(202) for each in slices)
    return run.accept_per_s


def _capacity(stage: Stage) -> Report:
    """What the generator itself can do: closed loop against the constant view."""
    site = baselines.plain_site(stage)
    baselines.load(site, seconds=stage.run.scale.warm_s)
    plan = Plan(
        port=site.port,
        heads=["/"],
        first_user=1,
        count=1_000_000,
        connections=CONNECTIONS,
        limit_s=_CAPACITY_S,
    )
    return crowd.run(plan)


def _details(report: Report, capacity: Report, highest: float) -> dict[str, Any]:
    return {
        "asked_per_s": _SHARE * highest,
        "milliseconds": {
            str(percent): round(percentile(report.took, percent) * 1000, 2)
            for percent in (50, 90, 99, 99.9, 100)
        },
        "sent_late_p99_ms": round(percentile(report.late, 99) * 1000, 2),
        "generator_core_share": round(report.cpu_s / report.seconds, 3),
        "generator_could_per_s": round(len(capacity.took) / capacity.seconds),
        "generator_us_per_request": round(capacity.cpu_s / len(capacity.took) * 1e6, 1),
        "series": asdict(series_of(report)),
    }
