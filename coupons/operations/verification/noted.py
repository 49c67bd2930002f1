"""Facts that are worth knowing and not wrong: counted during the checks, and reported as notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from coupons.operations.verification.race import Race
from runtime.operator_language import marked, say

_NAMED: Final = 10  #: coupons that a note names
_COUNTED: Final = {
    "of_other_rows": marked("{number} events were decided while their coupon had another row: not checked"),
    "before_reset": marked(
        "{number} events without an outcome came before all that was decided since their coupon was "
        "reset: their outcomes went with the reset, or were lost since"
    ),
    "deferred": marked(
        "{number} events are deferred, because the deciding of their coupon is paused or catches up"
    ),
    "deferred_elsewhere": marked(
        "{number} deferred events are not in this log: they are of a topic before it, or deleted"
    ),
    "undecided": marked("{number} events are not decided yet; the consumer has not reached them"),
    "stock_changes": marked("{number} times a coupon's stock was changed from outside between two decisions"),
    "perhaps_known_users": marked(
        "{number} requests were told USER_NOT_FOUND and their user is there now: made later, or passed over"
    ),
    "clocks_back": marked(
        "{number} decisions are dated more than an hour before what stands before them in the log: a clock "
        "was set, or processed_at was changed"
    ),
    "of_no_event": marked(
        "{number} outcomes have no event in this log: they are of a topic before it, or were made up"
    ),
    "given_up_perhaps": marked(
        "{number} requests were told that their event was never published, and it is in the log: it "
        "came later, or was passed over"
    ),
}


@dataclass(slots=True, kw_only=True)
class Noted:
    """``with_event``: outcomes that have their event at their place; not a note. Other fields: ``notes``."""

    with_event: int = 0
    undecided: int = 0
    deferred: int = 0
    deferred_elsewhere: int = 0
    of_other_rows: int = 0
    before_reset: int = 0
    stock_changes: int = 0
    perhaps_known_users: int = 0
    clocks_back: int = 0
    of_no_event: int = 0
    given_up_perhaps: int = 0
    ahead: Counter[int] = field(default_factory=Counter)
    without_position: list[int] = field(default_factory=list)
    spread: list[int] = field(default_factory=list)
    stocks: list[str] = field(default_factory=list)

    def add(self, coupon_id: int, race: Race) -> None:
        self.stock_changes += race.stock_changes
        self.perhaps_known_users += race.perhaps_known_users
        self.clocks_back += race.clocks_back
        if race.is_spread:
            self.spread.append(coupon_id)
        if race.stock_now is not None:
            now = race.stock_now
            self.stocks.append(
                say(
                    "coupon {coupon_id}: stock is {stock}, the last decision left {left}",
                    coupon_id=coupon_id,
                    stock=now.stock,
                    left=now.left,
                )
            )

    def notes(self) -> Iterator[str]:
        for name, what in _COUNTED.items():
            if number := getattr(self, name):
                yield say(what, number=number)
        for partition, number in sorted(self.ahead.items()):
            yield (
                say(
                    "{number} outcomes of partition {partition} are at or beyond the group's "
                    "position: it will meet their events once more, which changes nothing",
                    number=number,
                    partition=partition,
                )
            )
        if self.without_position:
            yield (
                say(
                    "partitions {partitions} hold decided events, and the group has no "
                    "position: it begins where Kafka has it, or at the beginning",
                    partitions=self.without_position,
                )
            )
        if self.spread:
            named = ", ".join(map(str, self.spread[:_NAMED])) + (", ..." if len(self.spread) > _NAMED else "")
            yield (
                say(
                    "events of {count} coupons are in several partitions, which have no order "
                    "between them: only what holds within each is checked (coupons {named})",
                    count=len(self.spread),
                    named=named,
                )
            )
        yield from self.stocks[:_NAMED]
        if len(self.stocks) > _NAMED:
            yield say(
                "{count} more coupons have another stock than their last decision left",
                count=len(self.stocks) - _NAMED,
            )
