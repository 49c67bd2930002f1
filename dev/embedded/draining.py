"""Before the consumer and the broker stop: wait until every accepted event is decided.

Without Django, which the supervisor does not import: the broker's ends, the database file's positions.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing

from confluent_kafka import Consumer, KafkaException, TopicPartition

from dev.embedded.settings import EmbeddedSettings
from dev.embedded.signals import StopRequest
from dev.embedded.stack import Server
from dev.processes import Process, say
from dev.servers import SILENT

DRAINED_WITHIN_S = 30.0
TELL_EVERY_S = 2.0
_TIMEOUT_S = 5.0
_SILENCE_S = 0.5  #: nothing read for so long: the end of the log
_READS = 10  #: a bound, should somebody still produce


def drain(*, settings: EmbeddedSettings, broker: Server, consumer: Process, stop: StopRequest) -> bool:
    """Wait until the consumer has decided everything, and say how it went. True if nothing is left.

    Call it when the API has stopped. It ends early on a second Ctrl-C, and when the consumer is gone.
    """
    if not broker.process.running:
        say("  the broker has ended: what was accepted and not decided ended with its memory")
        return False
    say("  the consumer: deciding what has been accepted")
    try:
        ends = _ends(settings, broker)
    except KafkaException as error:
        say(f"  the broker does not answer, so some accepted requests may not be decided: {error.args[0]}")
        return False
    left = _wait_decided(settings, ends, consumer, stop)
    if left:
        say(f"  accepted requests that were not decided and end with the broker's memory: {left}")
    else:
        say("  every accepted request is decided")
    return left == 0


def _wait_decided(
    settings: EmbeddedSettings, ends: Mapping[int, int], consumer: Process, stop: StopRequest
) -> int:
    told = time.monotonic()
    deadline = told + DRAINED_WITHIN_S
    while left := undecided(ends=ends, decided=_positions(settings)):
        if not consumer.running or time.monotonic() > deadline or stop.at_once.wait(0.2):
            break
        if time.monotonic() - told > TELL_EVERY_S:
            told = time.monotonic()
            say(f"  accepted requests left to decide: {left}")
    return left


def _positions(settings: EmbeddedSettings) -> dict[int, int]:
    with closing(sqlite3.connect(settings.database, timeout=_TIMEOUT_S)) as connection:
        return dict(
            connection.execute(
                "SELECT partition, next_offset FROM coupon_log_position WHERE group_id = ? AND topic = ?",
                (settings.group_id, settings.topic),
            )
        )


def _ends(settings: EmbeddedSettings, broker: Server) -> dict[int, int]:
    """The next offset of each partition, when nobody produces any more. Raises KafkaException.

    Tansu's high watermark leaves out all but the first event of the last batch, so the log is read on
    from there until nothing more comes.
    """
    # Assigning by hand does not join the group.
    config = {"bootstrap.servers": broker.address, "group.id": settings.group_id, "fetch.wait.max.ms": 100}
    client = Consumer(config | {"enable.auto.commit": False}, logger=SILENT)
    try:
        metadata = client.list_topics(settings.topic, timeout=_TIMEOUT_S).topics[settings.topic]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        places = [TopicPartition(settings.topic, partition) for partition in metadata.partitions]
        for place in places:
            _, place.offset = client.get_watermark_offsets(place, timeout=_TIMEOUT_S)
        client.assign(places)
        ends = {place.partition: place.offset for place in places}
        for _ in range(_READS):
            if not (messages := client.consume(num_messages=10_000, timeout=_SILENCE_S)):
                break
            for message in messages:
                partition, offset = message.partition(), message.offset()
                if (error := message.error()) is not None or partition is None or offset is None:
                    raise KafkaException(error)
                ends[partition] = max(ends[partition], offset + 1)
        return ends
    finally:
        client.close()


def undecided(*, ends: Mapping[int, int], decided: Mapping[int, int]) -> int:
    """Pure: sum of what is left. A partition that no consumer was given has no position."""
    return sum(max(0, end - decided.get(partition, 0)) for partition, end in ends.items())
