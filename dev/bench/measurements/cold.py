"""cold: Redis is flushed under a backlog; a claim on each of many coupons at once, warm ones beside them."""

from __future__ import annotations

from typing import Any, Final

from django_redis import get_redis_connection

from dev.bench import crowd, database, events
from dev.bench.generator import Plan, Report
from dev.bench.judging import Figure, Outcome
from dev.bench.run import Run
from dev.bench.series import percentile
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
        events.write(stage.system.topic, events.events(coupons, undecided))
        stage.load(warm, seconds=run.scale.warm_s)
        get_redis_connection("default").flushall()
        stage.load(warm, seconds=1)  # its own gate is loaded: it is warm, the others are not
        asked, beside = _at_once(stage, coupons, warm)
        _, among_warm = _at_once(stage, coupons, warm)  # the same crowd again: by now all gates are loaded
    p99_beside, p99_among_warm = (percentile(report.took, 99) * 1000 for report in (beside, among_warm))
    return Outcome(
        name="cold",
        figures=[
            Figure(name="cold / 3 s", ours=max(asked.took), baseline=COLD_S),
            Figure(name="cold: warm p99 / all warm", ours=p99_beside, baseline=p99_among_warm),
        ],
        complaints=asked.complaints(202) + beside.complaints(202) + among_warm.complaints(202),
        details={"cold": _details(asked), "warm beside": _details(beside), "all warm": _details(among_warm)},
    )


def _at_once(stage: Stage, coupons: list[int], warm: int) -> tuple[Report, Report]:
    """A claim on each coupon in the same moment, each on a connection of its own, and warm ones beside."""
    with crowd.sent(_warm_plan(stage, warm)) as generator:
        asked = crowd.run(stage.plan(coupons, _COUPONS, limit_s=_LIMIT_S, connections=_COUPONS))
        return asked, crowd.report_of(generator, within_s=_LIMIT_S + 30)


def _warm_plan(stage: Stage, coupon_id: int) -> Plan:
    count = _WARM_PER_S * _WARM_S
    return stage.plan([coupon_id], count, limit_s=_LIMIT_S, connections=_WARM_CONNECTIONS, per_s=_WARM_PER_S)


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
