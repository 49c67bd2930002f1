"""What processes count gets to the database once, whatever is away, and adds up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection

from coupons import coupon_cache
from coupons.claims import batching
from coupons.coupon_cache import cached_coupon
from coupons.figures import flushing, reading
from coupons.figures.counting import Desk, Figures, desk
from coupons.figures.flushing import Flusher, FlushingThread
from coupons.gate.admission import gate
from coupons.models import SecondFigures
from tests.factories import make_coupon, make_event, make_users
from tests.system import System, eventually

pytestmark = pytest.mark.django_db(transaction=True)
ALL = {"since": 0, "until": 2**40}


@pytest.fixture
def own() -> Desk:
    return Desk(is_open=True)


def test_two_processes_add_up_and_the_last_sample_stands(own: Desk) -> None:
    coupon = make_coupon()
    other = Desk(is_open=True)
    own.answered([coupon.pk] * 3, ["ACCEPTED"] * 3, [0.001] * 3)
    other.answered([coupon.pk], ["OUT_OF_STOCK"], [0.001])

    Flusher(own).flush(is_last=True)
    Flusher(other).flush(is_last=True)
    total = reading.total(reading.by_step(coupon.pk, **ALL))

    assert total.answers == {"ACCEPTED": 3, "OUT_OF_STOCK": 1}
    assert sum(total.took.values()) == 4
    assert SecondFigures.objects.count() == 2


def test_the_second_that_is_not_over_waits(own: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    coupon = make_coupon()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    flusher = Flusher(own)

    own.answered([coupon.pk], ["ACCEPTED"], [0.001])
    flusher.flush()
    assert not SecondFigures.objects.exists()

    now += 1
    flusher.flush()
    own.answered([coupon.pk], ["ACCEPTED"], [0.001])  # late: by a clock that was set back
    now += 1
    flusher.flush()
    assert reading.total(reading.by_step(coupon.pk, **ALL)).answers == {"ACCEPTED": 2}


def test_invented_coupons_leave_no_rows(own: Desk) -> None:
    own.answered([999_999_999], ["COUPON_NOT_FOUND"], [0.001])

    Flusher(own).flush(is_last=True)

    assert not SecondFigures.objects.exists()


def test_a_database_that_is_away_costs_no_figure(own: Desk) -> None:
    coupon = make_coupon()
    flusher = Flusher(own)
    own.answered([coupon.pk], ["ACCEPTED"], [0.001])

    with connection.execute_wrapper(_away), pytest.raises(OperationalError):
        flusher.flush(is_last=True)
    flusher.bound()
    own.answered([coupon.pk], ["ACCEPTED"], [0.001])
    flusher.flush(is_last=True)

    assert reading.total(reading.by_step(coupon.pk, **ALL)).answers == {"ACCEPTED": 2}


def test_a_second_that_is_written_twice_counts_once(own: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    coupon = make_coupon()
    flusher = Flusher(own)
    own.answered([coupon.pk], ["ACCEPTED"], [0.001])
    insert = SecondFigures.objects.bulk_create

    def lose_the_answer(*args: Any, **kwargs: Any) -> None:
        insert(*args, **kwargs)
        raise OperationalError(2013, "Lost connection")

    with monkeypatch.context() as lossy:
        lossy.setattr(SecondFigures.objects, "bulk_create", lose_the_answer)
        with pytest.raises(OperationalError):
            flusher.flush(is_last=True)
    flusher.flush(is_last=True)

    assert reading.total(reading.by_step(coupon.pk, **ALL)).answers == {"ACCEPTED": 1}


def test_more_coupons_than_rows_wait_for_their_turn(own: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flushing, "MOST_ROWS", 2)
    coupons = [make_coupon() for _ in range(5)]
    flusher = Flusher(own)

    own.answered([each.pk for each in coupons], ["ACCEPTED"] * 5, [0.001] * 5)
    began = time.time()
    written = []
    for turn in range(1, 4):
        monkeypatch.setattr(time, "time", lambda turn=turn: began + turn)
        flusher.flush()
        written.append(SecondFigures.objects.count())

    assert written == [2, 4, 5]
    assert {row.coupon_id for row in SecondFigures.objects.all()} == {each.pk for each in coupons}


def test_the_last_flush_writes_all_that_there_is(own: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other one follows: neither for coupons whose turn comes later, nor for a clock that was set back."""
    monkeypatch.setattr(flushing, "MOST_ROWS", 2)
    coupons = [make_coupon() for _ in range(5)]
    flusher = Flusher(own)
    own.answered([coupons[0].pk], ["ACCEPTED"], [0.001])
    flusher.flush(is_last=True)
    back = time.time() - 60
    monkeypatch.setattr(time, "time", lambda: back)

    own.answered([each.pk for each in coupons], ["ACCEPTED"] * 5, [0.001] * 5)
    flusher.flush(is_last=True)

    totals = [reading.total(reading.by_step(each.pk, **ALL)).answers["ACCEPTED"] for each in coupons]
    assert totals == [2, 1, 1, 1, 1]


