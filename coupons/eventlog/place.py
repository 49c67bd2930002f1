"""Places and offsets in the log. Pure.

Offsets count within one partition, and three of them bound the work in it: ``FirstOffset`` <=
``NextOffset`` <= ``EndOffset``, as long as no undecided event was deleted or lost.
"""

from __future__ import annotations

from typing import NamedTuple, NewType

FirstOffset = NewType("FirstOffset", int)  #: of the first message that retention has left in a partition
NextOffset = NewType("NextOffset", int)  #: of the first message not done: not decided, read or committed
EndOffset = NewType("EndOffset", int)  #: the one after a partition's last message


class Place(NamedTuple):
    """A message's place, for as long as its topic lives. Places of one partition are in the log's order."""

    partition: int
    offset: int

    @property
    def following(self) -> NextOffset:
        """The offset to go on with once this message is done."""
        return NextOffset(self.offset + 1)


class Stretch(NamedTuple):
    """A part of a partition to read: from ``start`` to the reported ``end`` at least."""

    start: NextOffset
    end: EndOffset
