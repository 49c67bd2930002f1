"""The log's events as verify keeps them: the first place of each request, and the later ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from uuid import UUID

from coupons.eventlog.backlog import Positions
from coupons.eventlog.events import IssueRequest
from coupons.eventlog.place import FirstOffset, NextOffset, Place


class Events:
    """Gets the log's messages, in order. With ``coupon_id``, other coupons' readable events are left out.

    ``first``: each request's first event; ``again``: later ones; ``unreadable``: places without an event.
    """

    def __init__(self, positions: Mapping[int, Positions], *, coupon_id: int | None) -> None:
        self.coupon_id = coupon_id
        self.first: dict[UUID, IssueRequest] = {}
        self.again: defaultdict[UUID, set[Place]] = defaultdict(set)
        self.unreadable: set[Place] = set()
        self._retained = {partition: at.first for partition, at in positions.items()}
        self.read_to = {partition: NextOffset(max(at.first, at.end)) for partition, at in positions.items()}

    def add(self, place: Place, request: IssueRequest | None) -> None:
        self.read_to[place.partition] = max(self.read_to[place.partition], place.following)
        if request is None:
            self.unreadable.add(place)
            return
        if self.coupon_id not in (None, request.event.coupon_id):
            return
        request_id = request.event.request_id
        if self.first.setdefault(request_id, request) is not request:
            self.again[request_id].add(place)

    def gone_before(self, first: Mapping[int, FirstOffset]) -> None:
        """Note that retention deleted events below these offsets, by partition, while the log was read."""
        for partition, offset in first.items():
            self._retained[partition] = max(offset, self._retained.get(partition, offset))

    def is_gone(self, place: Place | None) -> bool:
        """Whether retention has deleted the message at this place."""
        first = None if place is None else self._retained.get(place.partition)
        return place is not None and first is not None and place.offset < first

    def is_whole(self) -> bool:
        """Whether nothing was ever deleted from the log."""
        return not any(self._retained.values())

    def stands_at(self, request_id: UUID, place: Place | None) -> bool:
        request = self.first.get(request_id)
        return request is not None and (request.place == place or place in self.again.get(request_id, ()))
