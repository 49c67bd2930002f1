"""One bad event costs that event alone: a batch is halved until it is found; errors are sorted."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DataError, IntegrityError, OperationalError, ProgrammingError, connection

from consumer import batch
from consumer.batch import BatchProcessor, MeanwhileFailed
from consumer.dead_letters import TooManyDeadLetters
from coupons.eventlog.events import encode
from coupons.eventlog.producer import EventProducer, event_producer
from coupons.issuing.deciding import issue_coupons
from coupons.models import DeadLetter, IssueOutcome, LogPosition, UserCoupon
from runtime.database_errors import Kind, kind_of
from tests import broker
from tests.consuming import standing_before
from tests.factories import make_coupon, make_event, make_users
from tests.messages import ReceivedMessage

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def refused(table: str, condition: str) -> Iterator[None]:
    """The database refuses to store these rows, for a reason that nobody here knows of."""
    refusal = {
        "sqlite": f"WHEN NEW.{condition} BEGIN SELECT RAISE(ABORT, 'for the test'); END",
        "mysql": f"FOR EACH ROW IF NEW.{condition} THEN SIGNAL SQLSTATE '45000' "
        "SET MESSAGE_TEXT = 'for the test'; END IF",
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TRIGGER refusing BEFORE INSERT ON {table} {refusal}")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER refusing")


def messages(coupon_id: int, users: Sequence[int]) -> list[Any]:
    return [
        ReceivedMessage(0, offset, value=encode(make_event(coupon_id=coupon_id, user_id=user)))
        for offset, user in enumerate(users)
    ]


def process(given: Sequence[Any]) -> None:
    BatchProcessor(producer=event_producer()).process(given, standing_before(given))


def issued() -> list[int]:
    return list(UserCoupon.objects.order_by("pk").values_list("user_id", flat=True))


def test_an_event_that_cannot_be_stored_is_a_dead_letter_and_its_neighbours_are_decided_in_order(
    topic: str,
) -> None:
    coupon, users = make_coupon(stock=6), make_users(9)
    given = messages(coupon.pk, users)

    with refused("user_coupon", f"user_id = {users[3]}"):
        process(given)

    assert issued() == [*users[:3], *users[4:7]]
    ranks = IssueOutcome.objects.filter(status="ISSUED").order_by("kafka_offset")
    assert list(ranks.values_list("claim_rank", flat=True)) == [1, 2, 3, 4, 5, 6]
    failed = IssueOutcome.objects.get(user_id=users[3])
    assert (failed.status, failed.reason, failed.kafka_offset) == ("FAILED", "UNSTORABLE", 3)
    assert "for the test" in DeadLetter.objects.get().error
    assert LogPosition.objects.get(topic=topic).next_offset == 9
    [letter] = broker.read(f"{topic}.DLT", count=1)
    assert letter.value() == given[3].value()


def test_it_can_be_sent_again_once_the_database_takes_it(topic: str) -> None:
    coupon, users = make_coupon(), make_users(1)
    given = messages(coupon.pk, users)
    with refused("user_coupon", f"user_id = {users[0]}"):
        process(given)

    call_command("dead_letters", "replay", "--reason", "UNSTORABLE", "--yes", stdout=io.StringIO())
    process(broker.read(topic, count=1))

    assert issued() == users


def test_several_of_them_cost_themselves_alone(topic: str) -> None:
    coupon, users = make_coupon(), make_users(20)

    with refused("user_coupon", f"user_id % 2 = {users[0] % 2}"):
        process(messages(coupon.pk, users))

    assert issued() == users[1::2]
    assert DeadLetter.objects.filter(reason="UNSTORABLE").count() == 10


def test_when_nothing_can_be_stored_it_is_not_the_events(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "MOST_UNSTORABLE", 3)
    coupon, users = make_coupon(), make_users(30)

    with refused("user_coupon", "user_id > 0"), pytest.raises(TooManyDeadLetters):
        process(messages(coupon.pk, users))

    assert DeadLetter.objects.count() == 3
    assert LogPosition.objects.get(topic=topic).next_offset == 3


def test_once_the_database_is_mended_it_goes_on_by_itself(
    topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MOST_UNSTORABLE", 3)
    coupon, users = make_coupon(), make_users(8)
    given = messages(coupon.pk, users)
    processor, standing = BatchProcessor(producer=event_producer()), standing_before(given)
    with refused("user_coupon", "user_id > 0"):
        for _ in range(2):
            with pytest.raises(TooManyDeadLetters):
                processor.process([each for each in given if standing.is_next(each)], standing)

    processor.process([each for each in given if standing.is_next(each)], standing)

    assert issued() == users[3:]
    assert DeadLetter.objects.count() == 3


@pytest.mark.services_only  # SQLite stores anything in any column
def test_where_the_schema_was_changed_it_is_not_the_event(topic: str) -> None:
    """As after a deploy that went wrong: the error looks like the event's, and every event would fail."""
    coupon, users = make_coupon(), make_users(4)
    given = messages(coupon.pk, users)
    whole = UserCoupon._meta.get_field("request_id").db_type(connection)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE user_coupon MODIFY request_id CHAR(8) NULL")
    try:
        with pytest.raises(DataError):
            process(given)
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE user_coupon MODIFY request_id {whole} NULL")

    assert not DeadLetter.objects.exists()
    process(given)
    assert issued() == users


