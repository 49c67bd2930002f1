"""tickets: claims that prove their user, beside claims that do not, in turn."""

from __future__ import annotations

from dev.bench.judging import Outcome
from dev.bench.measurements.accepting import started
from dev.bench.run import Run
from dev.bench.slices import Slices
from dev.bench.stage import staged
from dev.bench.tickets import ALGORITHMS, Login


def tickets(run: Run) -> Outcome:
    """Claims answered 202 per second, each by another user with a ticket of their own: none is remembered."""
    with staged(run) as stage:
        slices, [coupon_id] = started(stage)
        login = Login.new(stage.system.folder)
        turns = {"none": slices.of_api(coupon_id)}
        for algorithm in ALGORITHMS:
            guarded = stage.start(stage.system.new_api(**login.settings(algorithm))).wait_ready()
            signing = login.signing(
                algorithm, first_user=lambda: run.users.next, used=lambda: most_used(slices)
            )
            turns[algorithm] = slices.of_api(coupon_id, api=guarded, tickets=signing)
        slices.in_turn({"none": turns["none"]}, rounds=1)  # how many tickets a slice takes
        slices.rates.clear()
        slices.in_turn(turns)
        slices.complaints += stage.verify()
    return slices.outcome(
        "tickets",
        slices.figure("accept, HS256 tickets / none", "HS256", "none"),
        slices.figure("accept, RS256 tickets / none", "RS256", "none"),
        slices.figure("accept, EdDSA tickets / none", "EdDSA", "none"),
    )


def most_used(slices: Slices) -> int:
    """Claims of the largest slice so far."""
    return max(int(sum(each["statuses"].values())) for each in slices.slices)
