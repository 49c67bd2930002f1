"""Which partitions the client fetches, told to it as the group's protocol wants it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from confluent_kafka import Consumer, TopicPartition


class Fetching:
    """For the loop's thread alone, its callbacks included.

    In an eager group all partitions go and come together, and the client is told the whole each time. In an
    incremental one it is told of changes alone, so that what stays is fetched on.
    """

    def __init__(self, client: Consumer, *, topic: str, is_incremental: bool) -> None:
        self._client = client
        self._topic = topic
        self._is_incremental = is_incremental
        self._fetched: set[int] = set()

    def assigned(self) -> None:
        """Answer an assignment, in its callback: nothing new is fetched before its position is known."""
        if self._is_incremental:
            self._client.incremental_assign([])
        else:
            self._client.assign([])

    def revoked(self, partitions: Collection[int]) -> None:
        """Answer a revocation, in its callback: these are fetched no more."""
        if self._is_incremental:
            self._end(self._fetched & set(partitions))
        # In an eager group the binding ends all by itself.

    def begin(self, assignment: Sequence[TopicPartition], *, anew: Collection[int]) -> None:
        """Fetch these partitions alone, from these offsets; incrementally, ``anew`` says which changed."""
        if not self._is_incremental:
            self._client.assign(list(assignment))
            self._client.resume(list(assignment))  # librdkafka keeps a pause across assignments
            return
        wanted = {each.partition for each in assignment}
        if gone := self._fetched & (set(anew) | (self._fetched - wanted)):
            self._end(gone)
        if new := [each for each in assignment if each.partition not in self._fetched]:
            self._client.incremental_assign(new)
            self._client.resume(new)
            self._fetched |= {each.partition for each in new}

    def stop(self) -> None:
        """Fetch nothing until ``begin``."""
        if self._is_incremental:
            self._end(set(self._fetched))
        else:
            self._client.assign([])

    def _end(self, partitions: set[int]) -> None:
        self._client.incremental_unassign([TopicPartition(self._topic, each) for each in sorted(partitions)])
        self._fetched -= partitions
