"""Claims that wait together are submitted together, and each hears its own answer. In a real loop."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from uuid import UUID

import gevent
import pytest
from django.db import OperationalError
from gevent.event import Event
from uuid_utils.compat import uuid7

from coupons import gathering, loop, requesting, screening
from coupons.admission import Claim
from coupons.gathering import Gathering
from coupons.outcomes import Code
from coupons.requesting import Accepted, Answer
from coupons.screening import Refused, Screened


def claims(count: int) -> list[Claim]:
    return [Claim(coupon_id=1, user_id=n + 1, request_id=uuid7()) for n in range(count)]


class Desk:
    """Stands in for requesting: odd users are accepted, even ones find it sold out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.groups: list[list[Claim]] = []
        self.may_screen, self.may_publish = Event(), Event()
        self.may_screen.set()
        self.may_publish.set()
        monkeypatch.setattr(screening, "screen", self.screen)
        monkeypatch.setattr(requesting, "publish", self.publish)

    def screen(self, group: Sequence[Claim]) -> Screened:
        self.groups.append(list(group))
        assert self.may_screen.wait(10)
        refusals = {
            claim.request_id: Refused(code=Code.OUT_OF_STOCK) for claim in group if claim.user_id % 2 == 0
        }
        admitted = [claim for claim in group if claim.user_id % 2]
        return Screened(refusals=refusals, admitted=admitted, reserving_since=0.0, requested_at_ms=0)

    def publish(self, screened: Screened) -> dict[UUID, Answer]:
        assert self.may_publish.wait(10)
        accepted: dict[UUID, Answer] = {
            claim.request_id: Accepted(request_id=claim.request_id) for claim in screened.admitted
        }
        return screened.refusals | accepted


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(monkeypatch)


def ask(own: Gathering, wanted: Sequence[Claim]) -> list[gevent.Greenlet]:
    return [gevent.spawn(own.submit, claim) for claim in wanted]


def answers(asking: Sequence[gevent.Greenlet]) -> list[object]:
    gevent.joinall(asking, timeout=10, raise_error=True)
    return [each.value for each in asking]


def test_claims_that_come_in_the_same_turn_are_one_group_and_each_hears_its_own_answer(desk: Desk) -> None:
    wanted = claims(50)

    told = answers(ask(Gathering(), wanted))

    assert desk.groups == [wanted]
    assert told == [
        Accepted(request_id=claim.request_id) if claim.user_id % 2 else Refused(code=Code.OUT_OF_STOCK)
        for claim in wanted
    ]


def test_while_a_group_is_screened_the_next_one_grows(desk: Desk) -> None:
    own, wanted = Gathering(), claims(9)
    desk.may_screen.clear()
    asking = ask(own, wanted[:1])
    gevent.sleep(0.01)

    for claim in wanted[1:]:
        asking += ask(own, [claim])
        gevent.sleep(0.005)
    assert desk.groups == [wanted[:1]]
    desk.may_screen.set()

    assert len(answers(asking)) == 9
    assert desk.groups == [wanted[:1], wanted[1:]]


def test_a_slow_broker_does_not_hold_up_the_next_group(desk: Desk) -> None:
    own, wanted = Gathering(), claims(2)
    desk.may_publish.clear()

    asking = ask(own, wanted[:1])
    gevent.sleep(0.001)
    asking += ask(own, wanted[1:])
    gevent.sleep(0.2)

    assert desk.groups == [wanted[:1], wanted[1:]]
    desk.may_publish.set()
    answers(asking)


def test_a_group_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "_MOST_AT_ONCE", 4)

    answers(ask(Gathering(), claims(10)))

    assert [len(group) for group in desk.groups] == [4, 4, 2]


@pytest.mark.parametrize("error", [OperationalError("away"), RuntimeError("a bug")])
def test_what_goes_wrong_reaches_every_claim_of_the_group_and_no_other(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Gathering()

    def fail(group: Sequence[Claim]) -> Screened:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(screening, "screen", fail)
        asking = ask(own, claims(3))
        gevent.joinall(asking, timeout=10)

    assert [each.exception for each in asking] == [error] * 3
    assert ("a bug" in capsys.readouterr().err) or isinstance(error, OperationalError)
    assert len(answers(ask(own, claims(3)))) == 3


def test_where_nothing_gathers_a_claim_is_submitted_alone(desk: Desk) -> None:
    [claim] = claims(1)

    assert gathering.submit(claim) == Accepted(request_id=claim.request_id)
    assert desk.groups == [[claim]]


def test_what_blocks_runs_in_a_thread_while_the_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_thread", None)
    monkeypatch.setattr(loop, "_pool", None)
    assert loop.in_thread(threading.get_ident) == threading.get_ident()  # no loop here: where it is

    loop.start()
    blocked, turns = threading.Event(), [0]

    def go_on() -> None:
        for _ in range(10):
            turns[0] += 1
            gevent.sleep(0.001)
        blocked.set()

    gevent.spawn(go_on)
    assert loop.in_thread(blocked.wait, 10)
    assert turns == [10]
    assert loop.in_thread(threading.get_ident) != threading.get_ident()
    assert loop.in_thread(loop.is_here) is False
