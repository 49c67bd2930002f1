"""What the loop takes for granted of whatever decides its batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from confluent_kafka import Message
from django.db import Error as DatabaseLayerError

from consumer.dead_letters import DeadLettersNotAcknowledged, TooManyDeadLetters
from consumer.partitions import AssignedPartitions
from coupons.issuing.deciding import StockChangedUnderLock

#: After these errors the same batch is tried again, in place and in order, for as long as they last. Any
#: other error is a bug and ends the process with its trace: the position has not moved, the events come
#: again.
RECOVERABLE: Final = (
    DatabaseLayerError,
    DeadLettersNotAcknowledged,
    StockChangedUnderLock,
    TooManyDeadLetters,  # halts: partitions stay assigned, pauses grow, until an operator acts
)


class Processor(Protocol):
    """Decides batches. Called in the loop's thread."""

    def process(
        self,
        messages: Sequence[Message],
        assigned: AssignedPartitions,
        next_batch: Callable[[], Sequence[Message]],
    ) -> None:
        """Decide these messages durably and move the positions past them.

        ``next_batch`` is called while the database works; it polls, so partitions may come and go meanwhile.
        Raises PositionMoved, one of RECOVERABLE, or an error that ends the process.
        """

    def tell(self) -> None:
        """Tell the log and Redis of the last batch, if that was left to the time of the next one."""
