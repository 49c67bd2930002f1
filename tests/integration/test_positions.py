"""The database owns the position in the log: databases go back, topics and offsets change."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Sequence

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from django.conf import settings
from django.db import connection
from django.db.models import F

from coupons.eventlog import positions
from coupons.eventlog.events import encode, partition_key
from coupons.models import Coupon, IssueOutcome, LogPosition, UserCoupon
from tests import broker
from tests.factories import make_coupon, make_event, make_users
from tests.system import System, ask, eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def consuming(transactional_db: None, topic: str) -> Iterator[System]:
    """One consumer; the API is not needed."""
    system = System(topic=topic)
    system.consumers[0].start()
    try:
        system.consumers[0].wait_ready()
        yield system
    finally:
        for server in system.consumers:
            server.kill()


def write(topic: str, coupon: Coupon, users: Sequence[int]) -> None:
    values = [encode(make_event(coupon_id=coupon.pk, user_id=user)) for user in users]
    broker.write(topic, *values, key=partition_key(coupon.pk), together=True)


def decided() -> int:
    connection.close()
    return IssueOutcome.objects.count()


def wait_decided(count: int) -> None:
    eventually(lambda: decided() == count, within_s=40, what=lambda: f"{decided()} of {count} decided")


def ranks() -> list[tuple[int | None, int | None]]:
    return list(IssueOutcome.objects.order_by("kafka_offset").values_list("claim_rank", "user_id"))


def position(coupon: Coupon) -> LogPosition:
    outcome = IssueOutcome.objects.filter(coupon_id=coupon.pk, kafka_partition__isnull=False).first()
    assert outcome is not None
    assert outcome.kafka_partition is not None
    return LogPosition.objects.get(topic=settings.CONFIG.kafka.topic, partition=outcome.kafka_partition)


def go_back_to(coupon: Coupon, rank: int) -> None:
    """The database as it was after this many were issued, as a dump or a lagging replica has it."""
    lost = IssueOutcome.objects.filter(claim_rank__gt=rank)
    row, first = position(coupon), lost.order_by("kafka_offset").values_list("kafka_offset", flat=True)[0]
    count = UserCoupon.objects.filter(request_id__in=lost.values("pk")).delete()[0]
    IssueOutcome.objects.filter(kafka_offset__gte=first).delete()
    Coupon.objects.update(stock=F("stock") + count, issued_count=F("issued_count") - count)
    LogPosition.objects.filter(pk=row.pk).update(next_offset=first)


def test_a_database_that_went_back_is_told_again_what_it_forgot(consuming: System) -> None:
    coupon, users = make_coupon(stock=20), make_users(30)
    write(consuming.topic, coupon, users)
    wait_decided(30)
    before = ranks()

    go_back_to(coupon, 7)

    wait_decided(30)
    assert ranks() == before


def test_a_database_that_went_back_while_events_come_is_told_again(consuming: System) -> None:
    coupon, users = make_coupon(stock=40), make_users(60)
    write(consuming.topic, coupon, users[:30])
    wait_decided(30)
    consumer = consuming.consumers[0]

    with consumer.paused():
        go_back_to(coupon, 7)
        write(consuming.topic, coupon, users[30:])

    wait_decided(60)
    assert [user for _, user in ranks()] == users
    assert [rank for rank, _ in ranks()] == [*range(1, 41), *[None] * 20]


def test_offsets_that_somebody_moved_in_kafka_move_nothing(consuming: System) -> None:
    coupon, users = make_coupon(stock=20), make_users(10)
    consuming.consumers[0].stop()
    write(consuming.topic, coupon, users)
    kafka = settings.CONFIG.kafka
    tool = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": kafka.group_id})
    ends = [
        TopicPartition(
            kafka.topic, each, tool.get_watermark_offsets(TopicPartition(kafka.topic, each), timeout=10)[1]
        )
        for each in range(3)
    ]
    tool.commit(offsets=ends, asynchronous=False)
    tool.close()

    consuming.consumers[0].start()

    wait_decided(10)


@pytest.mark.services_only  # librdkafka 2.16 itself crashes when Tansu makes a topic anew
def test_a_topic_made_anew_while_the_consumer_is_frozen_is_read_from_its_beginning(consuming: System) -> None:
    coupon, users = make_coupon(stock=50), make_users(40)
    write(consuming.topic, coupon, users[:10])
    wait_decided(10)
    consumer = consuming.consumers[0]
    old = position(coupon)

    with consumer.paused():
        make_anew(consuming.topic)
        write(consuming.topic, coupon, users[10:])  # more than there were: its old offset exists again

    wait_decided(40)
    new = position(coupon)
    assert new.topic_id != old.topic_id
    assert new.next_offset == 30
    assert "was deleted and made anew" in consuming.log_text("consumer")


@pytest.mark.services_only  # as above
def test_a_topic_made_anew_with_fewer_partitions_leaves_no_row_of_the_others(consuming: System) -> None:
    """They would stand in verify's report, and no command would remove them."""
    coupon, users = make_coupon(stock=50), make_users(20)
    write(consuming.topic, coupon, users[:10])
    wait_decided(10)

    make_anew(consuming.topic, partitions=1)
    write(consuming.topic, coupon, users[10:])

    wait_decided(20)
    # It may read partition 0 of the new topic at once; that the others are gone its next metadata tell it,
    # which come every 30 s, and then the group rejoins.
    eventually(
        lambda: stored(consuming.topic) == [(0, 10)],
        within_s=120,
        what=lambda: f"{stored(consuming.topic)}",
    )


