"""The producer on a real broker: an acknowledgement is a place in the log, and keys go where Java's go."""

from __future__ import annotations

import io
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace

import gevent
import gevent.event
import pytest
from django.conf import settings
from django.core.management import call_command
from prometheus_client import REGISTRY

from coupons.eventlog import watchdog
from coupons.eventlog.delivery import Acknowledged, NotPublished, Record, Uncertain
from coupons.eventlog.events import partition_key, partition_of
from coupons.eventlog.producer import EventProducer, close_event_producer, event_producer
from dev.processes import free_port
from tests import broker
from tests.system import eventually


def test_an_acknowledgement_is_a_place_in_the_log(topic: str) -> None:
    records = [Record(key=b"k", value=b"%d" % n) for n in range(20)]

    receipts = event_producer().publish(records)

    written = {(m.partition(), m.offset()): m.value() for m in broker.read(topic, count=20)}
    assert all(isinstance(receipt, Acknowledged) for receipt in receipts)
    assert [written[receipt.place] for receipt in receipts if isinstance(receipt, Acknowledged)] == [
        record.value for record in records
    ]


def test_a_keys_records_keep_the_order_they_were_given_in(topic: str) -> None:
    receipts = event_producer().publish([Record(key=b"k", value=b"x") for _ in range(200)])

    offsets = [receipt.place.offset for receipt in receipts if isinstance(receipt, Acknowledged)]
    assert offsets == sorted(offsets)
    assert len({receipt.place.partition for receipt in receipts if isinstance(receipt, Acknowledged)}) == 1


def test_keys_go_to_the_partition_that_java_gives_them(topic: str) -> None:
    keys = [partition_key(coupon_id) for coupon_id in (*range(1, 13), 2**63 - 1)]

    receipts = event_producer().publish([Record(key=key, value=b"x") for key in keys])

    partitions = [receipt.place.partition for receipt in receipts if isinstance(receipt, Acknowledged)]
    assert partitions == [partition_of(key, settings.CONFIG.kafka.partitions) for key in keys]
    assert len(set(partitions)) == 3


def test_headers_key_and_value_arrive_as_they_are(topic: str) -> None:
    record = Record(key=None, value=None, headers=[("reason", "쿠폰".encode()), ("empty", b"")])

    event_producer().publish([record])

    [message] = broker.read(topic, count=1)
    assert (message.key(), message.value()) == (None, None)
    assert message.headers() == record.headers


def test_another_topic_can_be_named(topic: str) -> None:
    event_producer().publish([Record(topic=f"{topic}.DLT", key=b"k", value=b"dead")])

    assert broker.read(f"{topic}.DLT", count=1)[0].value() == b"dead"


