"""issue-hot, issue-spread, issue-single: a backlog, then one consumer as shipped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import mean
from typing import Any

from dev.bench import baselines, database, events
from dev.bench.judging import Figure, Outcome
from dev.bench.run import Run
from dev.bench.stage import Stage, staged
from dev.bench.targets import ISSUED_PER_S, PLAIN_PER_S_FOR_ISSUING
from dev.bench.usage import cpu_counted
from dev.bench.watching import Watch

Rounds = dict[str, list[dict[str, Any]]]


def hot(run: Run) -> Outcome:
    """One hot coupon, stock enough, in turn with plain executemany of the same rows."""
    kinds = {"executemany": partial(_executemany, run), "ours": partial(_backlog, run)}
    if run.before is not None:
        kinds["before"] = partial(_backlog, run, before=True)
    told = _in_turn(run, kinds)
    counts = baselines.plain_per_s(run) >= PLAIN_PER_S_FOR_ISSUING
    ours, plain = _per_s(told, "ours"), _per_s(told, "executemany")
    run.hot_per_s = ours
    figures = [
        Figure(name="issue-hot / executemany", ours=ours, baseline=plain),
        Figure(name="issue-hot / 10,000", ours=ours, baseline=ISSUED_PER_S, counts=counts),
    ]
    if run.before is not None:
        figures.append(Figure(name="issue-hot / before", ours=ours, baseline=_per_s(told, "before")))
    return _outcome("issue-hot", told, *figures)


def spread(run: Run) -> Outcome:
    """The same number of events, in turn on one coupon and on many."""
    kinds = {"hot": partial(_backlog, run), "spread": partial(_backlog, run, coupons=run.scale.spread_over)}
    told = _in_turn(run, kinds)
    figure = Figure(
        name="issue-spread / issue-hot", ours=_per_s(told, "spread"), baseline=_per_s(told, "hot")
    )
    return _outcome("issue-spread", told, figure)


def single(run: Run) -> Outcome:
    """The way of the application that this one replaces: one event, one lock, one transaction."""
    if run.hot_per_s is None:
        run.hot_per_s = float(_backlog(run)["per_s"])
    alone = _backlog(run, "--batch-size", "1", size=run.scale.single_events)
    figure = Figure(name="issue-single: ours / its", ours=run.hot_per_s, baseline=alone["per_s"])
    return _outcome("issue-single", {"single": [alone]}, figure)


def decide(
    stage: Stage, coupon_ids: Sequence[int], size: int, *words: str, before: bool = False
) -> dict[str, Any]:
    """Write the backlog, then start a consumer and watch until all of it is issued and committed."""
    events.write(stage.system.topic, events.events(coupon_ids, stage.run.users.take(size)))
    watch = Watch(min(coupon_ids))
    with cpu_counted(stage.run.services.pids()) as servers_cpu_s:
        consumer = stage.start_consumer(*words, before=before)
        with cpu_counted({"consumer": consumer.pid}) as cpu_s:
            watch.until(lambda issued: issued >= size)
    told = {name: round(used / size * 1e6, 1) for name, used in (servers_cpu_s | cpu_s).items()}
    return {"per_s": watch.per_s, "events": size, "cpu_us_per_event": told}


def _in_turn(run: Run, kinds: Mapping[str, Callable[[], dict[str, Any]]]) -> Rounds:
    told: Rounds = {name: [] for name in kinds}
    for _ in range(run.scale.issue_rounds):
        for name, take in kinds.items():
            told[name].append(take())
    return told


def _per_s(told: Rounds, name: str) -> float:
    return float(mean(each["per_s"] for each in told[name]))


def _outcome(name: str, told: Rounds, *figures: Figure) -> Outcome:
    complaints = [each for rounds in told.values() for one in rounds for each in one.pop("complaints", ())]
    rates = {kind: [one["per_s"] for one in rounds] for kind, rounds in told.items()}
    details = {"rates": rates, "rounds": told}
    return Outcome(name=name, figures=figures, complaints=complaints, details=details)


def _backlog(
    run: Run, *words: str, size: int | None = None, coupons: int = 1, before: bool = False
) -> dict[str, Any]:
    """On empty tables, verified at the end."""
    size = size or run.scale.backlog
    with staged(run) as stage:
        coupon_ids = database.make_coupons(coupons, stock=size // coupons + 1)
        return decide(stage, coupon_ids, size, *words, before=before) | {"complaints": stage.verify()}


def _executemany(run: Run) -> dict[str, Any]:
    """Events per second, each a row in both tables; no consumer runs."""
    database.empty()
    users = run.users.take(run.scale.baseline_rows)
    rows = database.rows_of(events.events(database.make_coupons(1, stock=len(users)), users))
    started = time.monotonic()
    database.insert_plainly(rows)
    return {"per_s": len(rows) / (time.monotonic() - started)}
