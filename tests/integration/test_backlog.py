"""The undecided part of the log, read without joining the group."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from django.conf import settings

from coupons.eventlog import backlog, kafka_client, positions
from coupons.eventlog.backlog import LogUnavailable, Positions
from coupons.eventlog.events import encode, partition_key, partition_of
from coupons.eventlog.place import EndOffset, FirstOffset, NextOffset
from coupons.eventlog.positions import Position
from dev.processes import free_port
from tests import broker
from tests.factories import make_event
from tests.system import eventually

pytestmark = pytest.mark.django_db(transaction=True)


def commit(topic: str, offsets: Mapping[int, int]) -> None:
    """Move Kafka's offsets of the group, as tools and the application that came before do."""
    kafka = settings.CONFIG.kafka
    member = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": kafka.group_id})
    member.commit(
        offsets=[TopicPartition(topic, partition, offset) for partition, offset in offsets.items()],
        asynchronous=False,
    )
    member.close()


def write(topic: str, *, partition: int, count: int) -> list[tuple[int, int, object]]:
    """``count`` events, each as (partition, offset, event)."""
    events = [make_event(coupon_id=1, user_id=n + 1) for n in range(count)]
    places = broker.write(topic, *map(encode, events), partition=partition)
    return [(*place, event) for place, event in zip(places, events, strict=True)]


def topic_id() -> str:
    return kafka_client.topic_id(timeout_s=10)


def delete_before(topic: str, *, partition: int, offset: int) -> None:
    admin = AdminClient({"bootstrap.servers": settings.CONFIG.kafka.bootstrap_servers})
    [deleted] = admin.delete_records([TopicPartition(topic, partition, offset)]).values()
    deleted.result(10)


def write_in_a_transaction(topic: str, *, partition: int, count: int) -> list[tuple[int, int, object]]:
    events = [make_event(coupon_id=1, user_id=n + 1) for n in range(count)]
    places: list[tuple[int, int]] = []
    producer = Producer(
        {"bootstrap.servers": settings.CONFIG.kafka.bootstrap_servers, "transactional.id": topic}
    )
    producer.init_transactions(20)
    producer.begin_transaction()
    for event in events:
        producer.produce(
            topic,
            encode(event),
            partition=partition,
            on_delivery=lambda _, message: places.append((message.partition() or 0, message.offset() or 0)),
        )
    producer.commit_transaction(20)
    return [(*place, event) for place, event in zip(places, events, strict=True)]


def read() -> list[tuple[int, int, object]]:
    found = backlog.read(timeout_s=10).requests
    return [(*r.place, r.event) for r in sorted(found, key=lambda request: request.place)]


def test_an_empty_topic_has_none(topic: str) -> None:
    found = backlog.read(timeout_s=10)

    assert found.requests == []
    assert found.next_to_decide == {0: 0, 1: 0, 2: 0}


def test_a_group_that_has_committed_nothing_has_all_before_it(topic: str) -> None:
    written = write(topic, partition=0, count=3) + write(topic, partition=2, count=2)

    assert read() == written


def test_what_the_group_has_decided_is_left_out(topic: str) -> None:
    written = write(topic, partition=0, count=4) + write(topic, partition=1, count=2)

    positions.move(0, to=Position(topic_id=topic_id(), next_offset=NextOffset(3)))
    positions.move(1, to=Position(topic_id=topic_id(), next_offset=NextOffset(2)))
    commit(topic, {0: 4, 1: 0})  # nobody asks for that where there is a row

    assert read() == written[3:4]
    assert backlog.read(timeout_s=10).next_to_decide == {0: 3, 1: 2, 2: 0}


def test_a_partition_may_be_left_out(topic: str) -> None:
    write(topic, partition=0, count=2)
    written = write(topic, partition=1, count=2)

    found = backlog.read(timeout_s=10, without={0})

    assert [(*r.place, r.event) for r in found.requests] == written
    assert found.next_to_decide == {1: 0, 2: 0}
    covered = {pk: found.covers(pk) for pk in range(1, 30)}
    assert covered == {pk: partition_of(partition_key(pk), 3) != 0 for pk in covered}
    assert set(covered.values()) == {True, False}


def test_a_reading_that_failed_keeps_no_other_one_from_being_tried(topic: str) -> None:
    """As where a partition was found to be dead, and is left out from then on."""
    written = write(topic, partition=1, count=1)
    with pytest.raises(LogUnavailable):
        backlog.read(timeout_s=0.0)

    with pytest.raises(LogUnavailable, match="a moment ago"):
        backlog.read(timeout_s=10)
    found = backlog.read(timeout_s=10, without={0})

    assert [(*r.place, r.event) for r in found.requests] == written


def test_one_that_minds_no_failures_is_tried_and_its_own_keep_no_other_from_being_tried(topic: str) -> None:
    written = write(topic, partition=1, count=1)
    with pytest.raises(LogUnavailable):
        backlog.read(timeout_s=0.0, minds_failures=False)
    assert read() == written
    with pytest.raises(LogUnavailable):
        backlog.read(timeout_s=0.0)

    found = backlog.read(timeout_s=10, minds_failures=False)

    assert [(*r.place, r.event) for r in found.requests] == written


def test_a_group_without_a_row_is_where_kafka_says(topic: str) -> None:
    written = write(topic, partition=0, count=4)

    commit(topic, {0: 3})

    assert read() == written[3:]