def test_many_threads_share_the_processs_producer(topic: str) -> None:
    by_thread: defaultdict[int, list[object]] = defaultdict(list)

    def publish(thread: int) -> None:
        for n in range(20):
            by_thread[thread] += event_producer().publish([Record(key=b"k", value=b"%d %d" % (thread, n))])

    threads = [threading.Thread(target=publish, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    written = {m.offset(): m.value() for m in broker.read(topic, count=160)}
    for number, receipts in by_thread.items():
        places = [receipt.place.offset for receipt in receipts if isinstance(receipt, Acknowledged)]
        assert [written[place] for place in places] == [b"%d %d" % (number, n) for n in range(20)]
    assert len(by_thread) == 8


def test_publishing_is_timed(topic: str) -> None:
    before = REGISTRY.get_sample_value("coupon_publish_seconds_count") or 0

    event_producer().publish([Record(key=b"k", value=b"x")])

    assert REGISTRY.get_sample_value("coupon_publish_seconds_count") == before + 1


def test_closing_delivers_what_is_queued(topic: str) -> None:
    def publish() -> None:
        receipts.extend(own.publish([Record(key=b"k", value=b"x") for _ in range(50)]))

    receipts: list[object] = []
    own = EventProducer()
    thread = threading.Thread(target=publish)
    thread.start()
    eventually(lambda: own.held > 0 or bool(receipts), within_s=5)

    own.close()
    thread.join(10)

    assert len(receipts) == 50
    assert len(broker.read(topic, count=50)) == 50


def test_a_process_has_one_producer_until_it_closes_it(topic: str) -> None:
    first = event_producer()
    assert event_producer() is first

    close_event_producer()
    close_event_producer()

    assert event_producer() is not first
    assert isinstance(event_producer().publish([Record(key=b"k", value=b"x")])[0], Acknowledged)
    eventually(lambda: not event_producer().refuses_some)


def test_a_record_too_large_is_certainly_not_published(topic: str) -> None:
    [receipt] = event_producer().publish([Record(key=b"k", value=b"x" * 2_000_000)])

    assert isinstance(receipt, NotPublished)


@pytest.mark.services_only
def test_a_topic_that_takes_small_batches_only_is_given_those(topic: str) -> None:
    """Somebody lowered max.message.bytes: single claims pass, a rush of them would not."""
    broker.alter_topic(topic, {"max.message.bytes": "2000"})
    records = [Record(key=b"k", value=b"x" * 130) for _ in range(60)]
    publisher = EventProducer()
    try:
        refused = publisher.publish(records)
        eventually(lambda: all(isinstance(each, Acknowledged) for each in publisher.publish(records)))
    finally:
        publisher.close()

    assert any(isinstance(each, NotPublished) for each in refused)


def rebuilds() -> float:
    return REGISTRY.get_sample_value("coupon_producer_rebuilds_total") or 0.0


def test_after_a_failure_on_a_live_broker_the_producer_is_made_anew(
    topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = event_producer()
    before = rebuilds()

    own.publish([Record(key=b"k", value=b"x" * 2_000_000)])

    eventually(lambda: rebuilds() == before + 1, within_s=5)
    assert isinstance(own.publish([Record(key=b"k", value=b"x")])[0], Acknowledged)


@pytest.fixture
def publishing_in_a_loop(in_a_loop: None) -> Iterator[None]:
    yield
    close_event_producer()  # made in the loop, so closed in it


@pytest.mark.usefixtures("publishing_in_a_loop")
def test_in_a_loop_greenlets_wait_side_by_side(topic: str) -> None:
    turns: list[int] = []

    def go_on() -> None:
        while len(turns) < 1000:
            turns.append(1)
            gevent.sleep(0.001)

    def publish(number: int) -> object:
        [receipt] = event_producer().publish([Record(key=b"k", value=b"%d" % number)])
        return receipt

    others = gevent.spawn(go_on)
    publishing = [gevent.spawn(publish, number) for number in range(20)]
    gevent.joinall(publishing, timeout=20, raise_error=True)
    others.kill()

    receipts = [each.value for each in publishing]
    assert all(isinstance(receipt, Acknowledged) for receipt in receipts)
    assert turns  # the loop was never held up


@pytest.mark.usefixtures("publishing_in_a_loop", "topic")
def test_in_a_loop_a_broker_that_is_away_is_waited_for_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = replace(settings.CONFIG.kafka, bootstrap_servers=f"127.0.0.1:{free_port()}")
    timing = replace(settings.CONFIG.producer, publish_timeout_ms=500)
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, kafka=kafka, producer=timing))
    own = EventProducer()

    publishing = gevent.spawn(own.publish, [Record(key=b"k", value=b"x")])
    publishing.join(timeout=5)

    [receipt] = publishing.value
    assert isinstance(receipt, Uncertain | NotPublished)
    own.close()


@pytest.mark.usefixtures("publishing_in_a_loop", "topic")
def test_in_a_loop_who_waits_is_woken_by_a_rebuild_in_the_loops_own_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The watchdog purges the old producer: librdkafka reports in the watchdog's thread.

    What the old one held is uncertain: it may have been sent before, and its acknowledgement lost on the way,
    so its slot must be kept.
    """
    there = settings.CONFIG
    kafka = replace(there.kafka, bootstrap_servers=f"127.0.0.1:{free_port()}")
    monkeypatch.setattr(settings, "CONFIG", replace(there, kafka=kafka))
    own = EventProducer()
    monkeypatch.setattr(settings, "CONFIG", there)
    woken_in: list[int] = []
    set_event = gevent.event.Event.set

    def noting_set(event: gevent.event.Event) -> None:
        woken_in.append(threading.get_ident())
        set_event(event)

    monkeypatch.setattr("runtime.greenlets.gevent.event.Event", noting(noting_set))
    publishing = gevent.spawn(own.publish, [Record(key=b"k", value=b"x")] * 3)
    gevent.sleep(0.2)
    started = time.monotonic()
    rebuilding = threading.Thread(target=own.rebuild, args=("for the test",))
    rebuilding.start()
    publishing.join(timeout=10)

    took_s = time.monotonic() - started
    assert took_s < settings.CONFIG.producer.publish_timeout_ms / 1000  # by the report, not by its absence
    assert all(isinstance(receipt, Uncertain) for receipt in publishing.value)
    assert set(woken_in) == {threading.get_ident()}
    rebuilding.join(10)
    own.close()


def noting(set_event: Callable[[gevent.event.Event], None]) -> type[gevent.event.Event]:
    return type("NotingEvent", (gevent.event.Event,), {"set": set_event})


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> EventProducer:
    """A producer whose broker is not there. The settings say where it is, for the next one."""
    there = settings.CONFIG
    kafka = replace(there.kafka, bootstrap_servers=f"127.0.0.1:{free_port()}")
    timing = replace(there.producer, publish_timeout_ms=500)
    monkeypatch.setattr(settings, "CONFIG", replace(there, kafka=kafka, producer=timing))
    monkeypatch.setattr(watchdog, "PROBE_TIMEOUT_S", 0.3)
    own = EventProducer()
    monkeypatch.setattr(settings, "CONFIG", replace(there, producer=timing))
    return own


def test_without_a_broker_each_record_is_answered_in_time(nowhere: EventProducer) -> None:
    started = time.monotonic()

    receipts = nowhere.publish([Record(key=b"k", value=b"x")] * 3)

    assert time.monotonic() - started < 3
    assert len(receipts) == 3
    assert all(isinstance(receipt, Uncertain | NotPublished) for receipt in receipts)
    nowhere.close()


def test_what_the_buffer_cannot_hold_is_certainly_not_published(
    topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(settings.CONFIG.producer, buffer_kbytes=64, linger_ms=50)
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, producer=small))
    own = EventProducer()

    receipts = own.publish([Record(key=b"k", value=b"x" * 20_000) for _ in range(10)])

    kinds = [type(receipt) for receipt in receipts]
    assert kinds == [Acknowledged] * kinds.count(Acknowledged) + [NotPublished] * kinds.count(NotPublished)
    assert 0 < kinds.count(Acknowledged) < 10
    own.close()


def test_once_the_broker_is_known_to_be_away_nothing_waits_and_nothing_is_queued(
    nowhere: EventProducer,
) -> None:
    eventually(lambda: nowhere.is_down, within_s=5)
    assert nowhere.refuses_some

    started = time.monotonic()
    receipts = nowhere.publish([Record(key=b"k", value=b"x")] * 3)

    took_s = time.monotonic() - started
    assert took_s < settings.CONFIG.producer.publish_timeout_ms / 1000  # whoever waits does so for all of it
    assert all(isinstance(receipt, NotPublished) for receipt in receipts)
    assert nowhere.held == 0
    assert REGISTRY.get_sample_value("coupon_producer_up") == 0
    nowhere.close()


def test_a_producer_that_finds_no_broker_is_made_anew(
    topic: str, nowhere: EventProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As librdkafka stays when a broker that came back named no brokers; here it never knew one."""
    monkeypatch.setattr(watchdog, "PATIENCE_S", 0.5)
    before = rebuilds()

    eventually(
        lambda: isinstance(nowhere.publish([Record(key=b"k", value=b"x")])[0], Acknowledged), within_s=15
    )

    assert rebuilds() > before
    nowhere.close()


def test_a_missing_topic_is_told_as_down_and_found_when_it_is_made(
    topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka = replace(settings.CONFIG.kafka, topic=f"{topic}.later", dead_letter_topic=f"{topic}.later.DLT")
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, kafka=kafka))
    own = EventProducer()
    call_command("create_topics", stdout=io.StringIO())

    eventually(lambda: isinstance(own.publish([Record(key=b"k", value=b"x")])[0], Acknowledged), within_s=15)

    eventually(lambda: not own.is_down)  # a look that began before it was made may say so once more
    own.close()
