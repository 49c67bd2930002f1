"""Bugs put in on purpose, to show that the suite turns red. ``cases/bugs.py`` brings them out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from django.db import connection


def commit_offset_first() -> None:
    """The offset moves before the rows are durable."""
    from consumer.kafka import next_offsets, positions
    from consumer.loop import ConsumerLoop

    decide = ConsumerLoop._decide

    def committing_first(self: ConsumerLoop, batch: list[Any]) -> None:
        self._consumer.commit(offsets=positions(self._topic, next_offsets(batch)), asynchronous=False)
        decide(self, batch)

    ConsumerLoop._decide = committing_first  # type: ignore[method-assign]


def ignore_holders() -> None:
    """Nobody looks whether the user has the coupon; UNIQUE(coupon_id, user_id) is all that is left."""
    from coupons import allocation, issuing

    allocate = allocation.allocate

    def allocating_anew(requests: Sequence[Any], **named: Any) -> Any:
        return allocate(requests, **named | {"holders": ()})

    issuing.allocate = allocating_anew  # type: ignore[attr-defined]


def keep_slots() -> None:
    """A slot whose event was not published is not given back, and nobody looks for it."""
    from coupons import reclaiming, requesting

    requesting._give_back = lambda claims: None
    reclaiming.give_back = lambda claims: []


@contextmanager
def without_unique_claims() -> Iterator[None]:
    """UNIQUE(coupon_id, user_id) is gone within the block; at its end all user coupons go with it."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX for_the_foreign_key ON user_coupon (coupon_id)")
        cursor.execute("ALTER TABLE user_coupon DROP INDEX user_coupon_once_per_user")
    try:
        yield
    finally:
        connection.close()
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM user_coupon")
            cursor.execute(
                "ALTER TABLE user_coupon ADD CONSTRAINT user_coupon_once_per_user UNIQUE (coupon_id, user_id)"
            )
            cursor.execute("DROP INDEX for_the_foreign_key ON user_coupon")


ALL: Final[dict[str, Callable[[], None]]] = {
    "commit-offset-first": commit_offset_first,
    "ignore-holders": ignore_holders,
    "keep-slots": keep_slots,
}
