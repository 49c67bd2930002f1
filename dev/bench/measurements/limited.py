"""limits: what they cost while nobody reaches them, and what a flood from one address does to others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from typing import Any, Final

from dev.bench import crowd, database
from dev.bench.crowd import Plan, Report
from dev.bench.judging import Figure, Outcome
from dev.bench.measurements.accepting import started
from dev.bench.run import Run
from dev.bench.series import percentile
from dev.bench.stage import Stage, staged

#: Nobody reaches these: the load comes from one address.
_WIDE: Final = {
    "COUPON_LIMIT_USER_PER_MINUTE": "1000000",
    "COUPON_LIMIT_USER_BURST": "100000",
    "COUPON_LIMIT_ADDRESS_PER_MINUTE": "1000000",
    "COUPON_LIMIT_ADDRESS_BURST": "100000",
}
#: Twenty a second of one address: each of the crowd of 64 asks less, from an address of its own.
_TIGHT: Final = {"COUPON_LIMIT_ADDRESS_PER_MINUTE": "1200", "COUPON_LIMIT_ADDRESS_BURST": "40"}
_CROWD_PER_S: Final = 500.0
_CROWD_FROM: Final = [f"127.0.1.{number}" for number in range(1, 65)]
_FLOOD_PER_S: Final = 2000.0
_FLOOD_FROM: Final = ["127.0.0.2"]
_FLOOD_CONNECTIONS: Final = 32
_ROUNDS: Final = 3


def limits(run: Run) -> Outcome:
    """Accepting with limits that nobody reaches beside none; p99 of a crowd beside a flood and without."""
    with staged(run) as stage:
        slices, [coupon_id] = started(stage)
        wide = stage.start(stage.system.new_api(**_WIDE)).wait_ready()
        stage.load(coupon_id, seconds=run.scale.warm_s, api=wide)
        slices.in_turn({"off": slices.of_api(coupon_id), "on": slices.of_api(coupon_id, api=wide)})
        cost = slices.figure("accept, limits on / off", "on", "off")
        stage.wait_decided(coupon_id)
        figure, details = _flooded(stage)
        slices.complaints += stage.verify()
    outcome = slices.outcome("limits", cost, figure)
    return replace(outcome, details=outcome.details | details)


def _flooded(stage: Stage) -> tuple[Figure, dict[str, Any]]:
    """In turn: the crowd alone, and beside the flood. The middle of three p99 each."""
    api = stage.start(stage.system.new_api(**_TIGHT)).wait_ready()
    [coupon_id, other] = database.make_coupons(2, stock=stage.run.scale.users)
    _crowd(stage, coupon_id, api.port)  # warms it up
    alone, beside, flooding = [], [], []
    for _ in range(_ROUNDS):
        alone.append(_crowd(stage, coupon_id, api.port))
        with _flood(stage, other, api.port) as floods:
            beside.append(_crowd(stage, coupon_id, api.port))
        flooding += floods
        stage.wait_decided(coupon_id, other)
    quiet, loud = (median(percentile(each.took, 99) for each in some) for some in (alone, beside))
    details = {
        "crowd_p99_ms": {"alone": round(quiet * 1000, 2), "flooded": round(loud * 1000, 2)},
        "flood_answers": [dict(each.codes) for each in flooding],
        "flood_per_s": [round(len(each.took) / each.seconds) for each in flooding],
        "crowd_not_accepted": sum(status != 202 for each in alone + beside for status in each.statuses),
    }
    return Figure(name="p99 beside a flood / alone", ours=loud * 1000, baseline=quiet * 1000), details


def _crowd(stage: Stage, coupon_id: int, port: int) -> Report:
    return crowd.run(_plan(stage, coupon_id, port, per_s=_CROWD_PER_S, sources=_CROWD_FROM, connections=64))


@contextmanager
def _flood(stage: Stage, coupon_id: int, port: int) -> Iterator[list[Report]]:
    plan = _plan(
        stage, coupon_id, port, per_s=_FLOOD_PER_S, sources=_FLOOD_FROM, connections=_FLOOD_CONNECTIONS
    )
    found: list[Report] = []
    with crowd.sent(plan) as generator:
        yield found
        found.append(crowd.report_of(generator, within_s=plan.limit_s + 30))


def _plan(
    stage: Stage, coupon_id: int, port: int, *, per_s: float, sources: Sequence[str], connections: int
) -> Plan:
    seconds = stage.run.scale.open_loop_s
    made = stage.plan(
        [coupon_id], int(per_s * seconds), limit_s=seconds * 2 + 10, connections=connections, per_s=per_s
    )
    return replace(made, port=port, sources=sources)
