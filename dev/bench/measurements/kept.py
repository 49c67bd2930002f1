"""kept: what thousands of connections cost that stay open after their claim, as browsers' do."""

from __future__ import annotations

import resource
from typing import Final

from dev.bench import crowd
from dev.bench.judging import Outcome
from dev.bench.measurements.accepting import started
from dev.bench.run import Run
from dev.bench.slices import Slices, Turn
from dev.bench.stage import staged

_KEPT: Final = {
    1_000: "accept, 1,000 kept / none kept",
    5_000: "accept, 5,000 kept / none kept",
    10_000: "accept, 10,000 kept / none kept",
}
#: Less than the API answers; ten thousand are open after 5 s of the 75 s that it keeps an idle connection.
_OPENED_PER_S: Final = 2_000
_LIMIT_S: Final = 60.0
_ROUNDS: Final = 4
_OWN_FILES: Final = 500  #: that a process has open beside connections, at most


def kept(run: Run) -> Outcome:
    """Claims on 64 connections, alone and in turn beside idle ones, each of which has claimed once."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    counts = [count for count in _KEPT if most in (-1, resource.RLIM_INFINITY) or count + _OWN_FILES <= most]
    with staged(run) as stage:
        slices, [coupon_id] = started(stage)
        turns = {str(count): _beside(slices, coupon_id, count) for count in counts}
        slices.in_turn({"none": slices.of_api(coupon_id)} | turns, rounds=_ROUNDS)
        slices.complaints += stage.verify()
    figures = [slices.figure(_KEPT[count], str(count), "none") for count in counts]
    return slices.outcome("kept", *figures, open_files=most, left_out=sorted(set(_KEPT) - set(counts)))


def _beside(slices: Slices, coupon_id: int, count: int) -> Turn:
    """A turn beside so many idle connections. A connection that the server closes is a complaint."""
    stage, take = slices.stage, slices.of_api(coupon_id)

    def beside(name: str) -> None:
        plan = stage.plan([coupon_id], count, limit_s=_LIMIT_S, connections=count, per_s=_OPENED_PER_S)
        with crowd.kept(plan, slices.complaints):
            stage.wait_decided(coupon_id)
            take(name)

    return beside
