"""Consumers of several protocols and names in one group, on the real broker, each a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from coupons.models import Coupon, IssueOutcome
from dev.processes import Process
from tests.factories import make_coupon, make_users
from tests.integration.test_overlap import written
from tests.system import System, ask, eventually

pytestmark = [pytest.mark.services_only, pytest.mark.django_db(transaction=True)]
USERS = 60


@contextmanager
def running(topic: str, *consumers: dict[str, str]) -> Iterator[System]:
    system = System(topic=topic, consumers=0)
    system.consumers = [system.new_consumer(**each) for each in consumers]
    try:
        yield system
    finally:
        for process in (*system.consumers, *system.others):
            process.kill()


def by(protocol: str, name: str = "") -> dict[str, str]:
    return {"KAFKA_GROUP_PROTOCOL": protocol, "KAFKA_GROUP_INSTANCE_ID": name}


def partitions(consumer: Process) -> set[int]:
    """Those it has, as its health tells; none if it does not answer."""
    body = ask(consumer.port, "GET", "/actuator/health").body
    return set(body["components"]["consumer"]["details"]["partitions"]) if isinstance(body, dict) else set()


def share(*consumers: Process) -> bool:
    """Whether all three partitions are owned, each once, and nobody has all of them."""
    owned = [partitions(each) for each in consumers]
    return sorted(each for all_ in owned for each in all_) == [0, 1, 2] and set() not in owned


def all_decided() -> bool:
    return IssueOutcome.objects.count() == USERS


@pytest.mark.parametrize("new", ["auto", "consumer"])
def test_a_group_moves_from_the_former_protocol_while_it_works_and_back(topic: str, new: str) -> None:
    """Old processes are eager: new ones join them, take over, and old ones come back (a rollback)."""
    with running(topic, by("eager"), by("eager"), by(new), by(new), by("eager")) as system:
        first, second, third, fourth, fifth = system.consumers
        for each in (first, second):
            each.start()
        eventually(lambda: share(first, second))
        third.start().wait_ready()
        eventually(lambda: share(first, second, third))
        first.stop()
        fourth.start().wait_ready()
        second.stop()
        eventually(lambda: share(third, fourth))
        written([make_coupon(stock=10)], make_users(USERS))
        eventually(all_decided, within_s=30)
        fifth.start().wait_ready()
        eventually(lambda: share(third, fourth, fifth))
        for each in (third, fourth):
            each.stop()
        eventually(lambda: partitions(fifth) == {0, 1, 2})


def test_cooperative_waits_for_an_eager_group_to_end(topic: str) -> None:
    with running(topic, by("eager"), by("cooperative")) as system:
        old, new = system.consumers
        old.start().wait_ready()
        new.start()
        eventually(lambda: "Inconsistent group protocol" in system.log_text("consumer"))
        assert partitions(old) == {0, 1, 2}
        old.stop()
        eventually(lambda: partitions(new) == {0, 1, 2}, within_s=30)


@pytest.mark.parametrize("protocol", ["eager", "cooperative", "consumer"])
def test_a_restart_under_the_same_name_leaves_the_others_alone(topic: str, protocol: str) -> None:
    with running(topic, by(protocol, "a"), by(protocol, "b")) as system:
        restarted, other = system.consumers
        for each in (restarted, other):
            each.start()
        eventually(lambda: share(restarted, other))
        before, kept = partitions(restarted), partitions(other)

        restarted.stop()
        assert partitions(other) == kept
        restarted.start().wait_ready()
        eventually(lambda: partitions(restarted) == before)

        told = system.log_text("consumer")
        assert partitions(other) == kept
        assert told.count("partitions lost") == 0


@pytest.mark.parametrize("protocol", ["eager", "cooperative", "consumer"])
def test_a_killed_consumer_comes_back_under_its_name(topic: str, protocol: str) -> None:
    with running(topic, by(protocol, "a")) as system:
        [consumer] = system.consumers
        consumer.start().wait_ready()
        consumer.kill()

        consumer.start().wait_ready()

        assert partitions(consumer) == {0, 1, 2}


@pytest.mark.parametrize("protocol", ["eager", "cooperative"])
def test_of_two_under_one_name_the_first_ends_and_says_why(topic: str, protocol: str) -> None:
    with running(topic, by(protocol, "a"), by(protocol, "a")) as system:
        first, second = system.consumers
        first.start().wait_ready()
        second.start()

        assert first.wait(within_s=30) == 1
        assert "KAFKA_GROUP_INSTANCE_ID=a" in first.output()
        eventually(lambda: partitions(second) == {0, 1, 2})


def test_by_the_brokers_protocol_the_second_under_one_name_waits_and_harms_nobody(topic: str) -> None:
    with running(topic, by("consumer", "a"), by("consumer", "a")) as system:
        first, second = system.consumers
        first.start().wait_ready()
        second.start()
        eventually(lambda: "not free yet" in system.log_text("consumer"))
        assert partitions(first) == {0, 1, 2}
        first.stop()
        eventually(lambda: partitions(second) == {0, 1, 2})


@pytest.mark.parametrize("protocol", ["cooperative", "consumer"])
def test_one_more_than_partitions_is_ready_and_takes_over(topic: str, protocol: str) -> None:
    with running(topic, *[by(protocol)] * 4) as system:
        for each in system.consumers:
            each.start()
        for each in system.consumers:
            each.wait_ready()
        eventually(lambda: sorted(len(partitions(each)) for each in system.consumers) == [0, 1, 1, 1])
        written([make_coupon(stock=10)], make_users(USERS))
        eventually(all_decided, within_s=30)
        busy = next(each for each in system.consumers if partitions(each))
        idle = next(each for each in system.consumers if not partitions(each))
        busy.stop()
        eventually(lambda: len(partitions(idle)) == 1)
        assert Coupon.objects.get().stock == 0


@pytest.mark.parametrize("protocol", ["cooperative", "consumer"])
def test_one_that_was_frozen_past_its_session_is_a_member_again_or_ends(topic: str, protocol: str) -> None:
    """librdkafka's issue 3437 (open): it may be fenced by nobody, and must not stay so."""
    with running(topic, by(protocol, "a"), by(protocol, "b")) as system:
        frozen, other = system.consumers
        for each in (frozen, other):
            each.start()
        eventually(lambda: share(frozen, other))

        with frozen.paused():
            eventually(lambda: partitions(other) == {0, 1, 2}, within_s=30)

        eventually(lambda: not frozen.running or share(frozen, other), within_s=30)
