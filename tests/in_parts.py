"""What stands in for a producer answers in one part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from coupons.eventlog.delivery import Receipt, Record


class Publisher(ABC):
    @abstractmethod
    def publish(self, records: Sequence[Record]) -> list[Receipt]: ...

    def publish_in_parts(
        self, records: Sequence[Record], *, since: float | None = None
    ) -> Iterator[dict[int, Receipt]]:
        yield dict(enumerate(self.publish(records)))
