"""Bugs put in on purpose, to show that the suite turns red. ``cases/bugs.py`` brings them out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from django.db import connection

from tests import corruption


def move_position_first() -> None:
    """The position moves in a transaction of its own, before the rows are durable."""
    from coupons.eventlog import positions
    from coupons.issuing import deciding

    advance = positions.advance

    def advancing_first(advances: Sequence[Any]) -> None:
        with connection.cursor() as cursor:
            advance(advances)
            cursor.execute("COMMIT")  # what follows is another transaction
            cursor.execute("BEGIN")

    deciding.positions.advance = advancing_first  # type: ignore[attr-defined]


def ignore_holders() -> None:
    """Nobody looks whether the user has the coupon; UNIQUE(coupon_id, user_id) is all that is left."""
    from coupons.issuing import allocation, deciding

    allocate = allocation.allocate

    def allocating_anew(requests: Sequence[Any], **named: Any) -> Any:
        return allocate(requests, **named | {"holders": ()})

    deciding.allocate = allocating_anew  # type: ignore[attr-defined]


def keep_slots() -> None:
    """A slot whose event was not published is not given back, and nobody looks for it."""
    from coupons.claims import submitting
    from coupons.gate import leaked_slots

    submitting.give_back = lambda claims: None
    leaked_slots.give_back = lambda claims, **_: []


@contextmanager
def without_unique_claims() -> Iterator[None]:
    """UNIQUE(coupon_id, user_id) is gone within the block; at its end all user coupons go with it."""
    with corruption.without_unique_claims():
        try:
            yield
        finally:
            connection.close()
            with connection.cursor() as cursor:
                cursor.execute("DELETE FROM user_coupon")


ALL: Final[dict[str, Callable[[], None]]] = {
    "move-position-first": move_position_first,
    "ignore-holders": ignore_holders,
    "keep-slots": keep_slots,
}