def stored(topic: str) -> list[tuple[int, int]]:
    connection.close()
    rows = LogPosition.objects.filter(topic=topic).order_by("partition")
    return list(rows.values_list("partition", "next_offset"))


def make_anew(topic: str, *, partitions: int = 3) -> None:
    admin = AdminClient({"bootstrap.servers": settings.CONFIG.kafka.bootstrap_servers})
    admin.delete_topics([topic], operation_timeout=10)[topic].result(20)

    def is_made() -> bool:
        created = admin.create_topics([NewTopic(topic, partitions, 1)], operation_timeout=10)[topic]
        return created.exception(20) is None

    eventually(is_made, within_s=20)  # the deletion goes on for a moment after it was answered


@pytest.mark.services_only
def test_events_deleted_before_they_were_decided_are_shouted_and_an_operator_goes_on(
    consuming: System,
) -> None:
    coupon, users = make_coupon(stock=50), make_users(12)
    write(consuming.topic, coupon, users[:4])
    wait_decided(4)
    consumer = consuming.consumers[0]
    at = position(coupon)

    consumer.stop()
    write(consuming.topic, coupon, users[4:])
    admin = AdminClient({"bootstrap.servers": settings.CONFIG.kafka.bootstrap_servers})
    [deleted] = admin.delete_records([TopicPartition(consuming.topic, at.partition, 10)]).values()
    deleted.result(20)
    consumer.start()

    def health() -> object:
        return ask(consumer.port, "GET", "/actuator/health/readiness").body

    eventually(lambda: "were deleted before they were decided" in json.dumps(health()), within_s=40)
    assert ask(consumer.port, "GET", "/actuator/health/readiness").status == 503
    assert ask(consumer.port, "GET", "/actuator/health/liveness").status == 200
    shown = consuming.manage("log_position", "show", "--json")
    assert shown.returncode == 1
    assert {each["state"] for each in json.loads(shown.stdout)} == {"OK", "BEHIND_THE_LOG"}
    assert decided() == 4
    looked = consuming.manage("log_position", "accept-loss", "--dry-run")
    assert "offsets 4 to 9 were deleted before they were decided; go on at 10" in looked.stdout
    assert "add --yes" in consuming.manage("log_position", "accept-loss").stderr

    assert consuming.manage("log_position", "accept-loss", "--yes").returncode == 0

    wait_decided(6)
    eventually(lambda: ask(consumer.port, "GET", "/actuator/health/readiness").status == 200)
    assert consuming.manage("log_position", "show").returncode == 0
    assert consuming.manage("log_position", "accept-loss", "--yes").stdout == "nothing to do\n"


@pytest.mark.services_only
def test_a_topic_that_is_compacted_stands_still_until_it_is_not(consuming: System) -> None:
    """One event for each coupon is what compaction would leave of a rush."""
    coupon, users = make_coupon(stock=20), make_users(10)
    write(consuming.topic, coupon, users[:5])
    wait_decided(5)
    server = consuming.consumers[0]

    broker.alter_topic(consuming.topic, {"cleanup.policy": "compact"})
    eventually(lambda: "cleanup.policy is compact" in server.output(), within_s=30)
    write(consuming.topic, coupon, users[5:])
    answer = ask(server.port, "GET", "/actuator/health/readiness")
    assert answer.status == 503
    assert decided() == 5

    broker.alter_topic(consuming.topic, {"cleanup.policy": "delete"})
    wait_decided(10)
    eventually(lambda: ask(server.port, "GET", "/actuator/health/readiness").status == 200)


def test_deciding_again_from_an_offset_changes_nothing(consuming: System) -> None:
    coupon, users = make_coupon(stock=5), make_users(8)
    write(consuming.topic, coupon, users)
    wait_decided(8)
    before, at = ranks(), position(coupon)

    told = json.loads(consuming.manage("log_position", "back", "--json", "--yes").stdout)

    assert list(told["partitions"]) == [str(at.partition)]
    eventually(lambda: position(coupon).next_offset == at.next_offset)
    assert ranks() == before
    assert "no whole number" in consuming.manage("log_position", "back", "--to", "-1").stderr
    assert "there is no partition 9" in consuming.manage("log_position", "back", "--partition", "9").stderr


def test_a_consumer_that_was_frozen_while_another_went_on_decides_nothing_twice(consuming: System) -> None:
    coupon, users = make_coupon(stock=50), make_users(30)
    write(consuming.topic, coupon, users[:10])
    wait_decided(10)
    zombie = consuming.consumers[0]

    zombie.signal(signal.SIGSTOP)
    other = consuming.new_consumer()
    consuming.consumers.append(other)
    other.start()
    write(consuming.topic, coupon, users[10:])
    wait_decided(30)
    zombie.signal(signal.SIGCONT)
    time.sleep(2)

    assert [rank for rank, _ in ranks()] == list(range(1, 31))
    assert positions.stored()[position(coupon).partition].next_offset == 30
