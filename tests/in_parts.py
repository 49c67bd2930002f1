"""What stands in for a producer answers in one part, and takes the claims of all coupons."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from coupons.eventlog.delivery import Receipt, Record


class Publisher(ABC):
    partitions: int = 1
    unpromising_partitions: frozenset[int] = frozenset()
    refuses_some: bool = False

    def refuses(self, coupon_id: int) -> bool:
        return False

    def takes(self, coupon_id: int) -> bool:
        return True

    @abstractmethod
    def publish(self, records: Sequence[Record]) -> list[Receipt]: ...

    def publish_in_parts(
        self, records: Sequence[Record], *, since: float | None = None
    ) -> Iterator[dict[int, Receipt]]:
        yield dict(enumerate(self.publish(records)))
