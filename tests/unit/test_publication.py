"""A publish is answered in parts: each record within its own time, whatever becomes of the others."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from coupons.eventlog import publication as publication_of
from coupons.eventlog.circuits import REFUSAL, Circuits, Held, Way
from coupons.eventlog.delivery import Acknowledged, Delivery, NotPublished, Receipt, Record, Uncertain
from coupons.eventlog.place import Place
from coupons.eventlog.publication import Publication

THERE = Acknowledged(place=Place(0, 1))
TIMEOUT_S = 2.0


class Log:
    """One partition. Nothing is acknowledged but by ``acknowledge``."""

    def __init__(self) -> None:
        self.circuits = Circuits(send=self._send_held, probe_lives_s=TIMEOUT_S)
        self.circuits.look({0: True})
        self.sent: list[tuple[Delivery, int]] = []
        self.suspected = 0

    def publish(self, records: Sequence[Record], *, within_s: float = TIMEOUT_S) -> Publication:
        return Publication(
            records,
            until=time.monotonic() + within_s,
            timeout_s=TIMEOUT_S,
            circuits=self.circuits,
            send=lambda record, index, delivery, sent_at: self.sent.append((delivery, index)),
            send_all=self._send_all,
            partition_of=lambda record: 0,
            passed_on=lambda: None,
            suspect=self._suspect,
        )

    def acknowledge(self) -> None:
        self.circuits.acknowledged(0)
        sent, self.sent = self.sent, []
        for delivery, index in sent:
            delivery.note(index, THERE)

    def way(self) -> Way:
        held = Held(record=record(), index=0, delivery=Delivery(1))
        return self.circuits.way(0, held)

    def _send_all(self, records: Sequence[Record], delivery: Delivery, sent_at: float) -> None:
        self.sent += [(delivery, index) for index in range(len(records))]

    def _send_held(self, held: Held) -> None:
        self.sent.append((held.delivery, held.index))

    def _suspect(self) -> None:
        self.suspected += 1


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    monkeypatch.setattr(publication_of, "SLOW_S", 0.05)
    return Log()


def record(*, left_s: float | None = None) -> Record:
    return Record(key=b"k", value=b"x", until=None if left_s is None else time.monotonic() + left_s)


def kinds(part: dict[int, Receipt]) -> dict[int, type]:
    return {index: type(receipt) for index, receipt in part.items()}


def test_a_record_without_time_is_certainly_not_published(log: Log) -> None:
    publication = log.publish([record(left_s=0.01), record(left_s=-1), record()])
    parts = publication.parts()

    assert kinds(next(parts)) == {0: NotPublished, 1: NotPublished}
    assert [index for _, index in log.sent] == [2]
    log.acknowledge()
    assert list(parts) == [{2: THERE}]


def test_each_is_given_up_when_its_own_time_is_over(log: Log) -> None:
    """One that had waited for its gate keeps nobody from waiting on, nor does it wait for the others."""
    parts = log.publish([record(), record(left_s=0.5), record(left_s=0.52)]).parts()

    assert next(parts) == {}
    assert kinds(next(parts)) == {1: Uncertain, 2: Uncertain}
    log.acknowledge()
    assert list(parts) == [{0: THERE}]


def test_one_that_had_little_time_does_not_show_that_the_partition_is_dead(log: Log) -> None:
    parts = list(log.publish([record(left_s=0.4)]).parts())

    assert kinds(parts[-1]) == {0: Uncertain}
    assert log.way() is Way.HOLD
    assert log.suspected == 1


def test_one_that_had_its_time_does(log: Log) -> None:
    parts = list(log.publish([record()], within_s=0.55 * TIMEOUT_S).parts())

    assert kinds(parts[-1]) == {0: Uncertain}
    log.circuits.look({0: False})
    assert log.way() is Way.REFUSE


def test_what_is_held_is_refused_for_certain_when_its_time_is_over_and_the_others_wait_on(log: Log) -> None:
    log.circuits.overdue({0})
    parts = log.publish([record(left_s=0.3), record()]).parts()

    assert next(parts) == {}
    assert next(parts) == {0: REFUSAL}
    assert log.sent == []
    log.circuits.acknowledged(0)
    assert [index for _, index in log.sent] == [1]
    log.acknowledge()
    assert list(parts) == [{1: THERE}]


def test_a_probe_that_fails_opens_the_circuit_again(log: Log) -> None:
    """Its failure is not taken for that of a record that was sent before it."""
    sent: list[float] = []
    log.circuits.failed(0, sent_at=time.monotonic())  # open
    log.circuits.look({0: True})
    publication = Publication(
        [record()],
        until=time.monotonic() + TIMEOUT_S,
        timeout_s=TIMEOUT_S,
        circuits=log.circuits,
        send=lambda record, index, delivery, sent_at: sent.append(sent_at),
        send_all=lambda records, delivery, sent_at: None,
        partition_of=lambda record: 0,
        passed_on=lambda: None,
        suspect=lambda: None,
    )
    next(publication.parts())
    [sent_at] = sent
    assert log.way() is Way.REFUSE  # while it is on its way

    log.circuits.failed(0, sent_at=sent_at)

    assert log.way() is Way.PROBE


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize(("waited_s", "waits_s"), [(0.0, 0.6), (0.3, 0.3), (5.0, 0.2)])
def test_who_waited_before_waits_less_where_its_partition_is_tried(
    log: Log, monkeypatch: pytest.MonkeyPatch, waited_s: float, waits_s: float
) -> None:
    """A later claim of a dead partition has one second for everything."""
    clock, waits = Clock(), list[float]()
    log.circuits.failed(0, sent_at=time.monotonic())  # open
    log.circuits.look({0: True})
    monkeypatch.setattr(publication_of, "time", clock)
    monkeypatch.setattr(Delivery, "is_complete", lambda delivery, timeout_s: waits.append(timeout_s))

    tried = Record(key=b"k", value=b"x", since=clock.now - waited_s)
    parts = log.publish([tried]).parts()
    assert next(parts) == {}

    assert kinds(next(parts)) == {0: Uncertain}
    assert waits == [pytest.approx(waits_s)]


def test_nothing_is_published_in_no_time(log: Log) -> None:
    assert list(log.publish([]).parts()) == [{}]
