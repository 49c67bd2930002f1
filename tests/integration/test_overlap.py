"""The loop as it ships, on real servers: the next batch is there while the database works on this one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import pytest
from confluent_kafka import Consumer
from django.conf import settings
from django.db import OperationalError

from consumer import batch, kafka
from consumer.batch import BatchProcessor
from consumer.database_thread import DatabaseThread
from consumer.loop import ConsumerLoop
from coupons.eventlog.delivery import Record
from coupons.eventlog.events import encode, partition_key
from coupons.eventlog.producer import event_producer
from coupons.issuing.deciding import issue_coupons
from coupons.models import Coupon, IssueOutcome, UserCoupon
from tests.consuming import in_a_thread
from tests.factories import make_coupon, make_event, make_users
from tests.system import eventually

pytestmark = pytest.mark.django_db(transaction=True)
BATCH = 20
EVENTS = 15 * BATCH


def written(coupons: Sequence[Coupon], users: Sequence[int]) -> None:
    """One event per user, in turn on these coupons."""
    records = []
    for number, user in enumerate(users):
        coupon_id = coupons[number % len(coupons)].pk
        value = encode(make_event(coupon_id=coupon_id, user_id=user))
        records.append(Record(key=partition_key(coupon_id), value=value))
    event_producer().publish(records)


@contextmanager
def consuming() -> Iterator[threading.Event]:
    """A consumer of the group in a thread of its own; yields what stops it."""
    stop = threading.Event()

    def run() -> None:
        with DatabaseThread() as database:
            ConsumerLoop(
                make_consumer=cast(
                    Callable[..., Consumer],
                    partial(kafka.make_consumer, group_id=settings.CONFIG.kafka.group_id),
                ),
                processor=BatchProcessor(producer=event_producer(), run=database.run),
                batch_size=BATCH,
                stop=stop,
            ).run()

    thread = threading.Thread(target=in_a_thread(run))
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


def decided() -> int:
    return IssueOutcome.objects.count()


def assert_first_come_first_served(coupons: Sequence[Coupon], *, stock: int) -> None:
    """Exactly the stock, to the first in the log, each once."""
    assert decided() == EVENTS
    for coupon in coupons:
        outcomes = IssueOutcome.objects.filter(coupon_id=coupon.pk).order_by("kafka_offset")
        ranks = list(outcomes.values_list("claim_rank", flat=True))
        assert ranks == [*range(1, stock + 1), *[None] * (len(ranks) - stock)]
        assert UserCoupon.objects.filter(coupon=coupon).count() == stock
        coupon.refresh_from_db()
        assert (coupon.stock, coupon.issued_count) == (0, stock)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], None]], None]:
    """Has this called before each transaction, in the database's thread, with how many there were."""

    def put_in(before: Callable[[int], None]) -> None:
        numbers = iter(range(1_000_000))

        def issuing(*args: Any, **named: Any) -> Any:
            before(next(numbers))
            return issue_coupons(*args, **named)

        monkeypatch.setattr(batch, "issue_coupons", issuing)

    return put_in


def test_the_order_of_the_log_holds_while_the_database_fails_again_and_again(
    topic: str, failing: Callable[[Callable[[int], None]], None]
) -> None:
    coupons, users = [make_coupon(stock=100)], make_users(EVENTS)

    def deadlock(number: int) -> None:
        if number % 3 == 1:
            raise OperationalError(1213, "Deadlock found")

    failing(deadlock)
    written(coupons, users)

    with consuming():
        eventually(lambda: decided() >= EVENTS, within_s=60, what=lambda: f"{decided()} decided")

    assert_first_come_first_served(coupons, stock=100)


@pytest.mark.services_only  # the embedded broker may lose a group that one leaves while another joins
def test_consumers_that_come_and_go_decide_everything_once(
    topic: str, failing: Callable[[Callable[[int], None]], None]
) -> None:
    coupons, users = [make_coupon(stock=20) for _ in range(6)], make_users(EVENTS)
    failing(lambda number: time.sleep(0.1))  # slow, so that the group changes in the middle
    written(coupons, users)

    with consuming() as first:
        eventually(lambda: decided() >= BATCH, within_s=60)
        with consuming():
            eventually(lambda: decided() >= 4 * BATCH, within_s=60)
            first.set()
            eventually(lambda: decided() >= EVENTS, within_s=60, what=lambda: f"{decided()} decided")

    assert_first_come_first_served(coupons, stock=20)


def test_a_consumer_that_is_stopped_leaves_the_next_batch_to_the_next_consumer(
    topic: str, failing: Callable[[Callable[[int], None]], None]
) -> None:
    coupons, users = [make_coupon(stock=100)], make_users(EVENTS)
    failing(lambda number: time.sleep(0.05))
    written(coupons, users)

    with consuming():
        eventually(lambda: decided() >= 2 * BATCH, within_s=60)
    assert BATCH < decided() < EVENTS

    with consuming():
        eventually(lambda: decided() >= EVENTS, within_s=60)
    assert_first_come_first_served(coupons, stock=100)
