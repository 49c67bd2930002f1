"""watched: what a hundred people who watch the event's page cost the claims on it."""

from __future__ import annotations

import time
from typing import Final

from coupons.admin.events import route
from dev.bench.judging import Outcome
from dev.bench.measurements.accepting import started
from dev.bench.run import Run
from dev.bench.slices import Slices, Turn
from dev.bench.stage import staged
from dev.bench.watchers import BEFORE_S, watching

_WATCHERS: Final = 100
_ROUNDS: Final = 12  #: what is looked for is a few parts in a hundred, and slices vary by ten


def watched(run: Run) -> Outcome:
    """Claims while a consumer decides them, in turn with and without people who watch."""
    with staged(run) as stage:
        slices, [coupon_id] = started(stage)
        slices.in_turn(
            {
                "nobody": _unwatched(slices, coupon_id),
                "watched": _watched(slices, coupon_id),
            },
            rounds=_ROUNDS,
        )
        slices.complaints += stage.verify()
    return slices.outcome("watched", slices.figure("accept, 100 watching / nobody", "watched", "nobody"))


def _unwatched(slices: Slices, coupon_id: int) -> Turn:
    take = slices.of_api(coupon_id, while_issuing=True)

    def after_the_same_rest(name: str) -> None:
        time.sleep(BEFORE_S)
        take(name)

    return after_the_same_rest


def _watched(slices: Slices, coupon_id: int) -> Turn:
    take = slices.of_api(coupon_id, while_issuing=True)

    def among_watchers(name: str) -> None:
        path = f"/admin/coupons/coupon/event/{coupon_id}/snapshot/?pass={route.new_pass(coupon_id)}"
        port = slices.stage.system.api.port
        with watching(port=port, path=path, count=_WATCHERS, complaints=slices.complaints):
            take(name)

    return among_watchers
