"""A partition's circuit: what a publish says decides which way the next record goes."""

from __future__ import annotations

import pytest

from coupons.eventlog import circuits as circuits_of
from coupons.eventlog.circuits import BELIEVED_AFTER_S, REFUSAL, TRY_ANYWAY_S, Circuits, Held, Way
from coupons.eventlog.delivery import Acknowledged, Delivery, Record
from coupons.eventlog.place import Place

LIVES_S = 9.0


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(circuits_of, "time", clock)
    return clock


class Partition:
    """Number 0 of a topic, whose other partitions are as they should be."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.sent: list[Held] = []
        self.circuits = Circuits(send=self.sent.append, probe_lives_s=LIVES_S)
        self.looks(True)

    def looks(self, is_promising: bool) -> None:
        self.circuits.look({0: is_promising, 1: True})

    def comes(self) -> tuple[Way, Delivery]:
        delivery = Delivery(1)
        held = Held(record=Record(key=b"coupon-1", value=b"x"), index=0, delivery=delivery)
        return self.circuits.way(0, held), delivery

    def way(self) -> Way:
        return self.comes()[0]

    def fails(self) -> bool:
        """A record that was sent when it still looked well."""
        return self.circuits.failed(0, sent_at=self.clock.now - LIVES_S)


@pytest.fixture
def partition(clock: Clock) -> Partition:
    return Partition(clock)


def test_at_first_everything_is_sent_and_nothing_need_be_asked(partition: Partition) -> None:
    assert partition.circuits.is_calm
    assert partition.way() is Way.SEND


def test_while_an_acknowledgement_is_overdue_records_wait_and_then_go_on_in_their_order(
    partition: Partition,
) -> None:
    partition.circuits.overdue({0})
    held = [partition.comes() for _ in range(3)]

    assert [way for way, _ in held] == [Way.HOLD] * 3
    assert partition.sent == []
    assert not partition.circuits.is_calm

    partition.circuits.acknowledged(0)

    assert [each.delivery for each in partition.sent] == [delivery for _, delivery in held]
    assert partition.circuits.is_calm
    assert partition.way() is Way.SEND


def test_what_waits_is_refused_for_certain_when_a_record_timed_out_and_so_is_what_comes(
    partition: Partition,
) -> None:
    partition.circuits.overdue({0})
    _, delivery = partition.comes()
    partition.looks(False)

    partition.fails()

    assert delivery.wait(0) == [REFUSAL]
    assert partition.way() is Way.REFUSE
    assert partition.sent == []


def test_another_partition_goes_on(partition: Partition) -> None:
    partition.looks(False)
    partition.fails()
    held = Held(record=Record(key=b"k", value=b"x"), index=0, delivery=Delivery(1))

    assert partition.circuits.way(1, held) is Way.SEND
    assert partition.circuits.dead() == (0,)


def test_one_record_is_tried_once_the_partition_looks_alive(partition: Partition) -> None:
    partition.looks(False)
    partition.fails()
    partition.looks(True)

    assert [partition.way() for _ in range(4)] == [Way.PROBE, *[Way.REFUSE] * 3]

    partition.circuits.acknowledged(0)
    assert partition.way() is Way.SEND


def test_a_partition_that_looks_dead_for_longer_than_an_election_keeps_no_first_claim_waiting(
    partition: Partition, clock: Clock
) -> None:
    partition.looks(False)
    clock.now += LIVES_S - 1
    partition.looks(False)
    assert partition.way() is Way.SEND

    clock.now += 1
    partition.looks(False)
    assert partition.way() is Way.REFUSE
    partition.looks(True)
    assert partition.way() is Way.PROBE


def test_an_acknowledgement_disproves_its_looks_for_as_long(partition: Partition, clock: Clock) -> None:
    partition.looks(False)
    for _ in range(5):
        clock.now += LIVES_S - 1
        partition.circuits.acknowledged(0)
        partition.looks(False)
        assert partition.way() is Way.SEND

    clock.now += LIVES_S
    partition.looks(True)
    clock.now += 1
    partition.looks(False)
    assert partition.way() is Way.SEND  # it looks dead since now


def test_records_that_were_sent_before_the_probe_say_nothing_about_it(
    partition: Partition, clock: Clock
) -> None:
    partition.looks(False)
    partition.fails()
    partition.looks(True)
    assert partition.way() is Way.PROBE

    for _ in range(5):
        partition.fails()
    assert partition.way() is Way.REFUSE

    clock.now += LIVES_S
    partition.circuits.failed(0, sent_at=clock.now - LIVES_S)  # the probe itself
    assert partition.way() is Way.PROBE


def test_a_probe_without_a_report_does_not_stand_in_the_way_for_ever(
    partition: Partition, clock: Clock
) -> None:
    partition.fails()
    assert partition.way() is Way.PROBE
    assert partition.way() is Way.REFUSE

    clock.now += LIVES_S + 0.1
    assert partition.way() is Way.PROBE


def test_a_partition_that_looks_dead_is_tried_all_the_same_after_a_while(
    partition: Partition, clock: Clock
) -> None:
    partition.looks(False)
    partition.fails()
    assert partition.way() is Way.REFUSE

    clock.now += TRY_ANYWAY_S
    assert partition.way() is Way.PROBE


def test_a_failure_is_strange_where_all_looked_well_since_before_it_was_sent(
    partition: Partition, clock: Clock
) -> None:
    """Then alone the producer is made anew: where replicas are missing, librdkafka tries by itself."""
    clock.now += LIVES_S
    assert partition.fails()

    partition.looks(False)
    assert not partition.fails()
    partition.looks(True)
    assert not partition.fails()  # it was sent when it looked dead

    clock.now += LIVES_S + 1
    assert partition.fails()
    partition.circuits.renew()
    assert not partition.fails()


def test_whoever_goes_leaves_nothing_behind_that_could_be_sent_later(partition: Partition) -> None:
    partition.circuits.overdue({0})
    _, goes = partition.comes()
    _, stays = partition.comes()

    partition.circuits.withdraw(goes, [0])
    partition.circuits.acknowledged(0)

    assert goes.wait(0) == [REFUSAL]
    assert [each.delivery for each in partition.sent] == [stays]


def test_a_new_producer_refuses_what_waited_and_is_tried_by_one_record(partition: Partition) -> None:
    partition.circuits.overdue({0})
    _, delivery = partition.comes()

    partition.circuits.renew()

    assert delivery.wait(0) == [REFUSAL]
    assert [partition.way(), partition.way()] == [Way.PROBE, Way.REFUSE]


def test_who_comes_after_a_silence_of_all_brokers_does_not_wait_as_those_did_who_were_refused(
    partition: Partition,
) -> None:
    partition.circuits.overdue({0})
    _, delivery = partition.comes()

    partition.circuits.silence({0, 1})

    assert delivery.wait(0) == [REFUSAL]
    assert partition.way() is Way.REFUSE
    partition.looks(True)
    assert partition.way() is Way.PROBE
    partition.circuits.acknowledged(0)
    assert partition.way() is Way.SEND


def test_a_partition_that_looks_dead_after_a_silence_keeps_no_first_claim_waiting(
    partition: Partition, clock: Clock
) -> None:
    """Nobody claimed on it meanwhile. Those that are back are as they were, without a trial."""
    partition.circuits.silence({0, 1})
    clock.now += 1
    partition.circuits.silence({0, 1})
    clock.now += 1
    partition.looks(False)

    assert partition.way() is Way.REFUSE
    held = Held(record=Record(key=b"k", value=b"x"), index=0, delivery=Delivery(1))
    assert partition.circuits.way(1, held) is Way.SEND
    partition.looks(True)
    assert partition.way() is Way.PROBE
    partition.circuits.acknowledged(0)
    partition.looks(False)
    assert partition.way() is Way.SEND  # no silence was before this look
    partition.circuits.silence({0, 1})
    partition.circuits.acknowledged(0)
    partition.looks(False)
    assert partition.way() is Way.SEND  # it has just acknowledged


def test_who_asks_first_is_refused_like_who_comes_and_leaves_the_probe_to_who_comes(
    partition: Partition, clock: Clock
) -> None:
    assert not partition.circuits.refuses(0)
    partition.circuits.overdue({0})
    assert not partition.circuits.refuses(0)
    partition.looks(False)
    partition.fails()
    assert partition.circuits.refuses(0)
    partition.looks(True)
    for _ in range(3):
        assert not partition.circuits.refuses(0)
    assert partition.way() is Way.PROBE
    for _ in range(15):
        clock.now += 1
        partition.circuits.refuses(0)
        assert partition.circuits.dead() == (0,)  # steadily: nobody is told otherwise meanwhile


class TestTakes:
    """Whether a claim is worth a reading of the log."""

    def test_a_partition_that_looks_dead_takes_none_unless_it_has_just_acknowledged(
        self, partition: Partition, clock: Clock
    ) -> None:
        assert partition.circuits.takes(0)
        partition.looks(False)
        assert not partition.circuits.takes(0)
        assert partition.circuits.takes(1)
        assert partition.circuits.unpromising() == {0}
        partition.circuits.acknowledged(0)
        assert partition.circuits.takes(0)
        assert partition.circuits.unpromising() == frozenset()
        clock.now += 60
        assert not partition.circuits.takes(0)

    def test_an_election_is_waited_for_by_those_alone_whose_gate_is_loaded(
        self, partition: Partition
    ) -> None:
        partition.circuits.overdue({0})
        assert partition.circuits.takes(0)
        partition.looks(False)
        assert not partition.circuits.takes(0)
        assert partition.way() is Way.HOLD

    def test_one_that_may_be_tried_again_takes_one_and_no_more_until_it_is_known(
        self, partition: Partition, clock: Clock
    ) -> None:
        partition.looks(False)
        partition.fails()
        clock.now += TRY_ANYWAY_S
        assert not partition.circuits.takes(0)  # a dead leader would keep the reading waiting
        partition.looks(True)
        assert partition.circuits.takes(0)
        assert partition.way() is Way.PROBE
        assert not partition.circuits.takes(0)
        clock.now += LIVES_S
        assert partition.circuits.takes(0)


class TestDead:
    def test_a_partition_that_nobody_tried_is_what_it_looks(self, partition: Partition) -> None:
        partition.looks(False)
        assert partition.circuits.dead() == (0,)
        partition.looks(True)
        assert partition.circuits.dead() == ()

    def test_one_that_failed_is_dead_however_well_it_looks(self, partition: Partition, clock: Clock) -> None:
        """Steadily, while claims are refused: readiness must not flap."""
        partition.fails()
        for _ in range(60):
            clock.now += 1
            partition.way()
            assert partition.circuits.dead() == (0,)

    def test_one_that_nobody_claims_on_is_believed_again(self, partition: Partition, clock: Clock) -> None:
        """A balancer that sends nobody while we are not ready would never let us find out."""
        partition.fails()
        clock.now += BELIEVED_AFTER_S
        assert partition.circuits.dead() == ()
        assert partition.way() is Way.PROBE

    def test_an_acknowledgement_says_more_than_a_look(self, partition: Partition, clock: Clock) -> None:
        partition.looks(False)
        partition.circuits.acknowledged(0)
        assert partition.circuits.dead() == ()
        clock.now += 60
        assert partition.circuits.dead() == (0,)


def test_a_delivery_waits_apart_for_what_is_put_off() -> None:
    delivery = Delivery(3)
    there = Acknowledged(place=Place(0, 1))
    delivery.put_off(1)

    delivery.note(0, there)
    assert not delivery.is_prompt(0)
    delivery.note(2, there)

    assert delivery.is_prompt(0)
    assert not delivery.is_complete(0.01)
    assert delivery.known() == {0: there, 2: there}
    assert delivery.missing() == []
    delivery.note(1, there)
    assert delivery.is_complete(0)
    assert delivery.known(beyond={0, 2}) == {1: there}


def test_nothing_waits_for_an_acknowledgement_that_cannot_come_any_more(
    partition: Partition, clock: Clock
) -> None:
    """It came in the moment in which it was found to be overdue."""
    partition.circuits.overdue({0})
    assert partition.way() is Way.HOLD

    clock.now += LIVES_S
    assert partition.way() is Way.PROBE
