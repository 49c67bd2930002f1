"""Processes of ours die in the middle of a crowd: in the end all is decided, exactly the stock issued."""

from __future__ import annotations

import http.client
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from django_redis import get_redis_connection

from coupons.models import Coupon, IssueOutcome, UserCoupon
from tests.factories import make_coupon, make_users
from tests.system import HttpAnswer, Process, System, ask, eventually


class Crowd:
    """Users who claim in the background."""

    def __init__(self, system: System, coupon: Coupon, users: Iterable[int], *, at_once: int = 10) -> None:
        self.answers: dict[int, HttpAnswer] = {}
        self._thread = threading.Thread(
            target=lambda: self.answers.update(system.claim_all(coupon.pk, users, at_once=at_once))
        )
        self._thread.start()

    def told(self) -> Counter[int]:
        """Wait for all; how often each HTTP status was told."""
        self._thread.join(120)
        return Counter(answer.status for answer in self.answers.values())

    def accepted(self) -> list[str]:
        self._thread.join(120)
        return [answer.body["requestId"] for answer in self.answers.values() if answer.status == 202]


def issued(coupon: Coupon) -> int:
    return UserCoupon.objects.filter(coupon=coupon).count()


def check(system: System, coupon: Coupon, statuses: list[dict[str, Any]], *, stock: int) -> None:
    """Exactly the stock is issued, to distinct users, in the log's order, and nothing contradicts."""
    coupon.refresh_from_db()
    assert (coupon.stock, coupon.issued_count, issued(coupon)) == (0, stock, stock)
    assert UserCoupon.objects.filter(coupon=coupon).values("user_id").distinct().count() == stock
    winners = IssueOutcome.objects.filter(coupon_id=coupon.pk, status="ISSUED").order_by("kafka_offset")
    assert list(winners.values_list("claim_rank", flat=True)) == list(range(1, stock + 1))
    assert {status["status"] for status in statuses} <= {"ISSUED", "REJECTED"}
    verified = system.manage("verify", "--from-topic")
    assert verified.returncode == 0, verified.stdout


def replacement(system: System, *arguments: str) -> Process:
    consumer = system.new_consumer(*arguments)
    system.consumers.append(consumer)
    consumer.start()
    return consumer


def test_a_consumer_killed_in_the_middle_loses_nothing(system: System) -> None:
    coupon, users = make_coupon(stock=200), make_users(300)
    crowd = Crowd(system, coupon, users)
    eventually(lambda: issued(coupon) > 20)

    system.consumers[0].kill()
    in_the_middle = issued(coupon)
    replacement(system)

    statuses = system.wait_decided(crowd.accepted(), within_s=60)
    assert in_the_middle < 200
    assert crowd.told() == {202: 200, 409: 100}
    check(system, coupon, statuses, stock=200)


def test_consumers_that_come_go_and_die_decide_each_event_once(system: System) -> None:
    coupon, users = make_coupon(stock=250), make_users(300)
    crowd = Crowd(system, coupon, users, at_once=4)

    second = replacement(system, "--batch-size", "7")
    eventually(lambda: issued(coupon) > 20)
    system.consumers[0].kill()
    third = replacement(system, "--batch-size", "3")
    second.wait_ready()
    third.wait_ready()
    assert second.stop() == 0

    statuses = system.wait_decided(crowd.accepted(), within_s=60)
    check(system, coupon, statuses, stock=250)


def test_a_consumer_asked_to_stop_commits_and_hands_over_at_once(system: System) -> None:
    coupon, users = make_coupon(stock=60), make_users(100)
    first = system.consumers[0]
    system.wait_decided([system.claim(coupon.pk, user).body["requestId"] for user in users[:30]])

    assert first.stop() == 0
    assert first.output().splitlines()[-1] == "stopped"

    stopped_at = time.monotonic()
    second = replacement(system)
    statuses = system.wait_decided([system.claim(coupon.pk, user).body["requestId"] for user in users[30:60]])
    # Whoever leaves says so: nobody waits until the group misses it.
    assert time.monotonic() - stopped_at < 15
    metrics = ask(second.port, "GET", "/actuator/prometheus").body
    assert 'decision="REPLAYED"' not in metrics
    assert re.search(r"^coupon_events_consumed_total 30\.0$", metrics, re.MULTILINE)
    check(system, coupon, statuses, stock=60)


