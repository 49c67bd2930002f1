"""cold: Redis is flushed under a backlog; claims on many coupons at once, warm ones beside them."""

from __future__ import annotations

from typing import Any, Final

from django_redis import get_redis_connection

from dev.bench import crowd, database, events
from dev.bench.crowd import Plan, Report
from dev.bench.judging import Figure, Outcome
from dev.bench.run import Run
from dev.bench.series import percentile
from dev.bench.stage import Stage, staged, stop
from dev.bench.targets import COLD_HUNDRED_S, COLD_S

_COUPONS: Final = 1_000
_UNDECIDED: Final = 50_000
_HUNDRED: Final = 100
_HUNDRED_PER_S: Final = 1_000  #: for a second, mixed over the hundred
_WARM_PER_S: Final = 500
_WARM_S: Final = 5
_WARM_CONNECTIONS: Final = 32
_LIMIT_S: Final = 30.0
_BIN_S: Final = 0.1


def cold(run: Run) -> Outcome:
    """What is undecided must be read before a gate can say yes: first nothing, then what nobody decides."""
    with staged(run) as stage:
        stage.start_api()
        coupons = database.make_coupons(_COUPONS, stock=2 * _UNDECIDED // _COUPONS)
        [warm] = database.make_coupons(1, stock=run.scale.users)
        idle = _nothing_undecided(stage, coupons[:_HUNDRED], warm)
        undecided = run.users.take(_UNDECIDED)
        events.write(stage.system.topic, events.events(coupons, undecided))
        stage.load(warm, seconds=run.scale.warm_s)
        get_redis_connection("default").flushall()
        stage.load(warm, seconds=1)  # its own gate is loaded: it is warm, the others are not
        asked, beside = _at_once(stage, coupons, warm)
        _, among_warm = _at_once(stage, coupons, warm)  # the same crowd again: by now all gates are loaded
        hundred = _in_a_second(stage, coupons[:_HUNDRED])
    reports = {"cold": asked, "warm beside": beside, "all warm": among_warm, "hundred": hundred, "idle": idle}
    p99_beside, p99_among_warm = (percentile(report.took, 99) * 1000 for report in (beside, among_warm))
    return Outcome(
        name="cold",
        figures=[
            Figure(name="cold / 3 s", ours=max(asked.took), baseline=COLD_S),
            Figure(name="cold 100 coupons / 1 s", ours=max(idle.took), baseline=COLD_HUNDRED_S),
            Figure(name="cold 100, 50,000 undecided / 1 s", ours=max(hundred.took), baseline=COLD_HUNDRED_S),
            Figure(name="cold: warm p99 / all warm", ours=p99_beside, baseline=p99_among_warm),
        ],
        complaints=[each for report in reports.values() for each in report.complaints(202)],
        details={name: _details(report) for name, report in reports.items()},
    )


def _at_once(stage: Stage, coupons: list[int], warm: int) -> tuple[Report, Report]:
    """A claim on each coupon in the same moment, each on a connection of its own, and warm ones beside."""
    with crowd.sent(_warm_plan(stage, warm)) as generator:
        asked = crowd.run(stage.plan(coupons, _COUPONS, limit_s=_LIMIT_S, connections=_COUPONS))
        return asked, crowd.report_of(generator, within_s=_LIMIT_S + 30)


def _nothing_undecided(stage: Stage, coupons: list[int], warm: int) -> Report:
    """Processes that have worked before, and a consumer that has decided all."""
    consumer = stage.start_consumer()
    stage.load(warm, seconds=stage.run.scale.warm_s)
    stage.wait_decided(warm)
    report = _in_a_second(stage, coupons)
    stage.wait_decided(*coupons)
    stop(consumer)
    return report


def _in_a_second(stage: Stage, coupons: list[int]) -> Report:
    """Redis is flushed again; many claims on each coupon come evenly over one second."""
    get_redis_connection("default").flushall()
    plan = stage.plan(
        coupons, _HUNDRED_PER_S, limit_s=_LIMIT_S, connections=_HUNDRED_PER_S, per_s=_HUNDRED_PER_S
    )
    return crowd.run(plan)


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
