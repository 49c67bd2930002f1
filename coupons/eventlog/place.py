"""Where things stand in the log. Pure.

Offsets count in one partition, and three of them bound what there is to do in it: ``FirstOffset`` <=
``NextOffset`` <= ``EndOffset``, as long as nothing was deleted or lost that was not decided.
"""

from __future__ import annotations

from typing import NamedTuple, NewType

FirstOffset = NewType("FirstOffset", int)  #: of a partition's first message that retention has left
NextOffset = NewType("NextOffset", int)  #: the first that is not done: not decided, not read, not committed
EndOffset = NewType("EndOffset", int)  #: the one after a partition's last message


class Place(NamedTuple):
    """Of one message, for as long as its topic lives. Places of one partition are in the log's order."""

    partition: int
    offset: int

    @property
    def following(self) -> NextOffset:
        """Where to go on once this message is done."""
        return NextOffset(self.offset + 1)


class Stretch(NamedTuple):
    """What to read of a partition: from ``start`` to the told ``end`` at least."""

    start: NextOffset
    end: EndOffset
