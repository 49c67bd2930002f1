"""How far the log is decided: a row for each group and partition, moved by the transaction that decides.

Every event before the row's offset has an outcome in this very database; for events at or beyond it, the log
alone holds the promise of one. A restored database or a promoted replica brings its own rows, so that exactly
the events that it forgot are decided again. Kafka's committed offset is a copy for tools. See
docs/decisions/deciding.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from coupons.eventlog.place import EndOffset, FirstOffset, NextOffset
from coupons.models import LogPosition


class PositionMoved(RuntimeError):
    """A row differs from what this consumer last saw: the database went back, or another consumer went on."""

    def __init__(self, partitions: Collection[int]) -> None:
        super().__init__(f"the position in partitions {sorted(partitions)} is not where it was left")
        self.partitions = frozenset(partitions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The next offset to decide, and the topic that it counts in: Kafka's id, "" where the broker has none.

    ``lost_end``: the log once ended there, below the position, because the broker lost the rest.
    """

    topic_id: str
    next_offset: NextOffset
    lost_end: EndOffset | None = None

    @property
    def undecided_from(self) -> NextOffset:
        """The first undecided offset. After a lost end it is the end, because new events begin there."""
        return self.next_offset if self.lost_end is None else NextOffset(self.lost_end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """A partition's step in one transaction: from the row as it was seen to the offset after the step."""

    partition: int
    seen: Position
    next_offset: NextOffset

    @property
    def reached(self) -> Position:
        return Position(topic_id=self.seen.topic_id, next_offset=self.next_offset)


def stored() -> dict[int, Position]:
    """This group's rows, by partition."""
    return {row.partition: _position(row) for row in _rows()}


def start(
    row: Position | None, *, topic_id: str, committed: NextOffset | None, first: FirstOffset
) -> Position:
    """The position from which a partition is decided. Pure.

    A topic that was made anew under the old one's name begins at 0. A group without a row takes over its
    ``committed`` offset in Kafka, and begins at the log's ``first`` if it has none.
    """
    if row is None:
        return Position(topic_id=topic_id, next_offset=NextOffset(first) if committed is None else committed)
    if topic_id and row.topic_id and row.topic_id != topic_id:
        return Position(topic_id=topic_id, next_offset=NextOffset(0))
    return Position(topic_id=topic_id or row.topic_id, next_offset=row.next_offset, lost_end=row.lost_end)


def advance(advances: Sequence[Advance]) -> None:
    """Move these rows, which locks them, inside the transaction that decides the events in between.

    Raises PositionMoved if one of them differs from what was seen.
    """
    now = timezone.now()
    for each in sorted(advances, key=attrgetter("partition")):
        seen = each.seen
        row = _rows([each.partition]).filter(
            topic_id=seen.topic_id, next_offset=seen.next_offset, lost_end=seen.lost_end
        )
        if not row.update(next_offset=each.next_offset, updated_at=now):
            raise PositionMoved([each.partition])


def take_over(found: Mapping[int, Position | None], begin: Mapping[int, Position]) -> dict[int, Position]:
    """Write the positions in ``begin`` whose rows differ from them; returns the rows as they are afterwards.

    ``found``: the rows from which ``begin`` was computed. A row that changed since stays as it is: another
    consumer was faster.
    """
    with transaction.atomic():
        rows = {row.partition: row for row in _rows(begin).select_for_update().order_by("partition")}
        for partition, position in begin.items():
            row = rows.get(partition)
            if row is None:
                _make(partition, position)
            elif _position(row) == found.get(partition) != position:
                _write(partition, position)
    return {partition: position for partition, position in stored().items() if partition in begin}


def forget_former(topic_id: str, partitions: Collection[int]) -> dict[int, Position]:
    """Delete a former topic's rows for partitions that the present topic does not have.

    ``topic_id`` and ``partitions``: the present topic's. Returns the deleted rows.
    """
    if not topic_id:
        return {}
    rows = _rows().exclude(partition__in=list(partitions)).exclude(topic_id__in=["", topic_id])
    former = {row.partition: _position(row) for row in rows}
    if former:
        rows.filter(partition__in=list(former)).delete()
    return former


def halt(partition: int, *, seen: Position, end: EndOffset) -> None:
    """Let the partition stand still until an operator accepts the loss: the log ends below our position."""
    rows = _rows([partition]).filter(topic_id=seen.topic_id, next_offset=seen.next_offset)
    rows.update(lost_end=end, updated_at=timezone.now())


def halted_at_ms() -> dict[int, int]:
    """When each lost end was found, by partition, in Unix milliseconds."""
    halted = _rows().filter(lost_end__isnull=False).values_list("partition", "updated_at")
    return {partition: int(updated_at.timestamp() * 1000) for partition, updated_at in halted}


def move(partition: int, *, to: Position) -> None:
    """Set a row, whatever it holds; consumers notice within a second and go on from the new position."""
    with transaction.atomic():
        if not _rows([partition]).select_for_update().exists():
            _make(partition, to)
        _write(partition, to)


def move_back(offsets: Mapping[int, NextOffset]) -> None:
    """Move rows that are beyond these offsets back to them, by partition. Replays change nothing."""
    with transaction.atomic():
        for partition, offset in sorted(offsets.items()):
            _rows([partition]).filter(next_offset__gt=offset).update(
                next_offset=offset, updated_at=timezone.now()
            )


def _make(partition: int, position: Position) -> None:
    """Make a row. If another consumer makes it at the same moment, the other one's stands."""
    kafka = settings.CONFIG.kafka
    LogPosition.objects.get_or_create(
        group_id=kafka.group_id,
        topic=kafka.topic,
        partition=partition,
        defaults={"topic_id": position.topic_id, "next_offset": position.next_offset},
    )


def _write(partition: int, position: Position) -> None:
    _rows([partition]).update(
        topic_id=position.topic_id,
        next_offset=position.next_offset,
        lost_end=position.lost_end,
        updated_at=timezone.now(),
    )


def _rows(partitions: Collection[int] | None = None) -> QuerySet[LogPosition]:
    kafka = settings.CONFIG.kafka
    rows = LogPosition.objects.filter(group_id=kafka.group_id, topic=kafka.topic)
    return rows if partitions is None else rows.filter(partition__in=list(partitions))


def _position(row: LogPosition) -> Position:
    lost_end = None if row.lost_end is None else EndOffset(row.lost_end)
    return Position(topic_id=row.topic_id, next_offset=NextOffset(row.next_offset), lost_end=lost_end)
