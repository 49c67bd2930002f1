"""The producer's receipts: collected in the order given, uncertain where no report came in time."""

from __future__ import annotations

import threading
import time

from coupons.eventlog.delivery import Acknowledged, Delivery, NotPublished, Receipt, Uncertain
from coupons.eventlog.place import Place


def test_receipts_are_in_the_order_of_the_records_not_of_the_reports() -> None:
    delivery = Delivery(3)
    receipts: list[Receipt] = [
        Acknowledged(place=Place(0, 9)),
        NotPublished(error="full"),
        Uncertain(error="timeout"),
    ]

    for index in (2, 0, 1):
        delivery.note(index, receipts[index])

    assert delivery.wait(0) == receipts


def test_waiting_ends_with_the_last_report() -> None:
    delivery = Delivery(2)
    delivery.note(0, Acknowledged(place=Place(0, 1)))
    late = threading.Timer(0.1, delivery.note, (1, Acknowledged(place=Place(0, 2))))
    late.start()

    started = time.monotonic()
    receipts = delivery.wait(30)

    assert time.monotonic() - started < 10
    assert receipts == [Acknowledged(place=Place(0, 1)), Acknowledged(place=Place(0, 2))]
    late.join()


def test_a_record_without_a_report_in_time_is_uncertain() -> None:
    delivery = Delivery(2)
    delivery.note(1, Acknowledged(place=Place(0, 1)))

    first, second = delivery.wait(0.01)

    assert isinstance(first, Uncertain)
    assert second == Acknowledged(place=Place(0, 1))


def test_the_first_report_of_a_record_stands() -> None:
    delivery = Delivery(2)

    delivery.note(0, Acknowledged(place=Place(0, 1)))
    delivery.note(0, Uncertain(error="purged"))
    [first, second] = delivery.wait(0.01)

    assert first == Acknowledged(place=Place(0, 1))
    assert isinstance(second, Uncertain)  # the repeated report was not counted as this one's


def test_a_report_after_the_wait_changes_nothing_that_was_told() -> None:
    delivery = Delivery(1)
    told = delivery.wait(0.01)

    delivery.note(0, Acknowledged(place=Place(0, 1)))

    assert isinstance(told[0], Uncertain)
