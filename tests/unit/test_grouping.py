"""Calls that wait at the same time are made as one, and each hears of its own."""

from __future__ import annotations

from collections.abc import Sequence

import gevent
import pytest
from gevent.event import Event

from coupons.claims.grouping import Grouped


class Step:
    """Doubles each number; refuses a list that begins with an odd one if it is told to."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.may_go = Event()
        self.refuses_odd = False

    def __call__(self, items: Sequence[int]) -> dict[int, int]:
        self.calls.append(list(items))
        self.may_go.wait(10)
        if self.refuses_odd and items[0] % 2:
            raise ValueError("odd")
        return {item: 2 * item for item in items}


@pytest.mark.usefixtures("in_a_loop")
def test_while_a_call_is_under_way_the_next_ones_become_one() -> None:
    step = Step()
    grouped = Grouped[int, dict[int, int]](step)
    asking = [gevent.spawn(grouped, [number]) for number in range(50)]
    gevent.sleep(0.01)
    step.may_go.set()
    gevent.joinall(asking, timeout=10, raise_error=True)

    assert [each.value[number] for number, each in enumerate(asking)] == [2 * n for n in range(50)]
    assert [len(call) for call in step.calls] == [1, 49]


@pytest.mark.usefixtures("in_a_loop")
def test_an_error_reaches_whoever_made_the_call_and_the_others_try_again() -> None:
    step = Step()
    step.refuses_odd = True
    grouped = Grouped[int, dict[int, int]](step)
    asking = [gevent.spawn(grouped, [number]) for number in (2, 1, 4, 6)]
    gevent.sleep(0.01)
    step.may_go.set()
    gevent.joinall(asking, timeout=10)

    assert isinstance(asking[1].exception, ValueError)
    assert [asking[n].value[number] for n, number in ((0, 2), (2, 4), (3, 6))] == [4, 8, 12]
    assert step.calls == [[2], [1, 4, 6], [4, 6]]


def test_where_there_is_no_loop_a_call_is_made_by_itself() -> None:
    step = Step()
    step.may_go.set()

    assert Grouped[int, dict[int, int]](step)([3]) == {3: 6}
