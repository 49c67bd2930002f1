"""watched: what a hundred people who watch the event's page cost the claims on it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from coupons.admin.events import route
from dev.bench.judging import Outcome
from dev.bench.measurements.accepting import started
from dev.bench.run import Run
from dev.bench.slices import Slices, Turn
from dev.bench.stage import staged
from dev.bench.watchers import watching

_WATCHERS: Final = 100
_ROUNDS: Final = 12  #: what is looked for is a few parts in a hundred, and slices vary by ten
#: Of claims before each slice, with and without watchers alike: what follows a rest is slower or faster.
_BEFORE_S: Final = 2


def watched(run: Run) -> Outcome:
    """Claims while a consumer decides them, in turn with and without people who watch."""
    with staged(run) as stage:
        slices, [coupon_id] = started(stage)

        def watch() -> AbstractContextManager[None]:
            path = f"/admin/coupons/coupon/event/{coupon_id}/snapshot/?pass={route.new_pass(coupon_id)}"
            port, log = stage.system.api.port, stage.system.folder / "watchers.log"
            return watching(port=port, path=path, count=_WATCHERS, log=log, complaints=slices.complaints)

        slices.in_turn(
            {
                "nobody": _among(nullcontext, slices, coupon_id),
                "watched": _among(watch, slices, coupon_id),
            },
            rounds=_ROUNDS,
        )
        slices.complaints += stage.verify()
    return slices.outcome("watched", slices.figure("accept, 100 watching / nobody", "watched", "nobody"))


def _among(people: Callable[[], AbstractContextManager[None]], slices: Slices, coupon_id: int) -> Turn:
    take = slices.of_api(coupon_id, while_issuing=True)

    def taken(name: str) -> None:
        with people():
            slices.stage.load(coupon_id, seconds=_BEFORE_S)
            take(name)

    return taken
