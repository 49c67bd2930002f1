"""The log's events as verify keeps them: where each request stands, first and again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from uuid import UUID

from coupons.eventlog.backlog import Entry, Positions
from coupons.eventlog.events import CouponIssueEvent
from coupons.operations.verification.decided import Place


class Events:
    """Fed with the log's entries in order. With ``coupon_id``, readable events of others are left out.

    ``first``: the first place of each request; ``again``: where it is once more; ``unreadable``: places.
    """

    def __init__(self, positions: Mapping[int, Positions], *, coupon_id: int | None) -> None:
        self.coupon_id = coupon_id
        self.first: dict[UUID, Entry] = {}
        self.again: defaultdict[UUID, set[Place]] = defaultdict(set)
        self.unreadable: set[tuple[int, int]] = set()
        self._retained = {partition: at.first for partition, at in positions.items()}
        self.read_to = {partition: max(at.first, at.end) for partition, at in positions.items()}

    def add(self, entry: Entry) -> None:
        self.read_to[entry.partition] = max(self.read_to[entry.partition], entry.offset + 1)
        if entry.event is None:
            self.unreadable.add(place_of(entry))
            return
        if self.coupon_id not in (None, entry.event.coupon_id):
            return
        request_id = entry.event.request_id
        if self.first.setdefault(request_id, entry) is not entry:
            self.again[request_id].add(place_of(entry))

    def gone_before(self, first: Mapping[int, int]) -> None:
        """Retention went on while the log was read: nothing is known below these offsets, by partition."""
        for partition, offset in first.items():
            self._retained[partition] = max(offset, self._retained.get(partition, 0))

    def is_gone(self, place: Place) -> bool:
        """Retention has taken what stood there."""
        partition, offset = place
        at = None if partition is None else self._retained.get(partition)
        return at is not None and offset is not None and offset < at

    def is_whole(self) -> bool:
        """Nothing was ever deleted from the log."""
        return not any(self._retained.values())

    def stands_at(self, request_id: UUID, place: Place) -> bool:
        entry = self.first.get(request_id)
        return entry is not None and (place_of(entry) == place or place in self.again.get(request_id, ()))


def place_of(entry: Entry) -> tuple[int, int]:
    return entry.partition, entry.offset


def event_of(entry: Entry) -> CouponIssueEvent:
    if entry.event is None:
        raise RuntimeError("an unreadable entry has no event")
    return entry.event