def test_an_error_of_the_work_beside_the_database_is_not_the_events(topic: str) -> None:
    """A bug of ours: the process ends with its trace, and no event is given up for it."""
    coupon, users = make_coupon(), make_users(2)
    given = messages(coupon.pk, users)

    def fail() -> list[Any]:
        raise ValueError("for the test")

    with pytest.raises(MeanwhileFailed, match="for the test"):
        BatchProcessor(producer=event_producer()).process(given, standing_before(given), fail)

    assert not DeadLetter.objects.exists()


def test_where_not_even_the_dead_letter_can_be_stored_nothing_is_passed_over(topic: str) -> None:
    coupon, users = make_coupon(), make_users(4)

    with (
        refused("coupon_issue_outcome", f"user_id = {users[2]}"),
        pytest.raises((OperationalError, IntegrityError)),
    ):
        process(messages(coupon.pk, users))

    assert issued() == users[:2]
    assert LogPosition.objects.get(topic=topic).next_offset == 2
    process(messages(coupon.pk, users)[2:])
    assert issued() == users


def test_a_dead_letter_is_published_once_however_often_the_database_is_tried(
    topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[object] = []
    publish = EventProducer.publish

    def counting(self: EventProducer, records: Sequence[Any]) -> Any:
        published.extend(records)
        return publish(self, records)

    monkeypatch.setattr(EventProducer, "publish", counting)
    coupon, users = make_coupon(), make_users(2)
    given: list[Any] = [*messages(coupon.pk, users), ReceivedMessage(0, 2, value=b"broken")]
    processor, standing = BatchProcessor(producer=event_producer()), standing_before(given)
    issue = issue_coupons
    failures = [OperationalError(2013, "Lost connection"), OperationalError(1213, "Deadlock")]

    def failing(*args: Any, **named: Any) -> Any:
        if failures:
            raise failures.pop()
        return issue(*args, **named)

    monkeypatch.setattr(batch, "issue_coupons", failing)
    for _ in range(2):
        with pytest.raises(OperationalError):
            processor.process(given, standing)
    processor.process(given, standing)

    assert len(published) == 1
    assert issued() == users


@pytest.mark.parametrize(
    "value",
    [
        b"'" * 990_000,
        b"\\" * 990_000,
        b"\x00" * 990_000,
        '{"userId":"🎫"}'.encode(),
        '{"version":"쿠폰🎫"}'.encode(),
        ('{"eventId":"' + "🎫" * 4000).encode(),
        b'{"userId":1e400}',
        b'{"version":1,"eventId":"3f2504e0-4f89-41d3-9a0c-0305e82c3301","userId":NaN}',
        b"\xed\xa0\x80",
        b'"\\ud800"',
        b'{"version":"\\ud800"}',
    ],
    ids=range(11),
)
def test_whatever_a_message_holds_its_dead_letter_is_stored(topic: str, value: bytes) -> None:
    coupon, users = make_coupon(), make_users(2)
    first, last = messages(coupon.pk, users)
    last = ReceivedMessage(0, 13, key=last.key(), value=last.value())

    process([first, *[ReceivedMessage(0, 1 + n, key=value[:2000], value=value) for n in range(12)], last])

    assert issued() == users
    assert DeadLetter.objects.count() == 12
    assert all(letter.error.isascii() for letter in DeadLetter.objects.all())


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OperationalError(1213, "Deadlock found"), Kind.TRANSIENT),
        (OperationalError(2006, "Server has gone away"), Kind.TRANSIENT),
        (OperationalError(1290, "read-only"), Kind.TRANSIENT),
        (OperationalError(1040, "Too many connections"), Kind.TRANSIENT),
        (OperationalError(1021, "Disk full"), Kind.TRANSIENT),
        (OperationalError("database is locked"), Kind.TRANSIENT),
        (OperationalError("attempt to write a readonly database"), Kind.TRANSIENT),
        (OperationalError("database or disk is full"), Kind.TRANSIENT),
        (OperationalError(), Kind.TRANSIENT),
        (ProgrammingError(1146, "Table doesn't exist"), Kind.OURS),
        (OperationalError(1054, "Unknown column"), Kind.OURS),
        (OperationalError(1142, "command denied"), Kind.OURS),
        (OperationalError("no such table: coupon"), Kind.OURS),
        (DataError(1406, "Data too long"), Kind.OF_THE_EVENT),
        (DataError(1366, "Incorrect string value"), Kind.OF_THE_EVENT),
        (IntegrityError(1062, "Duplicate entry"), Kind.OF_THE_EVENT),
        (IntegrityError("UNIQUE constraint failed"), Kind.OF_THE_EVENT),
        (OperationalError(1644, "for the test"), Kind.OF_THE_EVENT),
        (OperationalError(9999, "nobody knows"), Kind.OF_THE_EVENT),
    ],
    ids=lambda value: str(value)[:40],
)
def test_errors_of_the_database_are_sorted(error: Any, kind: Kind) -> None:
    assert kind_of(error) is kind
