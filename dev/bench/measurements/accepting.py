"""accept, refuse, mixed: closed loop, in turn with constant views or with one coupon."""

from __future__ import annotations

from statistics import median
from typing import Final

from dev.bench import baselines, database
from dev.bench.judging import Figure, Outcome
from dev.bench.run import Run
from dev.bench.slices import Slices, Turn
from dev.bench.stage import Stage, staged

_SOLD_OUT: Final = 100  #: coupons that went before
_MANY: Final = 256  #: connections, where a claim waits for others longer than for its own batch
_MIXED: Final = 100  #: coupons that everybody wants at once
#: Rounds of those, for each of the others': one round's ratio is off by a tenth, and the target is near.
_MIXED_ROUNDS: Final = 3


def accept(run: Run) -> Outcome:
    """Claims answered 202 per second: by the API alone, as the views it is compared with are, and while
    a consumer on the same cores decides them."""
    with staged(run) as stage:
        stock, plain = baselines.stock_site(stage), baselines.plain_site(stage)
        slices, [coupon_id] = started(stage)
        slices.in_turn(
            {
                "plain": slices.of_site(plain),
                "stock": slices.of_site(stock),
                "ours": slices.of_api(coupon_id),
                "while issuing": slices.of_api(coupon_id, while_issuing=True),
                **_turns_before(slices, coupon_id),
                "ours 256": slices.of_api(coupon_id, connections=_MANY),
                "stock 256": slices.of_site(stock, _MANY),
            }
        )
        slices.complaints += stage.verify()
    run.plain_per_s, run.accept_per_s = (median(slices.rates[name]) for name in ("plain", "while issuing"))
    return slices.outcome(
        "accept",
        slices.figure("accept / stock view", "ours", "stock"),
        slices.figure("accept 256 / stock view 256", "ours 256", "stock 256"),
        slices.figure("accept while issuing / stock view", "while issuing", "stock"),
        slices.figure("accept / plain view", "ours", "plain"),
        *_figures_before(slices),
    )


def _turns_before(slices: Slices, coupon_id: int) -> dict[str, Turn]:
    if slices.stage.run.before is None:
        return {}
    api = slices.stage.start_api_before()
    slices.stage.load(coupon_id, seconds=slices.stage.run.scale.warm_s, api=api)
    slices.stage.wait_decided(coupon_id)
    return {
        "before, while issuing": slices.of_api(coupon_id, api=api, while_issuing=True),
        "before": slices.of_api(coupon_id, api=api),
        "before 256": slices.of_api(coupon_id, api=api, connections=_MANY),
    }


def _figures_before(slices: Slices) -> list[Figure]:
    if slices.stage.run.before is None:
        return []
    return [
        slices.figure("accept / before", "ours", "before"),
        slices.figure("accept 256 / before 256", "ours 256", "before 256"),
        slices.figure("accept while issuing / before", "while issuing", "before, while issuing"),
    ]


def refuse(run: Run) -> Outcome:
    """Refusals per second once the coupon is sold out, the longest part of a real event."""
    with staged(run) as stage:
        stock = baselines.stock_site(stage)
        slices, [coupon_id] = started(stage, stock=_SOLD_OUT)  # the warm-up takes them
        slices.status, slices.code = 409, "OUT_OF_STOCK"
        slices.in_turn({"stock": slices.of_site(stock), "ours": slices.of_api(coupon_id)})
        issued = database.issued(coupon_id)
        if issued != _SOLD_OUT:
            slices.complaints.append(f"{issued} issued of a stock of {_SOLD_OUT}")
        slices.complaints += stage.verify()
    return slices.outcome("refuse", slices.figure("refuse / stock view", "ours", "stock"))


def mixed(run: Run) -> Outcome:
    """Claims on a hundred hot coupons, every connection on one after the other, beside claims on one."""
    figures: list[Figure] = []
    with staged(run) as stage:
        slices, [hot, *many] = started(stage, coupons=1 + _MIXED)
        turns = {"one": slices.of_api(hot), "mixed": slices.of_api(*many)}
        slices.in_turn(turns, rounds=_MIXED_ROUNDS * run.scale.rounds)
        figures.append(slices.figure("accept 100 coupons / one", "mixed", "one"))
        turns = {
            "one 256": slices.of_api(hot, connections=_MANY),
            "mixed 256": slices.of_api(*many, connections=_MANY),
        }
        if run.before is not None:
            api = stage.start_api_before()
            stage.load(*many, seconds=run.scale.warm_s, api=api)
            turns["mixed before 256"] = slices.of_api(*many, api=api, connections=_MANY)
        slices.in_turn(turns)
        figures.append(slices.figure("accept 100 coupons 256 / one 256", "mixed 256", "one 256"))
        if run.before is not None:
            figures.append(
                slices.figure("accept 100 coupons 256 / before 256", "mixed 256", "mixed before 256")
            )
        slices.complaints += stage.verify()
    return slices.outcome("mixed", *figures)


def started(stage: Stage, *, coupons: int = 1, stock: int | None = None) -> tuple[Slices, list[int]]:
    """An API and a consumer that have claimed and decided on each of so many coupons."""
    stage.start_api()
    slices = Slices(stage=stage, consumer=stage.start_consumer())
    coupon_ids = database.make_coupons(coupons, stock=stage.run.scale.users if stock is None else stock)
    stage.load(*coupon_ids, seconds=stage.run.scale.warm_s)
    stage.wait_decided(*coupon_ids)
    return slices, coupon_ids
