"""tickets: claims that prove their user, in turn beside an API that looks at no ticket.

Its claims bring tickets too: to write and to send them is the load's work, on the same cores.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dev.bench.judging import Outcome
from dev.bench.measurements.accepting import started
from dev.bench.run import Run
from dev.bench.slices import Slices
from dev.bench.stage import staged
from dev.bench.tickets import ALGORITHMS, Login

_AGAIN = "unchecked, again"


def tickets(run: Run) -> Outcome:
    """Claims answered 202 per second, each by another user with a ticket of their own: none is remembered."""
    with staged(run) as stage:
        slices, [coupon_id] = started(stage)
        login = Login.new(stage.system.folder)

        def signing(name: str) -> Callable[[], Path]:
            return login.signing(
                name if name in ALGORITHMS else ALGORITHMS[0],
                first_user=lambda: run.users.next,
                used=lambda: most_used(slices),
            )

        apis = {"unchecked": stage.system.api}
        for algorithm in ALGORITHMS:
            apis[algorithm] = stage.start(stage.system.new_api(**login.settings(algorithm))).wait_ready()
        slices.in_turn({"warm": slices.of_api(coupon_id)}, rounds=1)  # how many tickets a slice takes
        turns = {name: slices.of_api(coupon_id, api=api, tickets=signing(name)) for name, api in apis.items()}
        # The one with a target comes more often: what is looked for is a few parts in a hundred.
        slices.in_turn({name: turns[name] for name in ("unchecked", "HS256")}, rounds=2 * run.scale.rounds)
        slices.in_turn({_AGAIN: turns["unchecked"], "RS256": turns["RS256"], "EdDSA": turns["EdDSA"]})
        slices.complaints += stage.verify()
    return slices.outcome(
        "tickets",
        slices.figure("accept, HS256 tickets / unchecked", "HS256", "unchecked"),
        slices.figure("accept, RS256 tickets / unchecked", "RS256", _AGAIN),
        slices.figure("accept, EdDSA tickets / unchecked", "EdDSA", _AGAIN),
    )


def most_used(slices: Slices) -> int:
    """Claims of the largest slice so far."""
    return max(int(sum(each["statuses"].values())) for each in slices.slices)
