"""rush: everybody at once, half of them in vain, until the last coupon is in the database."""

from __future__ import annotations

import time
from dataclasses import asdict
from statistics import median
from typing import Any, Final

from dev.bench import baselines, crowd, database
from dev.bench.crowd import Report
from dev.bench.judging import Figure, Outcome
from dev.bench.run import Run
from dev.bench.series import series_of
from dev.bench.stage import Stage, staged
from dev.bench.targets import PLAIN_PER_S_FOR_RUSH, RUSH_S
from dev.bench.watching import Watch

_CONNECTIONS: Final = 200
_LIMIT_S: Final = 180.0
_SETTLE_S: Final = 120.0


def rush(run: Run) -> Outcome:
    """Each round on a new coupon, on processes that have claimed and issued before."""
    complaints: list[str] = []
    with staged(run) as stage:
        stage.start_api()
        stage.start_consumer()
        [warm] = database.make_coupons(1, stock=run.scale.users)
        stage.load(warm, seconds=run.scale.warm_s)
        stage.wait_decided(warm)
        rounds = [_round(stage, complaints) for _ in range(run.scale.rush_rounds)]
        complaints += stage.verify()
    middle = sorted(rounds, key=lambda each: float(each["ratio"]))[len(rounds) // 2]
    details = {"rush": rounds, "series": middle["series"]}
    figures = _figures(run, middle, rounds)
    for each in rounds:
        del each["series"]
    return Outcome(name="rush", figures=figures, complaints=complaints, details=details)


def _figures(run: Run, middle: dict[str, Any], rounds: list[dict[str, Any]]) -> list[Figure]:
    whole_s = median(each["last_outcome_s"] for each in rounds)
    counts = run.scale.rush_users >= 20_000 and baselines.plain_per_s(run) >= PLAIN_PER_S_FOR_RUSH
    return [
        Figure(name="rush / last answer", ours=middle["last_outcome_s"], baseline=middle["last_answer_s"]),
        Figure(name="rush / 12 s", ours=whole_s, baseline=RUSH_S, counts=counts),
    ]


def _round(stage: Stage, complaints: list[str]) -> dict[str, Any]:
    count = stage.run.scale.rush_users
    stock = count // 2
    [coupon_id] = database.make_coupons(1, stock=stock)
    plan = stage.plan([coupon_id], count, limit_s=_LIMIT_S, connections=_CONNECTIONS)
    watch = Watch(coupon_id)
    with crowd.sent(plan) as generator:
        watch.until(lambda issued: issued >= stock)
        report = crowd.report_of(generator, within_s=_LIMIT_S + 30)
    accepted = report.statuses.count(202)
    last_at = _wait_all_decided(coupon_id, accepted, watch)
    stage.wait_decided(coupon_id)
    complaints += _complaints(report, issued=database.issued(coupon_id), stock=stock)
    return _told(report, watch, last_outcome_s=last_at - report.began_at)


def _wait_all_decided(coupon_id: int, accepted: int, watch: Watch) -> float:
    """When the last outcome was there: usually with the last coupon; later where more were accepted."""
    at, deadline = watch.issued_at, time.time() + _SETTLE_S
    while database.decided(coupon_id) < accepted:
        at = time.time()
        if at > deadline:
            raise RuntimeError(f"{accepted} were accepted, and not all were decided in {_SETTLE_S:.0f} s")
        time.sleep(0.02)
    return at


def _complaints(report: Report, *, issued: int, stock: int) -> list[str]:
    told = [f"{issued} issued of a stock of {stock}"] if issued != stock else []
    if set(report.codes) - {"OUT_OF_STOCK"}:
        told.append(f"refused with {report.codes}")
    return told + report.complaints(202, 409)


def _told(report: Report, watch: Watch, *, last_outcome_s: float) -> dict[str, Any]:
    series = series_of(report, samples=watch.samples, last_outcome_s=last_outcome_s)
    return {
        "ratio": last_outcome_s / series.last_answer_s,
        "last_outcome_s": last_outcome_s,
        "last_answer_s": series.last_answer_s,
        "accepted": report.statuses.count(202),
        "refused": report.statuses.count(409),
        "generator_core_share": round(report.cpu_s / report.seconds, 3),
        "series": asdict(series),
    }
