"""issue-hot, issue-spread, issue-single, issue-large: a backlog, then one consumer as shipped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import mean
from typing import Any, Final

from django.db import connection

from dev.bench import baselines, database, events, stored
from dev.bench.judging import Figure, Outcome
from dev.bench.run import Run
from dev.bench.stage import Stage, staged
from dev.bench.targets import ISSUED_PER_S, PLAIN_PER_S_FOR_ISSUING
from dev.bench.usage import cpu_counted
from dev.bench.watching import Watch

_FLUSHED_PAGES: Final = 500
_FLUSH_S: Final = 120.0


def hot(run: Run) -> Outcome:
    """One hot coupon, stock enough, between two runs of plain executemany of the same rows."""
    size = run.scale.backlog
    plain = [_executemany_per_s(run)]
    with staged(run) as stage:
        details = _decide(stage, database.make_coupons(1, stock=size), size)
        complaints = stage.verify()
    plain.append(_executemany_per_s(run))
    run.hot_per_s = details["per_s"]
    counts = baselines.plain_per_s(run) >= PLAIN_PER_S_FOR_ISSUING
    figures = [
        Figure(name="issue-hot / executemany", ours=details["per_s"], baseline=mean(plain)),
        Figure(name="issue-hot / 10,000", ours=details["per_s"], baseline=ISSUED_PER_S, counts=counts),
    ]
    return Outcome(
        name="issue-hot", figures=figures, complaints=complaints, details=details | {"executemany": plain}
    )


def spread(run: Run) -> Outcome:
    """The same number of events, in turn on many coupons."""
    hot_per_s = _hot_per_s(run)
    size, coupons = run.scale.backlog, run.scale.spread_over
    with staged(run) as stage:
        details = _decide(stage, database.make_coupons(coupons, stock=size // coupons + 1), size)
        complaints = stage.verify()
    figure = Figure(name="issue-spread / issue-hot", ours=details["per_s"], baseline=hot_per_s)
    return Outcome(name="issue-spread", figures=[figure], complaints=complaints, details=details)


def single(run: Run) -> Outcome:
    """The way of the application that this one replaces: one event, one lock, one transaction."""
    hot_per_s = _hot_per_s(run)
    size = run.scale.single_events
    with staged(run) as stage:
        details = _decide(stage, database.make_coupons(1, stock=size), size, "--batch-size", "1")
        complaints = stage.verify()
    figure = Figure(name="issue-single: ours / its", ours=hot_per_s, baseline=details["per_s"])
    return Outcome(name="issue-single", figures=[figure], complaints=complaints, details=details)


def large(run: Run) -> Outcome:
    """The hot coupon again, on empty tables and with millions of claims already stored."""
    size = run.scale.backlog
    with staged(run) as stage:
        empty = _decide(stage, database.make_coupons(1, stock=size), size)
    with staged(run) as stage:
        started = time.monotonic()
        stored.fill(run.scale.stored, users=run.scale.users // 2)
        _flush(run)
        filled_s = time.monotonic() - started
        coupons = database.make_coupons(1, stock=size)
        details = _decide(stage, coupons, size)
        complaints = stage.verify(coupons[0])
    figure = Figure(name="issue-large / empty", ours=details["per_s"], baseline=empty["per_s"])
    details |= {"empty": empty, "stored": run.scale.stored, "filled_s": filled_s}
    return Outcome(name="issue-large", figures=[figure], complaints=complaints, details=details)


def _hot_per_s(run: Run) -> float:
    """Of this run; measured now, alone, if issue-hot was not asked for."""
    if run.hot_per_s is None:
        with staged(run) as stage:
            size = run.scale.backlog
            run.hot_per_s = float(_decide(stage, database.make_coupons(1, stock=size), size)["per_s"])
    return run.hot_per_s


def _decide(stage: Stage, coupon_ids: Sequence[int], size: int, *words: str) -> dict[str, Any]:
    """Write the backlog, then start a consumer and watch until all of it is issued and committed."""
    events.write(stage.system.topic, events.events(coupon_ids, stage.run.users.take(size)))
    watch = Watch(min(coupon_ids))
    with cpu_counted(stage.run.services.pids()) as servers_cpu_s:
        consumer = stage.start_consumer(*words)
        with cpu_counted({"consumer": consumer.pid}) as cpu_s:
            watch.until(lambda issued: issued >= size)
    told = {name: round(used / size * 1e6, 1) for name, used in (servers_cpu_s | cpu_s).items()}
    return {"per_s": watch.per_s, "events": size, "cpu_us_per_event": told}


def _executemany_per_s(run: Run) -> float:
    """Events per second, each a row in both tables; no consumer runs."""
    database.empty()
    users = run.users.take(run.scale.baseline_rows)
    rows = database.rows_of(events.events(database.make_coupons(1, stock=len(users)), users))
    started = time.monotonic()
    database.insert_plainly(rows)
    return len(rows) / (time.monotonic() - started)


def _flush(run: Run) -> None:
    """The rest of a bulk load's writing is not the consumer's: have it done now, with an end to waiting."""
    run.services.sql("SET GLOBAL innodb_max_dirty_pages_pct = 0")
    deadline = time.monotonic() + _FLUSH_S
    while database.dirty_pages() > _FLUSHED_PAGES and time.monotonic() < deadline:
        time.sleep(0.5)
    run.services.sql("SET GLOBAL innodb_max_dirty_pages_pct = 90")  # the servers' own default
    connection.close()
