"""How each part is, and how far each partition is behind. Waits for servers: in the board's thread alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from confluent_kafka import KafkaException
from django.conf import settings
from django.db.models import Count

from coupons.eventlog import kafka_client
from coupons.gate.admission import GateUnavailable, gate
from coupons.models import DeadLetter, DeadLetterState, LogPosition

_ANSWER_S: Final = 1.0  #: longer, and the page stands still while the broker is away
#: The position moves with every batch. One that did not for so long, with events behind it, stands still.
_STANDS_AFTER_S: Final = 10.0
#: The broker is asked by one process in the system, this often at most.
_ENDS_EVERY_S: Final = 1.0
_SLOW_S: Final = 0.5
#: Events: more than a batch or two, so that users begin to notice.
_BEHIND: Final = 2_000


class Word(StrEnum):
    """How a part is; the page has a sentence for each."""

    WELL = "WELL"
    SLOW = "SLOW"
    AWAY = "AWAY"
    IDLE = "IDLE"
    BEHIND = "BEHIND"
    STANDS_STILL = "STANDS_STILL"
    WAITING = "WAITING"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How far a partition is behind; ``events`` None if the broker does not say where the log ends."""

    partition: int
    events: int | None
    decided_ms: int  #: when the position moved last
    is_lost: bool  #: its log lost its end: it waits for an operator


def lags() -> tuple[list[Lag], bool]:
    """Each partition's lag, and whether the broker answered. Raises database errors."""
    kafka = settings.CONFIG.kafka
    rows = LogPosition.objects.filter(group_id=kafka.group_id, topic=kafka.topic).order_by("partition")
    ends = _ends()
    found = [
        Lag(
            partition=row.partition,
            events=None if ends is None else max(0, ends.get(row.partition, 0) - row.next_offset),
            decided_ms=int(row.updated_at.timestamp() * 1000),
            is_lost=row.lost_end is not None,
        )
        for row in rows
    ]
    return found, ends is not None


_ends_kept: tuple[float, Mapping[int, int] | None] = (float("-inf"), None)


def _ends() -> Mapping[int, int] | None:
    global _ends_kept
    if time.monotonic() - _ends_kept[0] > _ENDS_EVERY_S:
        try:
            ends: Mapping[int, int] | None = kafka_client.ends(timeout_s=_ANSWER_S)
        except KafkaException:
            ends = None
        _ends_kept = (time.monotonic(), ends)
    return _ends_kept[1]


def parts(*, database_s: float, found: list[Lag], broker_answers: bool) -> list[dict[str, Any]]:
    """Each part, its word and a number. ``database_s``: how long the database took for this snapshot."""
    database = Word.SLOW if database_s > _SLOW_S else Word.WELL
    letters = DeadLetter.objects.filter(state=DeadLetterState.WAITING).aggregate(count=Count("pk"))["count"]
    return [
        {"part": "database", "word": database, "number": round(database_s, 3)},
        {"part": "redis", "word": _redis(), "number": None},
        {"part": "kafka", "word": Word.WELL if broker_answers else Word.AWAY, "number": None},
        _deciding(found),
        {"part": "letters", "word": Word.WAITING if letters else Word.WELL, "number": letters},
    ]


def _redis() -> Word:
    try:
        gate.reserved(0)
    except GateUnavailable:
        return Word.AWAY
    return Word.WELL


def _deciding(found: list[Lag]) -> dict[str, Any]:
    """Whether what waits is decided. ``number``: events that wait, in all partitions."""
    behind = sum(each.events or 0 for each in found)
    now_ms = time.time() * 1000
    stands = [
        each for each in found if each.events and now_ms - each.decided_ms > _STANDS_AFTER_S * 1000
    ] or [each for each in found if each.is_lost]
    word = (
        Word.STANDS_STILL if stands else Word.BEHIND if behind > 1_000 else Word.WELL if behind else Word.IDLE
    )
    return {"part": "deciding", "word": word, "number": behind}