def test_ctrl_c_stops_a_consumer_as_well(system: System) -> None:
    [consumer] = system.consumers

    consumer.signal(signal.SIGINT)

    assert consumer.process.wait(20) == 0
    assert "Traceback" not in consumer.output()


def test_an_api_killed_in_the_middle_leaks_no_slot(system: System) -> None:
    coupon, users = make_coupon(stock=100), make_users(260)
    crowd = Crowd(system, coupon, users[:200], at_once=20)
    eventually(lambda: issued(coupon) > 10)

    system.api.kill()
    crowd.told()
    system.api.start()
    system.api.wait_ready()

    accepted = crowd.accepted()
    late = iter(users[200:])

    def all_are_gone() -> bool:
        # Slots of claims that died between reserving and publishing come back after a while.
        if (answer := system.claim(coupon.pk, next(late))).status == 202:
            accepted.append(answer.body["requestId"])
            return issued(coupon) == 100
        time.sleep(1)
        return issued(coupon) == 100

    again = system.claim_all(coupon.pk, [user for user, a in crowd.answers.items() if a.status != 202])
    accepted += [answer.body["requestId"] for answer in again.values() if answer.status == 202]
    eventually(all_are_gone, within_s=75, what=lambda: f"{issued(coupon)} issued")
    check(system, coupon, system.wait_decided(accepted), stock=100)


def test_an_api_asked_to_stop_answers_what_it_has_begun(system: System) -> None:
    coupon, users = make_coupon(stock=300), make_users(300)
    crowd = Crowd(system, coupon, users, at_once=8)
    eventually(lambda: issued(coupon) > 10)

    assert system.api.stop() == 0

    # Refused connections (0) are no answers; nobody is told an error.
    assert set(crowd.told()) <= {202, 0}
    eventually(lambda: issued(coupon) == len(crowd.accepted()))


def test_redis_flushed_in_the_middle_costs_a_handful_of_rejections(system: System) -> None:
    times = 3
    coupon, users = make_coupon(stock=100), make_users(300)
    crowd = Crowd(system, coupon, users, at_once=20)
    for part in range(1, times + 1):
        eventually(lambda part=part: issued(coupon) >= 25 * part)  # type: ignore[misc]
        get_redis_connection("default").flushdb()

    told = crowd.told()
    statuses = system.wait_decided(crowd.accepted())

    # One flush forgets at most what was between reserving and publishing: 2 workers of 4 threads.
    assert 100 <= told[202] <= 100 + times * 8
    assert told[202] + told[409] == 300
    assert Counter(status["status"] for status in statuses)["ISSUED"] == 100
    check(system, coupon, statuses, stock=100)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_answers_what_is_in_hand_and_waits_for_no_idle_connection(
    system: System, how: signal.Signals
) -> None:
    """SIGINT to the whole group, as Ctrl-C in a terminal."""
    coupon, users = make_coupon(stock=500), make_users(300)
    browser = http.client.HTTPConnection("127.0.0.1", system.api.port, timeout=20)
    browser.request("GET", "/actuator/health/liveness")
    assert browser.getresponse().read()
    crowd = Crowd(system, coupon, users, at_once=20)
    eventually(lambda: issued(coupon) > 20)

    system.api.signal(how)
    system.api.process.wait(40)  # an idle connection is kept for 75 s

    accepted = crowd.accepted()
    assert accepted
    assert issued_later(coupon, at_least=len(accepted))
    browser.close()


def issued_later(coupon: Coupon, *, at_least: int) -> bool:
    eventually(lambda: issued(coupon) >= at_least)
    return True
