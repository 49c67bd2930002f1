"""cold: Redis is flushed under a backlog; a claim on each of many coupons at once, warm ones beside them."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from django_redis import get_redis_connection

from dev.bench import backlog, crowd, database
from dev.bench.generator import Plan, Report
from dev.bench.judging import Figure, Outcome
from dev.bench.percentiles import percentile
from dev.bench.run import Run
from dev.bench.stage import Stage, staged
from dev.bench.targets import COLD_S

_COUPONS: Final = 1_000
_UNDECIDED: Final = 50_000
_WARM_PER_S: Final = 500
_WARM_S: Final = 5
_WARM_CONNECTIONS: Final = 32
_LIMIT_S: Final = 30.0
_BIN_S: Final = 0.1


def cold(run: Run) -> Outcome:
    """No consumer: what was written stays undecided, and must be read before a gate can say yes."""
    with staged(run) as stage:
        stage.start_api()
        coupons = database.make_coupons(_COUPONS, stock=2 * _UNDECIDED // _COUPONS)
        [warm] = database.make_coupons(1, stock=run.scale.users)
        undecided = run.users.take(_UNDECIDED)
        backlog.write(stage.system.topic, backlog.events(coupons, undecided))
        stage.load(warm, seconds=run.scale.warm_s)
        before = crowd.run(_warm_plan(stage, warm))
        get_redis_connection("default").flushall()
        stage.load(warm, seconds=1)  # its own gate is loaded: it is warm, the others are not
        with crowd.sent(_warm_plan(stage, warm)) as generator:
            asked = crowd.run(_cold_plan(stage, coupons))
            beside = crowd.report_of(generator, within_s=_LIMIT_S + 30)
    p99_before, p99_beside = (percentile(report.took, 99) for report in (before, beside))
    slowest = max(asked.took)
    return Outcome(
        name="cold",
        figures=[
            Figure(name="cold / 3 s", unit="s", ours=slowest, baseline=COLD_S, baseline_name="wanted"),
            Figure(
                name="cold: warm p99 / before",
                unit="ms",
                ours=p99_beside * 1000,
                baseline=p99_before * 1000,
                baseline_name="p99 of the same claims before",
            ),
        ],
        complaints=_complaints(asked, "cold") + _complaints(beside, "warm") + _complaints(before, "before"),
        details={"cold": _details(asked), "warm before": _details(before), "warm beside": _details(beside)},
    )


def _warm_plan(stage: Stage, coupon_id: int) -> Plan:
    count = _WARM_PER_S * _WARM_S
    return Plan(
        port=stage.system.api.port,
        heads=[stage.claim_path(coupon_id)],
        first_user=stage.run.users.take(count).start,
        count=count,
        connections=_WARM_CONNECTIONS,
        limit_s=_LIMIT_S,
        per_s=_WARM_PER_S,
    )


def _cold_plan(stage: Stage, coupon_ids: list[int]) -> Plan:
    """A connection for each claim: they all ask in the same moment."""
    return Plan(
        port=stage.system.api.port,
        heads=[stage.claim_path(coupon_id) for coupon_id in coupon_ids],
        first_user=stage.run.users.take(len(coupon_ids)).start,
        count=len(coupon_ids),
        connections=len(coupon_ids),
        limit_s=_LIMIT_S,
    )


def _complaints(report: Report, name: str) -> list[str]:
    others = {status: n for status, n in Counter(report.statuses).items() if status != 202}
    told = [f"{name}: {n} answers were HTTP {status}: {report.codes}" for status, n in others.items()]
    return told + ([f"{name}: {report.unanswered} claims were not answered"] if report.unanswered else [])


def _details(report: Report) -> dict[str, Any]:
    slowest: dict[int, float] = {}
    for due, took in zip(report.due, report.took, strict=True):
        slowest[int(due / _BIN_S)] = max(slowest.get(int(due / _BIN_S), 0.0), took)
    return {
        "slowest_ms_by_100_ms": [round(slowest.get(each, 0.0) * 1000) for each in range(max(slowest) + 1)],
        "milliseconds": {
            str(percent): round(percentile(report.took, percent) * 1000, 1) for percent in (50, 90, 99, 100)
        },
    }
