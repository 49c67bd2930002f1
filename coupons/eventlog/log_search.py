"""Looks for requests in the whole log, decided or not. It blocks its thread: never in the loop."""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from typing import Final
from uuid import UUID

from confluent_kafka import Consumer, TopicPartition
from django.conf import settings

from coupons.eventlog import log_reader
from coupons.eventlog.place import EndOffset, NextOffset, Place, Stretch

_REQUEST_ID: Final = re.compile(rb'"eventId"\s*:\s*"([0-9a-fA-F-]{36})"')


def find(request_ids: Collection[UUID], *, since_ms: int, patience_s: float) -> dict[UUID, Place]:
    """The first place in the log of each of these requests, decided or not.

    Reads the messages that were written since ``since_ms`` (Unix). Raises LogUnavailable after
    ``patience_s`` without a message.
    """
    wanted = {str(request_id).encode(): request_id for request_id in request_ids}
    found: dict[UUID, Place] = {}
    with log_reader.reader() as reader:
        written = _written_since(reader, since_ms, patience_s)
        for message in log_reader.messages(reader, written, lambda: patience_s):
            value = message.value()
            match = _REQUEST_ID.search(value) if isinstance(value, bytes) else None
            request_id = wanted.get(match[1].lower()) if match else None
            if request_id is not None and request_id not in found:
                found[request_id] = log_reader.place(message)
                if len(found) == len(wanted):
                    break
    return found


def begins_at_ms(*, timeout_s: float) -> int:
    """Since when the log is whole, in Unix milliseconds: events written before may have been deleted.

    0 if nothing was deleted. Raises LogUnavailable.
    """
    with log_reader.reader() as reader:
        return max(
            (
                _begins_at_ms(reader, partition, timeout_s)
                for partition in log_reader.partitions(reader, timeout_s)
            ),
            default=0,
        )


def _begins_at_ms(reader: Consumer, partition: int, timeout_s: float) -> int:
    at = TopicPartition(settings.CONFIG.kafka.topic, partition)
    first, end = reader.get_watermark_offsets(at, timeout=timeout_s)
    if first == 0:
        return 0
    left = log_reader.deadline(timeout_s)
    all_there_is = {partition: Stretch(NextOffset(first), EndOffset(end))}
    for message in log_reader.messages(reader, all_there_is, left) if first < end else ():
        kind, written_ms = message.timestamp()
        return int(written_ms) if kind else time.time_ns() // 1_000_000
    return time.time_ns() // 1_000_000


def _written_since(reader: Consumer, since_ms: int, timeout_s: float) -> dict[int, Stretch]:
    """The stretch of each partition that was written since then."""
    topic = settings.CONFIG.kafka.topic
    asked = [
        TopicPartition(topic, partition, since_ms) for partition in log_reader.partitions(reader, timeout_s)
    ]
    stretches = {}
    for answer in reader.offsets_for_times(asked, timeout=timeout_s):
        low, high = reader.get_watermark_offsets(answer, timeout=timeout_s)
        # Negative: nothing was written since then.
        start = max(low, answer.offset) if answer.offset >= 0 else high
        stretches[answer.partition] = Stretch(NextOffset(start), EndOffset(high))
    return stretches
