"""One call to publish: records on their way to librdkafka or held by a circuit, and their receipts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from coupons.eventlog.circuits import REFUSAL, Circuits, Held, Way
from coupons.eventlog.delivery import Delivery, Receipt, Record, Uncertain

#: A publish that takes longer makes the watchdog look, and claims of its partition wait for it. Shorter, and
#: ordinary peaks do; longer, and more claims are uncertain after a leader's death.
_SLOW_S: Final = 0.5
#: Whoever claims on a partition that is tried again is answered after so long, acknowledged or not. Shorter,
#: and a broker that has just come back makes claims uncertain; longer, and a dead one keeps its claimant.
_PROBE_ANSWERED_S: Final = 0.8

Send = Callable[[Record, int, Delivery, float], None]


class Publication:
    """Belongs to the greenlet or thread that makes it, and that iterates ``parts``.

    ``send`` gives a record to librdkafka, with its index, its delivery and the moment. ``partition_of``: None
    for a record that no circuit is for. ``until``: the last moment to wait for, by the monotonic clock.
    ``fetch_reports`` is called once the records are sent, ``suspect`` to make the watchdog look.
    """

    def __init__(
        self,
        records: Sequence[Record],
        *,
        until: float,
        circuits: Circuits,
        send: Send,
        partition_of: Callable[[Record], int | None],
        fetch_reports: Callable[[], None],
        suspect: Callable[[], None],
    ) -> None:
        self._records = records
        self._until = until
        self._circuits = circuits
        self._send = send
        self._partition_of = partition_of
        self._fetch_reports = fetch_reports
        self._suspect = suspect
        self._delivery = Delivery(len(records))
        self._started = time.monotonic()

    def parts(self) -> Iterator[dict[int, Receipt]]:
        """The receipts by the record's index, in up to three parts: at once, after a probe, at the end."""
        probes = self._pass_on()
        self._fetch_reports()
        yield (told := self._prompt())
        if len(told) < len(self._records) and probes:
            self._delivery.is_complete(self._started + _PROBE_ANSWERED_S - time.monotonic())
            for index in probes:
                self._delivery.note(index, Uncertain(error="tried, and not acknowledged yet"))
            more = self._delivery.known(beyond=told)
            told |= more
            yield more
        if len(told) < len(self._records):
            receipts = self._rest()
            yield {index: receipt for index, receipt in enumerate(receipts) if index not in told}

    def _pass_on(self) -> list[int]:
        """Give the records to librdkafka, or to their partition's circuit; returns those that are probes."""
        if self._circuits.is_calm:
            for index, record in enumerate(self._records):
                self._send(record, index, self._delivery, self._started)
            return []
        ways = [self._pass_circuit(index, record) for index, record in enumerate(self._records)]
        return [index for index, way in enumerate(ways) if way is Way.PROBE]

    def _pass_circuit(self, index: int, record: Record) -> Way:
        partition = self._partition_of(record)
        held = Held(record=record, index=index, delivery=self._delivery)
        way = Way.SEND if partition is None else self._circuits.way(partition, held)
        if way is Way.PROBE:
            self._delivery.put_off(index)
        if way in (Way.SEND, Way.PROBE):
            self._send(record, index, self._delivery, self._started)
        elif way is Way.REFUSE:
            self._delivery.note(index, REFUSAL)
        return way

    def _prompt(self) -> dict[int, Receipt]:
        if not self._delivery.is_prompt(_SLOW_S):
            self._circuits.overdue(self._missing_partitions())
            self._suspect()
        return self._delivery.known()

    def _rest(self) -> list[Receipt]:
        self._delivery.is_complete(self._until - time.monotonic())
        self._circuits.withdraw(self._delivery)
        for partition in self._missing_partitions():
            self._circuits.failed(partition, sent_at=self._started)
        return self._delivery.wait(0)

    def _missing_partitions(self) -> set[int]:
        found = {self._partition_of(self._records[index]) for index in self._delivery.missing()}
        return {partition for partition in found if partition is not None}
