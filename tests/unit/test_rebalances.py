"""Changes of the assignment wait while a batch is being decided."""

from __future__ import annotations

from functools import partial

import pytest

from consumer.rebalances import Rebalances


def test_between_batches_a_change_is_made_at_once() -> None:
    made: list[str] = []

    Rebalances().make(partial(made.append, "revoked"))

    assert made == ["revoked"]


def test_while_a_batch_is_decided_changes_wait_and_keep_their_order() -> None:
    rebalances, made = Rebalances(), list[str]()

    with rebalances.held_back():
        rebalances.make(partial(made.append, "revoked"))
        rebalances.make(partial(made.append, "assigned"))
        assert made == []

    assert made == ["revoked", "assigned"]


def test_changes_are_made_however_the_batch_ended() -> None:
    rebalances, made = Rebalances(), list[str]()

    def decide() -> None:
        with rebalances.held_back():
            rebalances.make(partial(made.append, "revoked"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        decide()

    rebalances.make(partial(made.append, "assigned"))
    assert made == ["revoked", "assigned"]