def test_a_last_flush_that_is_cut_short_has_written_the_busiest_coupons(
    own: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written stays, what is not is written next, and nothing counts twice."""
    monkeypatch.setattr(flushing, "MOST_ROWS", 2)
    coupons = [make_coupon() for _ in range(5)]
    hot, others = coupons[3], [*coupons[:3], coupons[4]]
    flusher, writes = Flusher(own), []
    own.answered([each.pk for each in others], ["ACCEPTED"] * 4, [0.001] * 4)
    own.answered([hot.pk] * 3, ["ACCEPTED"] * 3, [0.001] * 3)

    def away_at_the_second(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "coupon_second_figures" in sql:
            writes.append(sql)
        return (execute if len(writes) < 2 else _away_at_once)(sql, params, many, context)

    with connection.execute_wrapper(away_at_the_second), pytest.raises(OperationalError):
        flusher.flush(is_last=True)
    flusher.bound()
    assert reading.total(reading.by_step(hot.pk, **ALL)).answers == {"ACCEPTED": 3}

    own.answered([hot.pk], ["ACCEPTED"], [0.001])  # of a second that is written
    flusher.flush(is_last=True)
    totals = [reading.total(reading.by_step(each.pk, **ALL)).answers["ACCEPTED"] for each in coupons]
    assert totals == [1, 1, 1, 4, 1]


def test_real_coupons_are_not_taken_for_invented_ones(own: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """More coupons wait than seconds may: their seconds are added up, and none is dropped."""
    monkeypatch.setattr(flushing, "MOST_WAITING", 2)
    coupons = [make_coupon() for _ in range(5)]
    flusher = Flusher(own)
    own.answered([each.pk for each in coupons], ["ACCEPTED"] * 5, [0.001] * 5)
    with connection.execute_wrapper(_away), pytest.raises(OperationalError):
        flusher.flush(is_last=True)

    flusher.bound()
    flusher.flush(is_last=True)

    assert {row.coupon_id for row in SecondFigures.objects.all()} == {each.pk for each in coupons}


def test_a_connection_that_broke_costs_no_last_figure(own: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was idle for long, and the process ends: there is no later flush."""
    coupon, tries = make_coupon(), []
    flush = Flusher.flush

    def failing_first(flusher: Flusher, *, is_last: bool = False) -> None:
        tries.append(is_last)
        if len(tries) == 1:
            raise OperationalError(2006, "Server has gone away")
        flush(flusher, is_last=is_last)

    monkeypatch.setattr(Flusher, "flush", failing_first)
    monkeypatch.setattr(flushing, "EVERY_S", 600.0)
    thread = FlushingThread(own)
    thread.start()
    own.answered([coupon.pk], ["ACCEPTED"], [0.001])
    thread.stop(patience_s=30)

    assert tries == [True, True]
    assert reading.total(reading.by_step(coupon.pk, **ALL)).answers == {"ACCEPTED": 1}


def test_how_many_wait_is_sampled_from_the_gate(own: Desk) -> None:
    coupon = make_coupon()
    [user] = make_users(1)
    view = cached_coupon(coupon.pk, fresh=True)
    assert view is not None
    gate.load(view, [make_event(coupon_id=coupon.pk, user_id=user).claim])

    own.answered([coupon.pk], ["ACCEPTED"], [0.001])
    Flusher(own).flush(is_last=True)

    assert reading.total(reading.by_step(coupon.pk, **ALL)).waiting == 1


def test_steps_add_seconds_up() -> None:
    for second in (100, 104, 105, 119):
        SecondFigures.objects.create(
            coupon_id=7,
            second=second,
            process=1,
            figures=f'{{"answers":{{"ACCEPTED":1}},"waiting":{second}}}',
        )

    found = reading.by_step(7, since=100, until=119, step=5)

    assert found == {
        100: Figures(answers={"ACCEPTED": 2}, waiting=104),
        105: Figures(answers={"ACCEPTED": 1}, waiting=105),
    }
    assert reading.span(7) == (100, 119)
    assert reading.span(8) is None


@pytest.fixture
def counted() -> Iterator[None]:
    desk.is_open = True
    yield
    desk.is_open = False
    desk.fetch()


def test_a_claim_on_its_way_is_counted(topic: str, counted: None) -> None:
    coupon = make_coupon(stock=1)
    coupon_cache.forget_all()
    [user] = make_users(1)
    event = make_event(coupon_id=coupon.pk, user_id=user)

    batching.submit(event.claim, lambda answer: None)
    Flusher(desk).flush(is_last=True)

    assert reading.total(reading.by_step(coupon.pk, **ALL)).answers == {"ACCEPTED": 1}


def test_both_processes_write_what_they_did(system: System) -> None:
    coupon = make_coupon(stock=3)
    users = make_users(5)

    answers = system.claim_all(coupon.pk, users)
    refused = system.claim(coupon.pk, "x")
    assert refused.code == "INVALID_REQUEST"

    def is_all_there() -> bool:
        total = reading.total(reading.by_step(coupon.pk, **ALL))
        accepted = sum(answer.status == 202 for answer in answers.values())
        return (
            total.answers.get("ACCEPTED") == accepted
            and sum(total.answers.values()) == 6
            and total.decisions.get("ISSUED") == 3
        )

    eventually(is_all_there)


def _away_at_once(*args: Any) -> Any:
    raise OperationalError(2002, "away")


def _away(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    if "coupon_second_figures" in sql:
        raise OperationalError(2002, "away")
    return execute(sql, params, many, context)
