"""figures: what counting by coupon and second, and writing it down, cost the claims."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any, Final

from dev.bench.judging import Figure, Outcome
from dev.bench.measurements.accepting import started
from dev.bench.run import Run
from dev.bench.stage import Stage, staged
from dev.processes import Process

#: Slices of one kind differ by a tenth, and a fiftieth is to be seen.
_ROUNDS: Final = 12


def figures(run: Run) -> Outcome:
    """Claims on our API, in turn with the same without figures, while nothing is decided."""
    with staged(run) as stage:
        slices, [coupon_id] = started(stage)
        without = _without(stage)
        stage.load(coupon_id, seconds=run.scale.warm_s, api=without)
        stage.wait_decided(coupon_id)
        turns = {"with": slices.of_api(coupon_id), "without": slices.of_api(coupon_id, api=without)}
        slices.in_turn(turns, rounds=_ROUNDS)
        slices.complaints += stage.verify()
    return slices.outcome(
        "figures", slices.figure("accept, figures / none", "with", "without"), _cpu(slices.slices)
    )


def _without(stage: Stage) -> Process:
    api = stage.system.new_api()
    api.command = [*api.command[:-1], "dev.bench.sites.without_figures"]
    return stage.start(api).wait_ready()


def _cpu(slices: Sequence[dict[str, Any]]) -> Figure:
    """Of the API alone, for each claim: steadier than rates, which depend on all that shares the cores."""
    spent = {
        name: median(each["cpu_us_per_claim"]["api"] for each in slices if each["of"] == name)
        for name in ("with", "without")
    }
    return Figure(name="API's CPU a claim, figures / none", ours=spent["with"], baseline=spent["without"])