def test_a_topic_that_was_made_anew_is_undecided_from_its_beginning(topic: str) -> None:
    written = write(topic, partition=0, count=4)

    positions.move(0, to=Position(topic_id="of-the-one-before", next_offset=NextOffset(3)))

    assert read() == written


@pytest.mark.services_only
def test_events_that_were_deleted_before_they_were_decided_show(topic: str) -> None:
    positions.move(0, to=Position(topic_id=topic_id(), next_offset=NextOffset(2)))
    written = write(topic, partition=0, count=4)
    delete_before(topic, partition=0, offset=3)

    assert read() == written[3:]
    at = backlog.positions(timeout_s=10)[0]
    assert (at.first, at.next_to_decide, at.end) == (3, 2, 4)


def test_a_log_that_lost_its_end_is_undecided_from_where_it_ended(topic: str) -> None:
    """What is written there now is new, though it stands before what was once decided."""
    positions.move(0, to=Position(topic_id=topic_id(), next_offset=NextOffset(4), lost_end=EndOffset(1)))
    written = write(topic, partition=0, count=3)

    assert read() == written[1:]
    at = backlog.positions(timeout_s=10)
    assert (at[0].next_to_decide, at[0].end) == (1, 3)
    assert backlog.undecided_to({0: EndOffset(1), 1: EndOffset(0)}, at, timeout_s=10) == {0}


def test_a_position_beyond_the_end_reads_nothing_again(topic: str) -> None:
    write(topic, partition=0, count=2)
    positions.move(0, to=Position(topic_id=topic_id(), next_offset=NextOffset(9)))

    try:
        found = read()
    except LogUnavailable:
        found = []  # a broker may say that there is no such offset
    assert found == []


def test_a_transactions_marker_at_the_end_is_nothing_to_decide(topic: str) -> None:
    [(_, offset, _)] = write_in_a_transaction(topic, partition=0, count=1)
    # The markers are written a moment after the commit was answered.
    eventually(lambda: backlog.positions(timeout_s=10)[0].end > offset + 1)
    ends = {0: backlog.positions(timeout_s=10)[0].end}
    assert backlog.undecided_to(ends, backlog.positions(timeout_s=10), timeout_s=10) == {0}

    positions.move(0, to=Position(topic_id=topic_id(), next_offset=NextOffset(offset + 1)))

    assert backlog.undecided_to(ends, backlog.positions(timeout_s=10), timeout_s=10) == frozenset()


def test_events_of_a_partition_come_in_its_order(topic: str) -> None:
    written = write(topic, partition=1, count=50)

    found = backlog.read(timeout_s=10).requests

    assert [(*r.place, r.event) for r in found] == written


def test_events_that_a_busy_producer_wrote_together_are_all_there(topic: str) -> None:
    events = [make_event(coupon_id=1, user_id=n + 1) for n in range(20)]
    places = broker.write(topic, *map(encode, events), partition=1, together=True)

    assert read() == [(*place, event) for place, event in zip(places, events, strict=True)]


def test_what_can_never_be_decided_is_passed_over(topic: str) -> None:
    [first] = write(topic, partition=0, count=1)
    broker.write(topic, b"broken", None, b"", partition=0)
    [last] = write(topic, partition=0, count=1)
    broker.write(topic, b"broken at the very end", partition=0)

    assert read() == [first, last]


def test_reading_moves_no_offset_and_joins_no_group(topic: str) -> None:
    written = write(topic, partition=0, count=2)

    assert read() == read() == written


def test_each_partition_has_its_positions(topic: str) -> None:
    write(topic, partition=0, count=3)
    positions.move(0, to=Position(topic_id=topic_id(), next_offset=NextOffset(1)))

    nothing = Positions(first=FirstOffset(0), next_to_decide=NextOffset(0), end=EndOffset(0))
    assert backlog.positions(timeout_s=10) == {
        0: Positions(first=FirstOffset(0), next_to_decide=NextOffset(1), end=EndOffset(3)),
        1: nothing,
        2: nothing,
    }


def test_the_whole_log_is_read_to_where_it_ended(topic: str) -> None:
    written = write(topic, partition=0, count=3)
    broker.write(topic, b"broken", partition=0)
    positions.move(0, to=Position(topic_id=topic_id(), next_offset=NextOffset(2)))
    at = backlog.positions(timeout_s=10)
    write(topic, partition=0, count=1)

    entries = list(backlog.read_all(at, patience_s=10))

    # Past the told end it may go on, never stop short of it.
    read = [(*place, request and request.event) for place, request in entries]
    assert read[:4] == [*written, (0, 3, None)]


@pytest.mark.parametrize("question", [backlog.read, backlog.positions])
def test_a_broker_that_is_away_is_told_in_time(question: object, monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = replace(settings.CONFIG.kafka, bootstrap_servers=f"127.0.0.1:{free_port()}")
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, kafka=kafka))

    started = time.monotonic()
    with pytest.raises(LogUnavailable):
        question(timeout_s=0.5)  # type: ignore[operator]

    assert time.monotonic() - started < 3


def test_a_topic_that_is_not_there_is_told(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = replace(settings.CONFIG.kafka, topic=f"{topic}.none")
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, kafka=kafka))

    with pytest.raises(LogUnavailable):
        backlog.read(timeout_s=3)
