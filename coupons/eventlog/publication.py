"""One call to publish: records on their way to librdkafka or held by a circuit, and their receipts."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

from coupons.eventlog.circuits import REFUSAL, Circuits, Held, Way
from coupons.eventlog.delivery import Delivery, NotPublished, Receipt, Record, Uncertain

#: A publish that takes longer makes the watchdog look, and claims of its partition wait for it. Shorter, and
#: ordinary peaks do; longer, and more claims are uncertain after a leader's death.
SLOW_S: Final = 0.5
#: Whoever claims on a partition that is tried again is answered so long after the claim arrived, acknowledged
#: or not: what remains of the second that such a claim may take is for the database, where its id is kept.
#: Shorter, and a broker that has just come back makes claims uncertain; longer, and a dead one keeps its
#: claimant.
_PROBE_ANSWERED_S: Final = 0.6
#: However long it had waited before, the broker has so long. Shorter, and on a busy machine nobody finds out
#: that it is back.
_PROBE_AT_LEAST_S: Final = 0.2
#: Of the publish timeout. A record with less time left is not sent: it would be uncertain before a busy
#: broker acknowledges it. Less, and more claims are uncertain; more, and claims are refused that had waited
#: for their gate or for a busy database.
_LEAST_SHARE: Final = 0.1
#: Of the publish timeout. A record that librdkafka has for so long in vain shows that its partition is dead;
#: one that was given up earlier, because its claim had waited before, shows nothing. Shorter, and an election
#: refuses claims; longer, and where claims wait before they are published nobody finds out.
_TELLING_SHARE: Final = 0.5
#: Records whose time is over within so long of each other are given up together: each part that is answered
#: costs a call to Redis and a query.
_TOGETHER_S: Final = 0.1
_TOO_LATE: Final = NotPublished(error="no time was left to publish")

Send = Callable[[Record, int, Delivery, float], None]
SendAll = Callable[[Sequence[Record], Delivery, float], None]


class Publication:
    """Belongs to the greenlet or thread that makes it, and that iterates ``parts``.

    ``send`` gives a record to librdkafka, with its index, its delivery and the moment; ``send_all`` does so
    with all records. ``partition_of``: None for a record that no circuit is for. ``until``: the last moment
    to wait for, by the monotonic clock, where a record has no earlier one. ``timeout_s``: the publish
    timeout. ``passed_on`` is called once librdkafka has the records, ``suspect`` to make the watchdog look.
    """

    def __init__(
        self,
        records: Sequence[Record],
        *,
        until: float,
        timeout_s: float,
        circuits: Circuits,
        send: Send,
        send_all: SendAll,
        partition_of: Callable[[Record], int | None],
        passed_on: Callable[[], None],
        suspect: Callable[[], None],
    ) -> None:
        self._records = records
        self._untils = [until if each.until is None else min(until, each.until) for each in records]
        self._timeout_s = timeout_s
        self._circuits = circuits
        self._send = send
        self._send_all = send_all
        self._partition_of = partition_of
        self._passed_on = passed_on
        self._suspect = suspect
        self._delivery = Delivery(len(records))
        self._started = time.monotonic()

    def parts(self) -> Iterator[dict[int, Receipt]]:
        """The receipts by the record's index: at once, after a probe, and as the records' time ends."""
        probes = self._pass_on()
        self._passed_on()
        yield (told := self._prompt())
        if len(told) < len(self._records) and probes:
            self._delivery.is_complete(self._probed_until(probes) - time.monotonic())
            for index in probes:
                self._delivery.note(index, Uncertain(error="tried, and not acknowledged yet"))
            more = self._delivery.known(beyond=told)
            told |= more
            yield more
        while len(told) < len(self._records):
            more = self._next(told)
            told |= more
            yield more

    def _probed_until(self, probes: Collection[int]) -> float:
        """How long who claims with these waits for the broker, by the monotonic clock."""
        arrived = (self._records[index].since for index in probes)
        since = min((each for each in arrived if each is not None), default=self._started)
        return max(self._started + _PROBE_AT_LEAST_S, since + _PROBE_ANSWERED_S)

    def _pass_on(self) -> list[int]:
        """Give the records to librdkafka, or to their partition's circuit; returns those that are probes."""
        latest = self._started + _LEAST_SHARE * self._timeout_s
        if self._circuits.is_calm and min(self._untils, default=latest) >= latest:
            self._send_all(self._records, self._delivery, self._started)
            return []
        probes = []
        for index, record in enumerate(self._records):
            if self._untils[index] < latest:
                self._delivery.note(index, _TOO_LATE)
            elif self._pass_circuit(index, record) is Way.PROBE:
                probes.append(index)
        return probes

    def _pass_circuit(self, index: int, record: Record) -> Way:
        partition = self._partition_of(record)
        held = Held(record=record, index=index, delivery=self._delivery)
        way = Way.SEND if partition is None else self._circuits.way(partition, held)
        if way is Way.PROBE:
            self._delivery.put_off(index)
        if way in (Way.SEND, Way.PROBE):
            # A probe's failure must not pass for that of a record that was sent before it.
            sent_at = time.monotonic() if way is Way.PROBE else self._started
            self._send(record, index, self._delivery, sent_at)
        elif way is Way.REFUSE:
            self._delivery.note(index, REFUSAL)
        return way

    def _prompt(self) -> dict[int, Receipt]:
        if not self._delivery.is_prompt(SLOW_S):
            self._circuits.overdue(self._partitions(self._delivery.missing()))
            self._suspect()
        return self._delivery.known()

    def _next(self, told: Collection[int]) -> dict[int, Receipt]:
        """Wait until all have a receipt, or until the time of some is over; returns the new receipts."""
        waiting = [index for index in range(len(self._records)) if index not in told]
        due = min(self._untils[index] for index in waiting)
        if not self._delivery.is_complete(max(0.0, due - time.monotonic())):
            self._give_up([index for index in waiting if self._untils[index] <= due + _TOGETHER_S])
        return self._delivery.known(beyond=told)

    def _give_up(self, indices: Collection[int]) -> None:
        self._circuits.withdraw(self._delivery, indices)
        sent = set(self._delivery.missing()).intersection(indices)
        if time.monotonic() - self._started >= _TELLING_SHARE * self._timeout_s:
            for partition in self._partitions(sent):
                self._circuits.failed(partition, sent_at=self._started)
        for index in indices:
            self._delivery.note(index, Uncertain(error="no delivery report in time"))

    def _partitions(self, indices: Collection[int]) -> set[int]:
        found = {self._partition_of(self._records[index]) for index in indices}
        return {partition for partition in found if partition is not None}
